// SPDX-License-Identifier: MIT
/* Films through destage: whatever a film claims, its file reads back; and the same tracks in another
 * wrapping cost next to nothing. */
#include "stack.h"

#define MIB (1024u * 1024)
#define INO 100u
#define TRACKS 3u

static const struct plan_limits limits = {
	.min = 256 << 10, .target = MIB, .max = 2 * MIB, .gather = true
};

struct wrapped {
	uint8_t *data;
	size_t len;
	struct film film;
};

static void wrapped_done(struct wrapped *w)
{
	free(w->data);
	film_done(&w->film);
}

static uint32_t sample_len(unsigned track, uint64_t *seed)
{
	return track == 0 ? 500 + (uint32_t)prng_below(seed, 9000)
			  : 300 + (uint32_t)prng_below(seed, 200);
}

/* The same samples every time; how they are interleaved, and what is put before each, is `style`'s. */
static void wrap(struct wrapped *w, unsigned from, unsigned count, unsigned style)
{
	static const enum film_kind kinds[TRACKS] = { FILM_VIDEO, FILM_AUDIO, FILM_AUDIO };
	unsigned next[TRACKS];
	uint64_t look = style + 7;
	*w = (struct wrapped){ .data = malloc((size_t)count * 12000 + 100000) };
	w->film.container = style ? FILM_MATROSKA : FILM_MP4;
	for (unsigned t = 0; t < TRACKS; t++) {
		film_add_track(&w->film, kinds[t], "test");
		w->film.tracks[t].whole = true;
		next[t] = from;
	}
	size_t at = 30000 + 777 * style;
	prng_fill(&look, w->data, at);
	for (unsigned left = TRACKS * count; left;) {
		unsigned t = (unsigned)prng_below(&look, TRACKS);
		unsigned run = style == 0 ? 1 + (unsigned)prng_below(&look, 3) : 1;
		for (; run && next[t] < from + count; run--, left--) {
			uint64_t seed = next[t] * TRACKS + t + 1;
			struct film_sample s = { .track = (uint16_t)t };
			if (style) {
				prng_fill(&look, w->data + at, 9);
				at += 9;
			}
			s.at = at;
			s.len = sample_len(t, &seed);
			s.key = t != 0 || next[t] % 24 == 0;
			prng_fill(&seed, w->data + at, s.len);
			at += s.len;
			next[t]++;
			film_add_sample(&w->film, &s);
		}
	}
	prng_fill(&look, w->data + at, 5000);
	w->len = at + 5000;
}

static void store_film(struct stack *st, uint64_t ino, const struct wrapped *w, struct upload *u)
{
	*u = (struct upload){ .read = u->read };
	assert_int_equal(film_plan_make(&w->film, w->len, &limits, &u->s.plan), 0);
	upload_start(u, st, ino, w->data, w->len);
	destage_flush(st->destage);
	assert_int_equal(u->result, 0);
	assert_int_equal(file_compare(st, ino, w->data, w->len), 0);
}

static uint64_t new_bytes(struct stack *st)
{
	struct packer_stats stats;
	packer_get_stats(st->packer, &stats);
	return stats.bytes_new;
}

static void another_wrapping_costs_what_is_its_own(void **state)
{
	(void)state;
	struct stack st;
	struct wrapped w[3];
	struct upload u = { 0 };
	stack_make(&st);
	stack_open(&st);
	wrap(&w[0], 0, 6000, 0);
	wrap(&w[1], 0, 6000, 1);
	wrap(&w[2], 2400, 3600, 2);
	assert_true(w[0].len > 32 * MIB); /* more than one window */
	store_film(&st, INO, &w[0], &u);
	uint64_t before = new_bytes(&st);
	store_film(&st, INO + 1, &w[1], &u);
	uint64_t rest = w[1].len - w[0].len + 2 * 36000;
	assert_in_range(new_bytes(&st) - before, 1, rest + 20000);
	before = new_bytes(&st);
	store_film(&st, INO + 2, &w[2], &u); /* trimmed, too: a chunk of each track more */
	assert_in_range(new_bytes(&st) - before, 1, rest + 3 * MIB / 2);
	assert_int_equal(stack_close(&st), 0);
	stack_open(&st);
	check_rows(&st);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(file_compare(&st, INO + i, w[i].data, w[i].len), 0);
		wrapped_done(&w[i]);
	}
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* The same pictures, of one to three units each: behind lengths in a container, or behind start codes. */
static void wrap_units(struct wrapped *w, unsigned count, bool bare)
{
	uint64_t seed = 5;
	*w = (struct wrapped){ .data = malloc((size_t)count * 12000) };
	w->film.container = bare ? FILM_H264 : FILM_MP4;
	film_add_track(&w->film, FILM_VIDEO, "h264");
	w->film.tracks[0].units = bare;
	w->film.tracks[0].whole = !bare;
	for (unsigned i = 0; i < count; i++) {
		unsigned units = 1 + (unsigned)prng_below(&seed, 3);
		struct film_sample s = { .at = w->len, .key = i % 24 == 0 };
		for (unsigned k = 0; k < units; k++) {
			uint32_t len = 200 + (uint32_t)prng_below(&seed, 3000);
			put_be32(w->data + w->len, bare ? 1 : len); /* a start code, or a length */
			w->len += 4;
			if (bare) {
				s.at = w->len;
				s.len = len;
				s.begins = k == 0;
				s.key = i % 24 == 0 && s.begins;
				film_add_sample(&w->film, &s);
			}
			prng_fill(&seed, w->data + w->len, len);
			w->len += len;
		}
		s.len = (uint32_t)(w->len - s.at);
		if (!bare)
			film_add_sample(&w->film, &s);
	}
}

static void start_codes_stand_for_lengths(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		struct stack st;
		struct wrapped w[2];
		struct upload u = { 0 };
		stack_make(&st);
		stack_open(&st);
		wrap_units(&w[0], 4000, first == 0);
		wrap_units(&w[1], 4000, first == 1);
		store_film(&st, INO, &w[0], &u);
		uint64_t before = new_bytes(&st);
		assert_true(before > 10 * MIB);
		store_film(&st, INO + 1, &w[1], &u);
		assert_in_range(new_bytes(&st) - before, 0, 4000 * 3 * 4);
		assert_int_equal(file_compare(&st, INO, w[0].data, w[0].len), 0);
		assert_int_equal(stack_close(&st), 0);
		stack_remove(&st);
		wrapped_done(&w[0]);
		wrapped_done(&w[1]);
	}
}

/* Samples that overlap, go backwards, or are two tracks' at once. */
static void tables_that_lie_only_move_cuts(void **state)
{
	(void)state;
	struct stack st;
	struct upload u = { 0 };
	stack_make(&st);
	stack_open(&st);
	for (unsigned round = 0; round < 24; round++) {
		struct wrapped w;
		uint64_t seed = round + 1;
		wrap(&w, 0, 300, round % 2);
		for (unsigned k = 0; k < 1 + round; k++) {
			struct film_sample *s = &w.film.samples[prng_below(&seed, w.film.n)];
			switch (prng_below(&seed, 4)) {
			case 0:
				s->at = prng_below(&seed, w.len);
				break;
			case 1:
				s->track = (uint16_t)prng_below(&seed, TRACKS);
				break;
			case 2:
				s->key = !s->key;
				break;
			default:
				s->len = (uint32_t)prng_below(&seed, 100000);
			}
			if (s->len > w.len - s->at)
				s->len = (uint32_t)(w.len - s->at);
		}
		store_film(&st, INO + round, &w, &u);
		wrapped_done(&w);
	}
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

static unsigned calls, small, wrong;

/* Blocks are read as they are; what is gathered from beyond them is not. */
static int read_wrongly(struct destage_source *s, void *buf, size_t len, uint64_t at)
{
	struct upload *u = (struct upload *)s;
	memcpy(buf, u->data + at, len);
	calls++;
	if (len < 10000 && small++ < wrong)
		((uint8_t *)buf)[len / 2] ^= 1;
	return 0;
}

/* What was gathered is not what stands in the file: seen before anything refers to it. */
static void a_slice_of_other_bytes_is_not_given_out(void **state)
{
	(void)state;
	struct stack st;
	struct wrapped w;
	struct upload u = { .read = read_wrongly };
	stack_make(&st);
	stack_open(&st);
	wrap(&w, 0, 6000, 1);
	calls = small = 0;
	wrong = 1;
	store_film(&st, INO, &w, &u);
	assert_true(small >= wrong);
	wrapped_done(&w);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* All is read once, but for what is far ahead: a packet of sound when half a MiB of it is wanted. */
static void a_film_is_read_once(void **state)
{
	(void)state;
	struct stack st;
	struct wrapped w;
	struct upload u = { .read = read_wrongly };
	stack_make(&st);
	stack_open(&st);
	wrap(&w, 0, 6000, 1);
	calls = small = wrong = 0;
	store_film(&st, INO, &w, &u);
	assert_in_range(calls - small, w.len / (256 << 10), 3 * w.len / (512 << 10));
	wrapped_done(&w);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* A plan with a gap, with two owners of a byte, or of another size. */
static void a_plan_that_does_not_fit_is_given_up(void **state)
{
	(void)state;
	struct stack st;
	struct wrapped w;
	stack_make(&st);
	stack_open(&st);
	wrap(&w, 0, 6000, 1);
	for (unsigned i = 0; i < 4; i++) {
		struct upload u = { 0 };
		assert_int_equal(film_plan_make(&w.film, w.len, &limits, &u.s.plan), 0);
		struct plan_stream *s = &u.s.plan->streams[0];
		if (i == 0)
			s->v[s->n / 2].at++;
		else if (i == 1)
			s->v[s->n - 1].len--;
		else if (i == 2)
			s->n = 1;
		else
			u.s.plan->size++;
		upload_start(&u, &st, INO + i, w.data, w.len);
		destage_flush(st.destage);
		assert_int_equal(u.result, 0);
		assert_int_equal(file_compare(&st, INO + i, w.data, w.len), 0);
	}
	wrapped_done(&w);
	assert_int_equal(stack_close(&st), 0);
	stack_remove(&st);
}

/* Every byte has one owner, and chunks of pictures keep within the limits. */
static void check_plan(const struct film_plan *plan)
{
	CLEANUP_FREE uint8_t *owned = calloc(1, plan->size);
	for (unsigned i = 0; i < plan->n; i++) {
		const struct plan_stream *s = &plan->streams[i];
		uint64_t chunk = 0, chunks = 0;
		for (size_t k = 0; k < s->n; k++) {
			assert_true(s->v[k].at + s->v[k].len <= plan->size && s->v[k].len);
			for (uint64_t b = 0; b < s->v[k].len; b++)
				assert_int_equal(owned[s->v[k].at + b]++, 0);
			if (s->v[k].cut && !s->by_content && k) {
				assert_in_range(chunk, limits.min, limits.max);
				chunks++;
				chunk = 0;
			}
			chunk += s->v[k].len;
		}
		assert_true(s->by_content || chunk <= limits.max);
		assert_true(s->by_content || chunks > 10);
	}
	assert_null(memchr(owned, 0, plan->size));
}

static void plans_tile_the_file(void **state)
{
	(void)state;
	for (unsigned style = 0; style < 4; style++) {
		struct wrapped w;
		struct film_plan *plan;
		struct plan_limits l = limits;
		wrap(&w, 0, 6000, style % 2);
		l.gather = style < 2;
		assert_int_equal(film_plan_make(&w.film, w.len, &l, &plan), 0);
		assert_non_null(plan);
		assert_int_equal(plan->gathered, l.gather);
		assert_int_equal(plan->n, l.gather ? 4 : 2);
		check_plan(plan);
		film_plan_free(plan);
		wrapped_done(&w);
	}
}

/* Nothing can be told from lengths that are all the same: a stream that begins later would never fall into
 * step, so its bytes decide. */
static void pictures_of_one_size_are_cut_by_their_bytes(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		struct film f = { .container = FILM_AVI };
		struct film_plan *plan;
		struct plan_limits l = limits;
		l.gather = round < 2;
		film_add_track(&f, FILM_VIDEO, "dv");
		f.tracks[0].whole = true;
		for (unsigned i = 0; i < 300; i++) {
			struct film_sample s = { .at = i * 150000,
						 .len = 144000 - (round % 2 ? i * 7 : 0),
						 .key = true };
			film_add_sample(&f, &s);
		}
		assert_int_equal(film_plan_make(&f, 300 * 150000, &l, &plan), 0);
		assert_non_null(plan);
		assert_int_equal(plan->gathered, l.gather);
		/* ungathered, a group ends where the next begins */
		assert_int_equal(plan->streams[0].by_content, round != 1);
		for (size_t i = 0; i < plan->streams[0].n && round != 1; i++)
			assert_false(plan->streams[0].v[i].cut);
		film_plan_free(plan);
		film_done(&f);
	}
}

/* Small samples make many slices of few bytes: that track is left where it is, or all are. */
static void slices_that_cost_too_much_are_not_made(void **state)
{
	(void)state;
	struct film f = { .container = FILM_MATROSKA };
	struct film_plan *plan;
	film_add_track(&f, FILM_VIDEO, "test");
	film_add_track(&f, FILM_AUDIO, "test");
	f.tracks[0].whole = f.tracks[1].whole = true;
	uint64_t at = 0;
	for (unsigned i = 0; i < 9000; i++) {
		bool video = i % 9 == 0;
		struct film_sample s = { .at = at += 10,
					 .len = video ? 3000 : 20,
					 .track = !video,
					 .key = i % 90 == 0 };
		film_add_sample(&f, &s);
		at += s.len;
	}
	assert_int_equal(film_plan_make(&f, at, &limits, &plan), 0);
	assert_non_null(plan);
	assert_true(plan->gathered);
	assert_int_equal(plan->n, 2);
	film_plan_free(plan);
	for (size_t i = 0; i < f.n; i++) {
		f.samples[i].at = i * 50;
		f.samples[i].len = 40;
	}
	assert_int_equal(film_plan_make(&f, f.n * 50, &limits, &plan), 0);
	assert_true(plan && !plan->gathered);
	film_plan_free(plan);
	film_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_wrapping_costs_what_is_its_own),
		cmocka_unit_test(start_codes_stand_for_lengths),
		cmocka_unit_test(tables_that_lie_only_move_cuts),
		cmocka_unit_test(a_slice_of_other_bytes_is_not_given_out),
		cmocka_unit_test(a_film_is_read_once),
		cmocka_unit_test(a_plan_that_does_not_fit_is_given_up),
		cmocka_unit_test(plans_tile_the_file),
		cmocka_unit_test(pictures_of_one_size_are_cut_by_their_bytes),
		cmocka_unit_test(slices_that_cost_too_much_are_not_made),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
