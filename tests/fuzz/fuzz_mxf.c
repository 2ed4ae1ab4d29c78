// SPDX-License-Identifier: MIT
/* Input: a file. What is found in it lies within it, in its order, and costs no more than a few times
 * its bytes. */
#include "film_memory.h"
#include "fuzz.h"
#include "klv_bytes.h"
#include "stream_bytes.h"

bool fuzz_one(struct slice in)
{
	struct film_memory m = { .data = in.at, .len = in.len };
	struct film f;
	int r = film_memory_parse(&m, &film_mxf, &f);
	must(r == 0 || r == -ENOMSG || r == -EBADMSG);
	must(film_is_sound(&f, in.len));
	must(film_is_in_order(&f));
	must(f.max <= 2 * f.n + 1024);
	must(m.read <= 4 * (uint64_t)in.len + (64u << 20));
	bool valid = r == 0 && f.n;
	film_done(&f);
	return valid;
}

static void put_element(struct buf *b, const char *key, struct unit_bytes first, size_t len)
{
	klv_put_head(b, key, first.len + len, 4);
	put_unit(b, first);
	put_payload(b, len);
}

static void put_vc3(struct buf *b, unsigned frames)
{
	klv_put_head(b, KLV_VC3_CLIP, frames * 106, 8);
	for (unsigned i = 0; i < frames; i++) {
		put_unit(b, UNIT("\0\0\2\x80\1\1"));
		put_payload(b, 100);
	}
}

void fuzz_seeds(void)
{
	static const struct unit_bytes first[] = { UNIT("\0\0\1\xb3"),
						   UNIT("\0\0\1\x65\x88\x84"),
						   UNIT("\0\0\1\x40\1\0\0\1\x26\1\xaf\x80"),
						   UNIT("\0\0\1\x42icpf"),
						   UNIT("\0\0\0\x0cjP  "),
						   UNIT("\x1f\7\0") };
	struct buf b = { 0 };
	for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
		static const char *const names[] = {
			"mpeg2", "h264", "hevc", "prores", "j2k", "dv"
		};
		klv_put(&b, KLV_HEADER_PARTITION, "header", 6);
		klv_put(&b, KLV_FILL, "fill", 4);
		put_element(&b, KLV_MPEG_FRAME, first[i], 50);
		put_element(&b, KLV_SOUND, UNIT("sound"), 50);
		put_element(&b, KLV_MPEG_FRAME, MPEG2_I, 5000);
		buf_put(&b, "junk", 4);
		put_element(&b, KLV_MPEG_CLIP, MPEG2_I, 50);
		fuzz_seed_buf(names[i], &b);
	}
	klv_put(&b, KLV_HEADER_PARTITION, "header", 6);
	put_vc3(&b, 5);
	fuzz_seed_buf("vc3", &b);
}
