// SPDX-License-Identifier: MIT
/* Input: a file. What is found in it lies within it, in its order, and costs no more than a few times
 * its bytes; so do the units of its pictures. */
#include "film_memory.h"
#include "fuzz.h"
#include "keyframe/units.h"
#include "stream_bytes.h"

static void find_units(struct film_memory *m, struct film *f)
{
	struct film_source s = { .read = film_memory_read,
				 .arg = m,
				 .size = m->len,
				 .budget = 4 * (uint64_t)m->len + (64u << 20),
				 .window = film_memory_window };
	uint64_t end = 0, before = m->read;
	size_t runs = f->n;
	must(units_find(&s, f) == 0);
	must(film_is_sound(f, m->len));
	for (size_t i = runs; i < f->n; i++) {
		const struct film_sample *u = &f->samples[i];
		must(f->tracks[u->track].units && u->at >= end + 3 && (!u->key || u->begins));
		must(!memcmp(m->data + u->at - 3, "\0\0\1", 3));
		end = u->at + u->len;
	}
	must(m->read - before <= 2 * (uint64_t)m->len + 65536);
}

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
	if (valid)
		find_units(&m, &f);
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
