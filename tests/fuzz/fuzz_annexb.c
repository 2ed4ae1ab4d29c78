// SPDX-License-Identifier: MIT
/* Input: a file. What is found in it lies within it, in its order, and costs no more than a few times
 * its bytes. */
#include "film_memory.h"
#include "fuzz.h"
#include "stream_bytes.h"

bool fuzz_one(struct slice in)
{
	struct film_memory m = { .data = in.at, .len = in.len };
	struct film f;
	int r = film_memory_parse(&m, &film_annexb, &f);
	must(r == 0 || r == -ENOMSG || r == -EBADMSG);
	must(film_is_sound(&f, in.len));
	must(film_is_in_order(&f));
	must(f.max <= 2 * f.n + 1024);
	must(m.read <= 4 * (uint64_t)in.len + 65536);
	bool valid = r == 0 && f.n;
	film_done(&f);
	return valid;
}

void fuzz_seeds(void)
{
	struct buf b = { 0 };
	put_units(&b, H264_SPS, H264_PPS, H264_SEI, H264_IDR, H264_IDR_MORE, H264_P, H264_P_MORE);
	put_units(&b, H264_AUD, H264_RECOVERY, H264_P, H264_AUD, H264_P);
	fuzz_seed_buf("h264", &b);
	put_units(&b, HEVC_AUD, HEVC_VPS, HEVC_SPS, HEVC_PPS, HEVC_SEI, HEVC_IDR, HEVC_P);
	put_units(&b, HEVC_CRA, HEVC_CRA_MORE, HEVC_P);
	fuzz_seed_buf("hevc", &b);
}
