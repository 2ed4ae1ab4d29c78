// SPDX-License-Identifier: MIT
/* Parameter sets within pictures: found where they are, and nowhere else. */
#include "keyframe/inband.h"
#include "film_memory.h"
#include "stack.h"

/* One sample after ten other bytes. */
struct sample_bytes {
	uint8_t data[100000];
	size_t len;
	struct film film;
};

static void sample_begin(struct sample_bytes *b, const char *codec)
{
	memset(b, 0, sizeof *b);
	b->len = 10;
	film_add_track(&b->film, FILM_VIDEO, codec);
	b->film.tracks[0].whole = true;
}

static void put_unit(struct sample_bytes *b, uint8_t first, uint32_t len)
{
	uint8_t *p = b->data + b->len;
	p[0] = (uint8_t)(len >> 24);
	p[1] = (uint8_t)(len >> 16);
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	p[4] = first;
	b->len += 4 + len;
	assert_true(b->len <= sizeof b->data);
}

static void expect_sets(struct sample_bytes *b, unsigned at, unsigned len)
{
	struct film_memory m = { .data = b->data, .len = b->len };
	struct film_source s = { .read = film_memory_read,
				 .arg = &m,
				 .size = b->len,
				 .budget = 1 << 20,
				 .window = film_memory_window };
	struct film_sample sample = { .at = 10, .len = (uint32_t)(b->len - 10), .key = true };
	film_add_sample(&b->film, &sample);
	assert_int_equal(inband_find(&s, &b->film), 0);
	assert_int_equal(b->film.samples[0].sets_at, at);
	assert_int_equal(b->film.samples[0].sets_len, len);
	film_done(&b->film);
}

enum { PICTURE = 5, SEI = 6, SPS = 7, PPS = 8, DELIMITER = 9 };

static void sets_are_found_wherever_they_are(void **state)
{
	(void)state;
	static struct sample_bytes b;
	sample_begin(&b, "h264");
	put_unit(&b, 0x60 | SPS, 23);
	put_unit(&b, 0x60 | PPS, 4);
	put_unit(&b, 0x60 | PICTURE, 5000);
	expect_sets(&b, 0, 35);
	sample_begin(&b, "h264");
	put_unit(&b, DELIMITER, 2);
	put_unit(&b, SEI, 610);
	put_unit(&b, SPS, 23);
	put_unit(&b, PPS, 4);
	put_unit(&b, SEI, 10); /* what follows is the picture's */
	put_unit(&b, PICTURE, 5000);
	expect_sets(&b, 6 + 614, 35);
	sample_begin(&b, "h264");
	put_unit(&b, SEI, 9000); /* farther than is looked at once */
	put_unit(&b, SPS, 300);
	put_unit(&b, PICTURE, 50);
	expect_sets(&b, 9004, 304);
	sample_begin(&b, "hevc");
	for (unsigned type = 32; type <= 34; type++)
		put_unit(&b, (uint8_t)(type << 1), 40);
	put_unit(&b, 39 << 1, 40);
	put_unit(&b, 19 << 1, 4000);
	expect_sets(&b, 0, 132);
}

static void pictures_without_are_left_alone(void **state)
{
	(void)state;
	static struct sample_bytes b;
	sample_begin(&b, "h264");
	put_unit(&b, SEI, 610);
	put_unit(&b, PICTURE, 5000);
	put_unit(&b, SPS, 23); /* behind the picture it is another matter */
	expect_sets(&b, 0, 0);
	sample_begin(&b, "vp9");
	put_unit(&b, SPS, 23);
	put_unit(&b, PICTURE, 100);
	expect_sets(&b, 0, 0);
	sample_begin(&b, "h264");
	b.film.tracks[0].whole = false;
	put_unit(&b, SPS, 23);
	put_unit(&b, PICTURE, 100);
	expect_sets(&b, 0, 0);
}

/* Lengths that lie, sets beyond what can be told, nothing but sets. */
static void nonsense_gives_nothing_that_is_not_there(void **state)
{
	(void)state;
	static struct sample_bytes b;
	sample_begin(&b, "h264");
	put_unit(&b, SPS, 23);
	put_unit(&b, PICTURE, 100);
	b.len -= 50;
	expect_sets(&b, 0, 0);
	sample_begin(&b, "h264");
	put_unit(&b, SEI, 60000);
	put_unit(&b, SPS, 10000);
	put_unit(&b, PICTURE, 100);
	expect_sets(&b, 0, 0);
	sample_begin(&b, "h264");
	put_unit(&b, SPS, 30);
	put_unit(&b, PPS, 30);
	expect_sets(&b, 0, 68);
	sample_begin(&b, "h264");
	for (unsigned i = 0; i < 1000; i++)
		put_unit(&b, SEI, 1);
	put_unit(&b, SPS, 30);
	expect_sets(&b, 0, 0);
	sample_begin(&b, "h264");
	b.len += 3;
	expect_sets(&b, 0, 0);
}

static void what_can_not_be_read_has_none(void **state)
{
	(void)state;
	static struct sample_bytes b;
	sample_begin(&b, "h264");
	put_unit(&b, SPS, 23);
	put_unit(&b, PICTURE, 5000);
	struct film_memory m = { .data = b.data, .len = 12 };
	struct film_source s = { .read = film_memory_read,
				 .arg = &m,
				 .size = b.len,
				 .budget = 1 << 20,
				 .window = film_memory_window };
	struct film_sample sample = { .at = 10, .len = (uint32_t)(b.len - 10), .key = true };
	film_add_sample(&b.film, &sample);
	assert_int_equal(inband_find(&s, &b.film), 0); /* the file has become shorter */
	m.len = b.len;
	s.budget = 100;
	assert_int_equal(inband_find(&s, &b.film), 0);
	assert_int_equal(b.film.samples[0].sets_len, 0);
	film_done(&b.film);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_are_found_wherever_they_are),
		cmocka_unit_test(pictures_without_are_left_alone),
		cmocka_unit_test(nonsense_gives_nothing_that_is_not_there),
		cmocka_unit_test(what_can_not_be_read_has_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
