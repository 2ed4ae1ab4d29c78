// SPDX-License-Identifier: MIT
#include "film_wire.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x6d6c6966u /* "film" */
#define BATCH 4096u

struct wire_track {
	uint8_t kind, whole, runs, units;
	char codec[8];
};

struct wire_head {
	uint32_t magic;
	int32_t err;
	uint32_t container, tracks;
	uint64_t samples;
	struct wire_track track[FILM_TRACKS_MAX];
};

struct wire_sample {
	uint64_t at;
	uint32_t len;
	uint16_t track;
	uint8_t key, begins;
	uint16_t sets_at, sets_len;
	uint32_t reserved_too;
};
static_assert(sizeof(struct wire_sample) == 24, "sample on the wire");

static int put_all(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int film_wire_put(int fd, const struct film *f, int err)
{
	static struct wire_sample batch[BATCH];
	struct wire_head head = { .magic = MAGIC, .err = err };
	if (err == 0) {
		head.container = f->container;
		head.tracks = f->n_tracks;
		head.samples = f->n;
	}
	for (unsigned i = 0; i < head.tracks; i++) {
		const struct film_track *t = &f->tracks[i];
		head.track[i] =
			(struct wire_track){ (uint8_t)t->kind, t->whole, t->runs, t->units, "" };
		memcpy(head.track[i].codec, t->codec, sizeof t->codec);
	}
	int r = put_all(fd, &head, sizeof head);
	for (size_t i = 0; r == 0 && i < head.samples;) {
		size_t n = 0;
		for (; n < BATCH && i < f->n; n++, i++) {
			const struct film_sample *s = &f->samples[i];
			batch[n] = (struct wire_sample){ .at = s->at,
							 .len = s->len,
							 .track = s->track,
							 .key = s->key,
							 .begins = s->begins,
							 .sets_at = s->sets_at,
							 .sets_len = s->sets_len };
		}
		r = put_all(fd, batch, n * sizeof *batch);
	}
	return r;
}

static int get_all(film_wire_reader *read_fn, void *arg, void *data, size_t len)
{
	char *p = data;
	while (len) {
		ssize_t n = read_fn(arg, p, len);
		if (n <= 0 || (size_t)n > len)
			return n < 0 ? (int)n : -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int take_tracks(const struct wire_head *head, struct film *f)
{
	for (unsigned i = 0; i < head->tracks; i++) {
		const struct wire_track *t = &head->track[i];
		struct film_track *track = &f->tracks[i];
		if (t->kind > FILM_AUDIO || t->whole > 1 || t->runs > 1 || t->units > 1 ||
		    memchr(t->codec, 0, sizeof t->codec) == NULL)
			return -EUCLEAN;
		for (const char *c = t->codec; *c; c++)
			if (*c <= ' ' || *c > '~')
				return -EUCLEAN;
		*track = (struct film_track){
			.kind = t->kind, .whole = t->whole, .runs = t->runs, .units = t->units
		};
		memcpy(track->codec, t->codec, sizeof track->codec);
	}
	f->n_tracks = head->tracks;
	return 0;
}

static int take_sample(const struct wire_sample *s, uint64_t size, struct film *f)
{
	if (s->track >= f->n_tracks || s->key > 1 || s->begins > 1 || s->at > size ||
	    s->len > size - s->at || (uint32_t)s->sets_at + s->sets_len > s->len)
		return -EUCLEAN;
	struct film_sample sample = { .at = s->at,
				      .len = s->len,
				      .track = s->track,
				      .key = s->key,
				      .begins = s->begins,
				      .sets_at = s->sets_at,
				      .sets_len = s->sets_len };
	return film_add_sample(f, &sample);
}

static int take_film(film_wire_reader *read_fn, void *arg, uint64_t size, struct film *f)
{
	struct wire_head head;
	struct wire_sample batch[BATCH / 16];
	int r = get_all(read_fn, arg, &head, sizeof head);
	if (r < 0)
		return r;
	if (head.magic != MAGIC || head.err > 0 || head.err < -4095 || head.container > FILM_HEVC ||
	    head.tracks > FILM_TRACKS_MAX || head.samples > FILM_SAMPLES_MAX || head.samples > size)
		return -EUCLEAN;
	if (head.err < 0)
		return head.err;
	f->container = (enum film_container)head.container;
	r = take_tracks(&head, f);
	for (uint64_t left = head.samples; r == 0 && left;) {
		size_t n = left < BATCH / 16 ? left : BATCH / 16;
		r = get_all(read_fn, arg, batch, n * sizeof *batch);
		for (size_t i = 0; r == 0 && i < n; i++)
			r = take_sample(&batch[i], size, f);
		left -= n;
	}
	return r;
}

int film_wire_get(film_wire_reader *read_fn, void *arg, uint64_t size, struct film *ret_film)
{
	struct film f = { 0 };
	int r = take_film(read_fn, arg, size, &f);
	if (r < 0)
		film_done(&f);
	else
		*ret_film = f;
	return r;
}
