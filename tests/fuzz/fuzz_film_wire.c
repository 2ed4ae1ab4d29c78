// SPDX-License-Identifier: MIT
/* Input: what a reader of films may send. Of what is accepted a plan is made, which has to be whole. */
#include "cleanup.h"
#include "film_plan.h"
#include "film_wire.h"
#include "fuzz.h"
#include <string.h>
#include <sys/mman.h>

#define SIZE 100000u

static ssize_t read_slice(void *arg, void *buf, size_t len)
{
	struct slice part = take_up_to(arg, len);
	memcpy(buf, part.at, part.len);
	return (ssize_t)part.len;
}

static void check_plan(const struct film_plan *plan)
{
	static uint8_t owners[SIZE];
	uint64_t owned = 0;
	memset(owners, 0, sizeof owners);
	for (unsigned i = 0; i < plan->n; i++)
		for (size_t k = 0; k < plan->streams[i].n; k++) {
			const struct plan_stretch *v = &plan->streams[i].v[k];
			must(v->len && v->at < SIZE && v->len <= SIZE - v->at);
			for (uint32_t b = 0; b < v->len; b++)
				must(owners[v->at + b]++ == 0);
			owned += v->len;
		}
	must(owned == SIZE);
}

bool fuzz_one(struct slice in)
{
	struct film f = { 0 };
	int r = film_wire_get(read_slice, &in, SIZE, &f);
	must(r <= 0 && (r == 0 || (!f.samples && !f.n)));
	for (size_t i = 0; i < f.n; i++)
		must(f.samples[i].track < f.n_tracks && f.samples[i].at <= SIZE &&
		     f.samples[i].len <= SIZE - f.samples[i].at &&
		     f.samples[i].sets_at + f.samples[i].sets_len <= f.samples[i].len);
	for (int gather = 0; r == 0 && gather < 2; gather++) {
		struct plan_limits limits = { 1000, 4000, 8000, gather };
		struct film_plan *plan;
		must(film_plan_make(&f, SIZE, &limits, &plan) == 0);
		if (plan)
			check_plan(plan);
		film_plan_free(plan);
	}
	film_done(&f);
	return r == 0;
}

static void seed_film(const char *name, unsigned samples, unsigned tracks)
{
	struct film f = { .container = FILM_MATROSKA };
	for (unsigned i = 0; i < tracks; i++) {
		film_add_track(&f, i ? FILM_AUDIO : FILM_VIDEO, "h264");
		f.tracks[i].whole = true;
	}
	for (unsigned i = 0; i < samples; i++) {
		struct film_sample s = { .at = i * 900,
					 .len = 890,
					 .track = (uint16_t)(i % tracks),
					 .key = i % 8 == 0 };
		if (i % 16 == 0) {
			s.sets_at = (uint16_t)(i % 32);
			s.sets_len = 35;
		}
		film_add_sample(&f, &s);
	}
	CLEANUP_CLOSE int fd = memfd_create(name, MFD_CLOEXEC);
	static char bytes[8192];
	must(film_wire_put(fd, &f, 0) == 0);
	ssize_t n = pread(fd, bytes, sizeof bytes, 0);
	must(n > 0);
	fuzz_seed(name, bytes, (size_t)n);
	film_done(&f);
}

void fuzz_seeds(void)
{
	seed_film("pictures", 100, 1);
	seed_film("three-tracks", 110, 3);
	seed_film("empty", 0, 2);
}
