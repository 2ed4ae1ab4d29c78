// SPDX-License-Identifier: MIT
/* film_boxes: boxes of MP4 put together by hand, in a file with a hole of zeros somewhere, which takes no
 * memory: the bytes of the samples. */
#ifndef FOLDFS_TEST_FILM_BOXES_H
#define FOLDFS_TEST_FILM_BOXES_H
#include "bytes.h"
#include "keyframe/detect.h"

/* [0, at) of the bytes, then `len` zeros, then the rest of the bytes; cut off at `there`. */
struct holed {
	const uint8_t *data;
	size_t n;
	uint64_t at, len, there;
	uint64_t read; /* bytes that were asked for */
};

ssize_t holed_read(void *arg, void *buf, size_t len, uint64_t at);
/* A source of it; 0 or -ENOMEM. */
int holed_open(struct film_source *s, struct holed *h);

void put_be(struct buf *b, uint64_t v, unsigned bytes);
void put_be32s(struct buf *b, size_t n, const uint32_t *v);
/* u32 each */
#define PUT32(b, ...)                                                                              \
	put_be32s(b, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4,                                \
		  (const uint32_t[]){ __VA_ARGS__ })
void put_zeros(struct buf *b, size_t n);

/* Begins a box and returns where; box_end() writes its size. */
size_t box_begin(struct buf *b, const char *type);
void box_end(struct buf *b, size_t at);
/* A box of numbers of 32 bits. */
#define BOX32(b, type, ...)                                                                        \
	do {                                                                                       \
		size_t box_ = box_begin(b, type);                                                  \
		PUT32(b, __VA_ARGS__);                                                             \
		box_end(b, box_);                                                                  \
	} while (0)

void put_ftyp(struct buf *b, const char *brand);

/* Where the boxes of a track begin that track_begin() has left open. */
struct track_boxes {
	size_t trak, mdia, minf, stbl;
};
/* trak with tkhd, mdia with hdlr, minf with a dref; stbl is open and waits for tables. */
struct track_boxes track_begin(struct buf *b, uint32_t id, const char *handler);
void track_end(struct buf *b, struct track_boxes t);

/* Boxes stsd: */
void put_video_entry(struct buf *b, const char *type);
/* PCM without QuickTime's additions, or version 2 for packets of so many bytes. */
void put_linear_entry(struct buf *b, const char *type, unsigned version, uint32_t bytes);
/* QuickTime's version 1 for packets of so many bytes and samples. */
void put_packed_entry(struct buf *b, const char *type, uint32_t bytes, uint32_t samples);
/* mp4a with an MPEG-4 descriptor of this object type; in a box `wave` if so wanted. */
void put_esds_entry(struct buf *b, uint8_t object, bool wave);
#endif
