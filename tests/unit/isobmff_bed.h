// SPDX-License-Identifier: MIT
/* isobmff_bed: a film made of boxes, and what the parser finds in it. */
#ifndef FOLDFS_TEST_ISOBMFF_BED_H
#define FOLDFS_TEST_ISOBMFF_BED_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "film_boxes.h"
#include <errno.h>

#define HOLE 100000u
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A film whose samples lie in a hole after its boxes. */
struct bed {
	struct buf b;
	uint64_t hole;
	struct holed file;
	struct film f;
};

static inline void bed_begin(struct bed *t)
{
	*t = (struct bed){ .hole = HOLE };
	put_ftyp(&t->b, "isom");
}

static inline void bed_done(struct bed *t)
{
	film_done(&t->f);
	buf_done(&t->b);
}

/* With a file of `there` bytes that claims to be as long as it was made. */
static inline int parse_shrunk(struct bed *t, uint64_t there)
{
	struct film_source s;
	film_done(&t->f);
	t->file = (struct holed){
		.data = t->b.data,
		.n = t->b.len,
		.at = t->b.len,
		.len = t->hole,
		.there = there,
	};
	assert_false(t->b.failed);
	assert_int_equal(holed_open(&s, &t->file), 0);
	int r = film_isobmff.parse(&s, &t->f);
	film_source_done(&s);
	return r;
}

static inline int parse(struct bed *t)
{
	return parse_shrunk(t, UINT64_MAX);
}

struct expected_sample {
	uint64_t at;
	uint32_t len;
	uint16_t track;
	bool key;
};

/* All samples, in the order in which they were found. */
static inline void expect(const struct bed *t, size_t n, const struct expected_sample *v)
{
	for (size_t i = 0; i < n && i < t->f.n; i++) {
		assert_int_equal(t->f.samples[i].track, v[i].track);
		assert_int_equal(t->f.samples[i].at, v[i].at);
		assert_int_equal(t->f.samples[i].len, v[i].len);
		assert_int_equal(t->f.samples[i].key, v[i].key);
	}
	assert_int_equal(t->f.n, n);
}
#define EXPECT(t, ...)                                                                             \
	expect(t, COUNT(((const struct expected_sample[]){ __VA_ARGS__ })),                        \
	       (const struct expected_sample[]){ __VA_ARGS__ })

/* moov with one track, of which the caller writes the tables. */
struct one {
	size_t moov;
	struct track_boxes track;
};

static inline struct one video_begin(struct bed *t)
{
	struct one o;
	bed_begin(t);
	o.moov = box_begin(&t->b, "moov");
	o.track = track_begin(&t->b, 1, "vide");
	put_video_entry(&t->b, "avc1");
	return o;
}

static inline struct one audio_begin(struct bed *t)
{
	struct one o;
	bed_begin(t);
	o.moov = box_begin(&t->b, "moov");
	o.track = track_begin(&t->b, 1, "soun");
	return o;
}

static inline void one_end(struct bed *t, struct one o)
{
	track_end(&t->b, o.track);
	box_end(&t->b, o.moov);
}

static inline void put_small_tables(struct bed *t)
{
	BOX32(&t->b, "stsz", 0, 0, 2, 100, 50);
	BOX32(&t->b, "stsc", 0, 1, 1, 2, 1);
	BOX32(&t->b, "stco", 0, 1, 5000);
}

static inline void expect_small_tables(const struct bed *t)
{
	EXPECT(t, { 5000, 100, 0, true }, { 5100, 50, 0, true });
}
#endif
