// SPDX-License-Identifier: MIT
/* Input: a file. What is found in it lies within it, in its order, and costs no more than a few times
 * its bytes. */
#include "ebml_bytes.h"
#include "film_memory.h"
#include "fuzz.h"

bool fuzz_one(struct slice in)
{
	struct film_memory m = { .data = in.at, .len = in.len };
	struct film f;
	int r = film_memory_parse(&m, &film_matroska, &f);
	must(r == 0 || r == -ENOMSG || r == -EBADMSG);
	must(film_is_sound(&f, in.len));
	must(film_is_in_order(&f));
	must(f.max <= 2 * f.n + 1024);
	must(m.read <= 8 * (uint64_t)in.len + 65536);
	bool valid = r == 0 && f.n;
	film_done(&f);
	return valid;
}

static void put_cluster(struct buf *b, uint64_t size)
{
	ebml_put_head(b, EL_CLUSTER, size, 8);
	ebml_put_uint(b, EL_TIME, 3);
	ebml_put_block(b, EL_SIMPLE, 1, 0x80, 40);
	ebml_put_block(b, EL_SIMPLE, 2, 0x80, 10);
	ebml_put_group(b, 1, true, 20);
}

static void put_laced(struct buf *b, uint8_t lacing, const char *table, size_t len)
{
	ebml_put_head(b, EL_SIMPLE, 4 + len + 24, 1);
	ebml_put_number(b, 2, 1);
	ebml_put_be(b, lacing, 3);
	buf_put(b, table, len);
	ebml_put_fill(b, 24);
}

void fuzz_seeds(void)
{
	struct buf b = { 0 };
	ebml_put_start(&b, "matroska");
	size_t segment = ebml_begin(&b, EL_SEGMENT);
	ebml_put_tracks(&b);
	size_t cluster = ebml_begin(&b, EL_CLUSTER);
	ebml_put_group(&b, 1, false, 30);
	put_laced(&b, 2, "\2\5\6", 3);
	put_laced(&b, 4, "\2", 1);
	put_laced(&b, 6, "\2\x85\xc0", 3);
	ebml_end(&b, cluster);
	ebml_put_text(&b, EL_CUES, "cues");
	ebml_end(&b, segment);
	fuzz_seed_buf("laced", &b);

	ebml_put_start(&b, "webm");
	ebml_put_head(&b, EL_SEGMENT, EBML_UNKNOWN, 8);
	ebml_put_tracks(&b);
	put_cluster(&b, EBML_UNKNOWN);
	put_cluster(&b, EBML_UNKNOWN);
	fuzz_seed_buf("live", &b);

	ebml_put_start(&b, "matroska");
	ebml_put_head(&b, EL_SEGMENT, 5, 1);
	ebml_put_tracks(&b);
	put_cluster(&b, 9);
	ebml_put_fill(&b, 50);
	put_cluster(&b, 1u << 20);
	put_cluster(&b, EBML_UNKNOWN);
	fuzz_seed_buf("liar", &b);
}
