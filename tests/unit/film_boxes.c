// SPDX-License-Identifier: MIT
#include "film_boxes.h"

#define FIXED_1 0x10000u /* 1 in 16.16 */

ssize_t holed_read(void *arg, void *buf, size_t len, uint64_t at)
{
	struct holed *h = arg;
	uint8_t *to = buf;
	h->read += len;
	if (at >= h->there)
		return 0;
	if (len > h->there - at)
		len = (size_t)(h->there - at);
	memset(to, 0, len);
	uint64_t end = at + len, back = h->at + h->len;
	if (at < h->at)
		memcpy(to, h->data + at, (size_t)((end < h->at ? end : h->at) - at));
	if (end > back) {
		uint64_t from = at > back ? at : back;
		memcpy(to + (from - at), h->data + (from - h->len), (size_t)(end - from));
	}
	return (ssize_t)len;
}

int holed_open(struct film_source *s, struct holed *h)
{
	int r = film_source_open(s, NULL, h->n + h->len);
	s->read = holed_read;
	s->arg = h;
	return r;
}

void put_be(struct buf *b, uint64_t v, unsigned bytes)
{
	while (bytes--)
		buf_put_u8(b, (uint8_t)(v >> (8 * bytes)));
}

void put_be32s(struct buf *b, size_t n, const uint32_t *v)
{
	for (size_t i = 0; i < n; i++)
		put_be(b, v[i], 4);
}
void put_zeros(struct buf *b, size_t n)
{
	while (n--)
		buf_put_u8(b, 0);
}

size_t box_begin(struct buf *b, const char *type)
{
	size_t at = b->len;
	put_be(b, 0, 4);
	buf_put(b, type, 4);
	return at;
}

void box_end(struct buf *b, size_t at)
{
	uint32_t size = htobe32((uint32_t)(b->len - at));
	if (!b->failed)
		memcpy(b->data + at, &size, sizeof size);
}
void put_ftyp(struct buf *b, const char *brand)
{
	size_t at = box_begin(b, "ftyp");
	buf_put(b, brand, 4);
	PUT32(b, 512);
	buf_put(b, brand, 4);
	box_end(b, at);
}

struct track_boxes track_begin(struct buf *b, uint32_t id, const char *handler)
{
	struct track_boxes t;
	t.trak = box_begin(b, "trak");
	BOX32(b, "tkhd", 3, 0, 0, id, 0, 100, 0, 0);
	t.mdia = box_begin(b, "mdia");
	size_t hdlr = box_begin(b, "hdlr");
	PUT32(b, 0, 0);
	buf_put(b, handler, 4);
	PUT32(b, 0, 0, 0);
	box_end(b, hdlr);
	t.minf = box_begin(b, "minf");
	size_t dinf = box_begin(b, "dinf"), dref = box_begin(b, "dref");
	PUT32(b, 0, 1);
	BOX32(b, "url ", 1);
	box_end(b, dref);
	box_end(b, dinf);
	t.stbl = box_begin(b, "stbl");
	return t;
}

void track_end(struct buf *b, struct track_boxes t)
{
	box_end(b, t.stbl);
	box_end(b, t.minf);
	box_end(b, t.mdia);
	box_end(b, t.trak);
}

void put_video_entry(struct buf *b, const char *type)
{
	size_t stsd = box_begin(b, "stsd");
	PUT32(b, 0, 1);
	size_t entry = box_begin(b, type);
	PUT32(b, 0, 1);
	put_zeros(b, 70);
	box_end(b, entry);
	box_end(b, stsd);
}

/* The fields of an audio entry up to where its version's own begin. */
static void put_audio_fields(struct buf *b, unsigned version, unsigned channels, unsigned bits)
{
	PUT32(b, 0, 1);
	put_be(b, version, 2);
	put_zeros(b, 6);
	put_be(b, channels, 2);
	put_be(b, bits, 2);
	PUT32(b, 0, 48000 * FIXED_1);
}

void put_packed_entry(struct buf *b, const char *type, uint32_t bytes, uint32_t samples)
{
	size_t stsd = box_begin(b, "stsd");
	PUT32(b, 0, 1);
	size_t entry = box_begin(b, type);
	put_audio_fields(b, 1, 2, 16);
	PUT32(b, samples, bytes / 2, bytes, 2);
	box_end(b, entry);
	box_end(b, stsd);
}

void put_esds_entry(struct buf *b, uint8_t object, bool wave)
{
	const uint8_t long_way[] = { 3, 0x80, 0x80, 0x80, 25, 0, 1, 0xe0, 0,
				     9, 2,    'a',  'b',  0,  7, 4, 17,	  object };
	size_t stsd = box_begin(b, "stsd");
	PUT32(b, 0, 1);
	size_t entry = box_begin(b, "mp4a");
	put_audio_fields(b, wave, 2, 16);
	if (wave)
		put_zeros(b, 16);
	size_t outer = wave ? box_begin(b, "wave") : 0, esds = box_begin(b, "esds");
	PUT32(b, 0);
	buf_put(b, long_way, sizeof long_way);
	put_zeros(b, 16);
	box_end(b, esds);
	if (wave)
		box_end(b, outer);
	box_end(b, entry);
	box_end(b, stsd);
}

void put_linear_entry(struct buf *b, const char *type, unsigned version, uint32_t bytes)
{
	size_t stsd = box_begin(b, "stsd");
	PUT32(b, 0, 1);
	size_t entry = box_begin(b, type);
	put_audio_fields(b, version, 6, 24);
	if (version == 2)
		PUT32(b, 72, 0, 0, 6, 0x7f000000, 24, 12, bytes, 1);
	box_end(b, entry);
	box_end(b, stsd);
}
