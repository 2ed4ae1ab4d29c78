// SPDX-License-Identifier: MIT
/* Where pictures are cut: what is trimmed off a film, or joined to it, moves no cut but those beside it. */
#include "cleanup.h"
#include "film_cuts.h"
#include "film_plan.h"
#include "prng.h"
#include "stack.h"

#define COUNT(v) (sizeof(v) / sizeof *(v))
#define KIB 1024u
#define PICTURES 6000u

static const struct plan_limits limits = {
	.min = 256 * KIB, .target = 512 * KIB, .max = 4096 * KIB, .gather = true
};

/* Kinds of films: bytes of a picture on average, pictures in a group on average. */
static const struct kind {
	unsigned bytes, group;
} kinds[] = { { 3000, 12 }, { 3000, 250 }, { 20000, 50 }, { 90000, 1 }, { 1000, 60 } };

/* A film's pictures, each known by a number that its length and kind follow from. */
struct reel {
	const struct kind *kind;
	unsigned n;
	unsigned number[2 * PICTURES];
};

static uint32_t picture_len(const struct kind *k, unsigned number)
{
	uint64_t seed = number + 1;
	return k->bytes / 2 + (uint32_t)prng_below(&seed, k->bytes);
}

static bool picture_is_key(const struct kind *k, unsigned number)
{
	uint64_t seed = number + 1000000;
	return prng_below(&seed, k->group) == 0;
}

/* Pictures [from, to), from the next key picture on. */
static void splice(struct reel *r, unsigned from, unsigned to)
{
	while (!picture_is_key(r->kind, from))
		from++;
	for (; from < to; from++)
		r->number[r->n++] = from;
}

struct cut_chunk {
	unsigned number, skip; /* the picture it begins in, and at which byte */
	uint64_t len;
};

struct cut_chunks {
	struct cut_chunk v[PICTURES];
	size_t n;
};

/* Plans the reel as a container that puts some bytes before each picture. */
static struct film_plan *plan_reel(const struct reel *r, unsigned between)
{
	struct film f = { .container = FILM_MP4 };
	struct film_plan *plan;
	uint64_t at = 100;
	film_add_track(&f, FILM_VIDEO, "h264");
	f.tracks[0].whole = true;
	for (unsigned i = 0; i < r->n; i++) {
		at += between;
		struct film_sample s = { .at = at,
					 .len = picture_len(r->kind, r->number[i]),
					 .key = picture_is_key(r->kind, r->number[i]) };
		film_add_sample(&f, &s);
		at += s.len;
	}
	assert_int_equal(film_plan_make(&f, at, &limits, &plan), 0);
	assert_true(plan && plan->gathered && !plan->streams[0].by_content);
	film_done(&f);
	return plan;
}

static void cut_reel(const struct reel *r, unsigned between, struct cut_chunks *c)
{
	struct film_plan *plan = plan_reel(r, between);
	const struct plan_stream *s = &plan->streams[0];
	unsigned i = 0, skip = 0;
	c->n = 0;
	for (size_t k = 0; k < s->n; k++) {
		uint32_t left = s->v[k].len;
		if (s->v[k].cut)
			c->v[c->n++] = (struct cut_chunk){ r->number[i], skip, 0 };
		assert_true(c->n);
		c->v[c->n - 1].len += left;
		while (left) {
			uint32_t rest = picture_len(r->kind, r->number[i]) - skip;
			uint32_t n = left < rest ? left : rest;
			left -= n;
			skip = n == rest ? 0 : skip + n;
			i += n == rest;
		}
	}
	assert_int_equal(i, r->n);
	film_plan_free(plan);
}

static bool has_chunk(const struct cut_chunks *c, const struct cut_chunk *wanted)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->v[i].number == wanted->number && c->v[i].skip == wanted->skip &&
		    c->v[i].len == wanted->len)
			return true;
	return false;
}

static uint64_t longest_chunk(const struct cut_chunks *c)
{
	uint64_t len = 0;
	for (size_t i = 0; i < c->n; i++)
		len = c->v[i].len > len ? c->v[i].len : len;
	return len;
}

/* What of b is not in a is no more than a chunk at each of so many edges. */
static void check_shared(const struct cut_chunks *a, const struct cut_chunks *b, unsigned edges)
{
	uint64_t bytes = 0;
	size_t chunks = 0;
	for (size_t i = 0; i < b->n; i++)
		if (!has_chunk(a, &b->v[i])) {
			bytes += b->v[i].len;
			chunks++;
		}
	assert_in_range(bytes, 0, edges * longest_chunk(a));
	assert_in_range(chunks, 0, 3 * edges);
}

static void a_trimmed_film_has_the_cuts_of_the_whole_one(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNT(kinds); k++) {
		static struct cut_chunks whole, part;
		static struct reel r;
		r = (struct reel){ .kind = &kinds[k] };
		splice(&r, 0, PICTURES);
		cut_reel(&r, 0, &whole);
		for (unsigned round = 0; round < 40; round++) {
			uint64_t seed = round + 1;
			unsigned from = (unsigned)prng_below(&seed, PICTURES / 2);
			r.n = 0;
			splice(&r, from, PICTURES - (unsigned)prng_below(&seed, PICTURES / 4));
			cut_reel(&r, 9 * (round % 2), &part);
			check_shared(&whole, &part, 2);
		}
	}
}

static void films_one_after_another_have_the_cuts_of_both(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNT(kinds); k++) {
		static struct cut_chunks one, other, both;
		static struct reel r;
		const unsigned half = PICTURES / 2;
		r = (struct reel){ .kind = &kinds[k] };
		splice(&r, 0, half);
		cut_reel(&r, 0, &one);
		r.n = 0;
		splice(&r, half, PICTURES);
		cut_reel(&r, 0, &other);
		r.n = 0;
		splice(&r, half, PICTURES);
		splice(&r, 0, half);
		cut_reel(&r, 0, &both);
		for (size_t i = 0; i < other.n; i++)
			one.v[one.n++] = other.v[i];
		check_shared(&one, &both, 2);
	}
}

static void chunks_are_as_long_as_they_should(void **state)
{
	(void)state;
	for (size_t k = 0; k < COUNT(kinds); k++) {
		static struct cut_chunks c;
		static struct reel r;
		uint64_t bytes = 0;
		r = (struct reel){ .kind = &kinds[k] };
		splice(&r, 0, PICTURES);
		cut_reel(&r, 0, &c);
		for (size_t i = 0; i < c.n; i++) {
			if (i && i + 1 < c.n)
				assert_in_range(c.v[i].len, limits.min, limits.max);
			assert_in_range(c.v[i].len, 1, limits.max);
			bytes += c.v[i].len;
		}
		assert_in_range(bytes / c.n, limits.target / 2, 2 * limits.target);
	}
}

/* A group that is short enough is in one chunk, or in more than one from its key picture on. */
static void key_pictures_come_first(void **state)
{
	(void)state;
	static struct cut_chunks c;
	static struct reel r;
	r = (struct reel){ .kind = &kinds[0] };
	splice(&r, 0, PICTURES);
	cut_reel(&r, 0, &c);
	for (size_t i = 0; i < c.n; i++)
		assert_true(picture_is_key(r.kind, c.v[i].number) && c.v[i].skip == 0);
}

/* Hashes that are the same for long, or rise or fall: chunks keep within the limits all the same. */
static void hashes_that_say_nothing_leave_the_limits(void **state)
{
	(void)state;
	enum { N = 20000, STEP = 1000 };
	const struct cut_limits l = { .reach = 4 * STEP, .max = 50 * STEP };
	struct cut_place *v = calloc(N, sizeof *v);
	for (unsigned way = 0; way < 4; way++) {
		size_t last = 0, cuts = 0;
		for (uint32_t i = 0; i < N; i++)
			v[i] = (struct cut_place){
				.at = (uint64_t)i * STEP,
				.hash = way == 0   ? 7
					: way == 1 ? i
					: way == 2 ? N - i
						   : i / 100,
				.cut = i == N / 2,
			};
		assert_int_equal(film_cuts_choose(v, N, (uint64_t)N * STEP, &l), 0);
		assert_true(v[0].cut && v[N / 2].cut);
		for (size_t i = 1; i < N; i++)
			if (v[i].cut) {
				assert_in_range(v[i].at - v[last].at, STEP, l.max);
				last = i;
				cuts++;
			}
		assert_in_range((uint64_t)N * STEP - v[last].at, STEP, l.max);
		assert_in_range(cuts, N / 50 - 1,
				N / 4 + 4); /* 4: beside the one that was set before */
	}
	free(v);
	assert_int_equal(film_cuts_choose(NULL, 0, 0, &l), 0);
}

/* A picture longer than a chunk may be. */
static void a_picture_that_is_too_long_is_cut_by_its_length(void **state)
{
	(void)state;
	struct film f = { .container = FILM_MP4 };
	struct film_plan *plan;
	film_add_track(&f, FILM_VIDEO, "h264");
	f.tracks[0].whole = true;
	struct film_sample s = { .at = 10, .len = 3 * 4096 * KIB + 5, .key = true };
	film_add_sample(&f, &s);
	assert_int_equal(film_plan_make(&f, s.len + 10, &limits, &plan), 0);
	assert_int_equal(plan->streams[0].n, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(plan->streams[0].v[i].cut);
		assert_int_equal(plan->streams[0].v[i].at, 10 + i * limits.max);
		assert_int_equal(plan->streams[0].v[i].len, i < 3 ? limits.max : 5);
	}
	film_plan_free(plan);
	film_done(&f);
}

/* Programs that join films write them before each key picture: the pictures are the same without. */
static void parameter_sets_in_pictures_are_in_no_chunk_of_them(void **state)
{
	(void)state;
	struct film f[2] = { { .container = FILM_MP4 }, { .container = FILM_MP4 } };
	struct film_plan *plan[2];
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = 100;
		film_add_track(&f[i], FILM_VIDEO, "h264");
		f[i].tracks[0].whole = true;
		for (unsigned n = 0; n < 3000; n++) {
			struct film_sample s = { .at = at, .key = n % 30 == 0 };
			s.len = picture_len(&kinds[2], n);
			if (i && s.key) {
				s.sets_at = n % 60 ? 0 : 20;
				s.sets_len = 35;
				s.len += 35;
			}
			film_add_sample(&f[i], &s);
			at += s.len;
		}
		assert_int_equal(film_plan_make(&f[i], at, &limits, &plan[i]), 0);
	}
	uint64_t lens[2][200] = { { 0 } };
	size_t chunks[2] = { 0 };
	for (unsigned i = 0; i < 2; i++) {
		const struct plan_stream *s = &plan[i]->streams[0];
		for (size_t k = 0; k < s->n; k++) {
			chunks[i] += s->v[k].cut;
			lens[i][chunks[i]] += s->v[k].len;
		}
		film_plan_free(plan[i]);
		film_done(&f[i]);
	}
	assert_in_range(chunks[0], 50, 199);
	assert_int_equal(chunks[0], chunks[1]);
	assert_memory_equal(lens[0], lens[1], sizeof lens[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trimmed_film_has_the_cuts_of_the_whole_one),
		cmocka_unit_test(films_one_after_another_have_the_cuts_of_both),
		cmocka_unit_test(chunks_are_as_long_as_they_should),
		cmocka_unit_test(key_pictures_come_first),
		cmocka_unit_test(hashes_that_say_nothing_leave_the_limits),
		cmocka_unit_test(a_picture_that_is_too_long_is_cut_by_its_length),
		cmocka_unit_test(parameter_sets_in_pictures_are_in_no_chunk_of_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
