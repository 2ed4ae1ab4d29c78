// SPDX-License-Identifier: MIT
/* Input: a file. What is found in it lies within it, in its order, and costs no more than what it may
 * cost. */
#include "avi_bytes.h"
#include "film_memory.h"
#include "fuzz.h"

bool fuzz_one(struct slice in)
{
	struct film_memory m = { .data = in.at, .len = in.len };
	struct film f;
	int r = film_memory_parse(&m, &film_avi, &f);
	must(r == 0 || r == -ENOMSG || r == -EBADMSG);
	must(film_is_sound(&f, in.len));
	must(film_is_in_order(&f));
	must(f.max <=
	     in.len + 1024); /* a sample is named by 8 bytes at least, and max may double */
	/* a table of 40 bytes may cost four reads elsewhere, of a page each */
	must(m.calls <= in.len / 8 + 64);
	bool valid = r == 0 && f.n;
	film_done(&f);
	return valid;
}

static void put_movi(struct buf *b, size_t *ret_movi)
{
	size_t movi = avi_begin(b, "LIST", "movi");
	*ret_movi = b->len - 4;
	avi_put_sample(b, "00dc", 40);
	avi_put_sample(b, "01wb", 11);
	size_t rec = avi_begin(b, "LIST", "rec ");
	avi_put_sample(b, "00dc", 33);
	avi_end(b, rec);
	avi_end(b, movi);
}

static void put_old(struct buf *b, bool absolute)
{
	size_t movi;
	avi_put_front(b);
	put_movi(b, &movi);
	size_t base = absolute ? movi : 0, at = avi_begin(b, "idx1", NULL);
	avi_put_row(b, "00dc", 0x10, base + 4, 40);
	avi_put_row(b, "01wb", 0x10, base + 52, 11);
	avi_put_row(b, "rec ", 0x01, base + 72, 46);
	avi_put_row(b, "00dc", 0, base + 84, 33);
	avi_end(b, at);
}

static void put_opendml(struct buf *b)
{
	size_t movi;
	avi_begin(b, "RIFF", "AVI ");
	size_t hdrl = avi_begin(b, "LIST", "hdrl"), strl = avi_begin(b, "LIST", "strl");
	avi_put_format(b, "vids", "H264");
	size_t indx = avi_begin(b, "indx", NULL);
	avi_put_index(b, 4, 0, 2, "00dc", 0);
	size_t rows = b->len;
	memset(buf_extend(b, 32), 0, 32);
	avi_end(b, indx);
	avi_end(b, strl);
	avi_end(b, hdrl);
	for (size_t i = 0; i < 2; i++) {
		if (i)
			avi_begin(b, "RIFF", "AVIX");
		put_movi(b, &movi);
		put_le64(b->data + rows + 16 * i, b->len);
		size_t ix = avi_begin(b, "ix00", NULL);
		avi_put_index(b, 2, 1, 2, "00dc", movi);
		buf_put_le32(b, 12);
		buf_put_le32(b, 40);
		buf_put_le32(b, 92);
		buf_put_le32(b, 33 | 1u << 31);
		avi_end(b, ix);
	}
}

void fuzz_seeds(void)
{
	struct buf b = { 0 };
	put_old(&b, false);
	fuzz_seed_buf("idx1", &b);
	put_old(&b, true);
	fuzz_seed_buf("idx1_absolute", &b);
	put_opendml(&b);
	fuzz_seed_buf("opendml", &b);
}
