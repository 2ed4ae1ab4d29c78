// SPDX-License-Identifier: MIT
/* Input: u8, odd for HEVC and even for H.264; the bytes of a key picture. */
#include "film_memory.h"
#include "fuzz.h"
#include "keyframe/inband.h"

bool fuzz_one(struct slice in)
{
	struct film f = { 0 };
	uint8_t codec = take_u8(&in);
	if (in.bad || !in.len || in.len > 1 << 20)
		return false;
	struct film_memory m = { .data = in.at, .len = in.len };
	struct film_source s = { .read = film_memory_read,
				 .arg = &m,
				 .size = in.len,
				 .budget = 4 << 20,
				 .window = film_memory_window };
	struct film_sample sample = { .len = (uint32_t)in.len, .key = true };
	film_add_track(&f, FILM_VIDEO, codec % 2 ? "hevc" : "h264");
	f.tracks[0].whole = true;
	film_add_sample(&f, &sample);
	must(inband_find(&s, &f) == 0);
	sample = f.samples[0];
	must((size_t)sample.sets_at + sample.sets_len <= in.len);
	film_done(&f);
	return true;
}

static void seed(const char *name, uint8_t codec, const uint8_t *units, size_t n)
{
	struct buf b = { 0 };
	buf_put_u8(&b, codec);
	for (size_t i = 0; i < n; i++) {
		uint8_t head[5] = { 0, 0, 0, 1 + 9, units[i] };
		buf_put(&b, head, sizeof head);
		buf_put(&b, "123456789", 9);
	}
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("h264", 0, (const uint8_t[]){ 9, 6, 7, 8, 6, 5 }, 6);
	seed("hevc", 1, (const uint8_t[]){ 35 << 1, 32 << 1, 33 << 1, 34 << 1, 39 << 1, 19 << 1 },
	     6);
}
