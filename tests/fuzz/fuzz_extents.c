// SPDX-License-Identifier: MIT
/* Input: u8 what to do, le16 position, le16 length (both in KiB); rows of the index (rows_input.h),
 * of the inodes 1 and 2 above all. Damage may be refused anywhere, but nothing may go astray. */
#include "extents.h"
#include "rows_input.h"
#include "rows_format.h"
#include <errno.h>

static bool expected(int r)
{
	return r == 0 || r == 1 || r == -EUCLEAN || r == -EINVAL || r == -EFBIG || r == -ENXIO;
}

static void ignore(void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
}

static void check_map(struct extents *x, const struct inode_row *row, uint64_t at, uint64_t len)
{
	struct map_vec map = { 0 };
	uint64_t end = at;
	int r = extents_map(x, row, at, len, &map);
	must(expected(r));
	for (size_t i = 0; r == 0 && i < map.n; i++) {
		const struct mapped *m = &map.v[i];
		must(m->at >= end && m->piece.chunk);
		end = m->at + m->piece.length * m->piece.repeat;
		must(end > m->at && end - at <= len);
	}
	map_vec_done(&map);
}

static void look(struct extents *x, const struct inode_row *row, uint64_t at, uint64_t len)
{
	uint64_t where;
	check_map(x, row, at, len);
	check_map(x, row, 0, INT64_MAX);
	for (int data = 0; data < 2; data++)
		if (extents_seek(x, row, at, data, &where) == 0)
			must(where >= at);
}

static int change_rows(struct change *c, uint8_t what, struct inode_row *a, struct inode_row *b,
		       uint64_t at, uint64_t len)
{
	struct piece p[2] = { { .chunk = 9, .length = 1024, .repeat = (uint32_t)(len / 1024) } };
	switch (what % 5) {
	case 0:
		return extents_replace(c, a, at, len, p, len ? 1 : 0);
	case 1:
		return extents_replace(c, a, at, UINT64_MAX, NULL, 0);
	case 2:
		return extents_clone(c, a, at, b, 0, len);
	case 3:
		return extents_clone(c, a, 0, a, at, at < len ? at : len);
	default:
		return extents_free_some(c, a, 1 + what % 7);
	}
}

static void change(struct extents *x, uint8_t what, struct inode_row *a, struct inode_row *b,
		   uint64_t at, uint64_t len)
{
	struct change *c = change_new(x);
	int r = change_rows(c, what, a, b, at, len);
	must(expected(r));
	if (r < 0) {
		change_drop(c);
		return;
	}
	inode_row_put(change_batch(c), a);
	if (b->ino != a->ino)
		inode_row_put(change_batch(c), b);
	r = change_commit(c, NULL);
	must(r == 0 || r == -EUCLEAN);
	if (r == 0) { /* what was written can be read again */
		struct inode_row again;
		must(inode_row_get(extents_kv(x), a->ino, &again) == 0);
		look(x, &again, at, len);
	}
}

bool fuzz_one(struct slice in)
{
	uint8_t what = take_u8(&in);
	struct slice range = take_up_to(&in, 4);
	if (range.len < 4)
		return false;
	uint64_t at = (uint64_t)get_le16(range.at) << 10, len = (uint64_t)get_le16(range.at + 2)
								<< 10;
	struct kv *kv = input_rows(&in);
	struct extents *x;
	struct inode_row a, b;
	bool both = inode_row_get(kv, 1, &a) == 0 && inode_row_get(kv, 2, &b) == 0;
	int scanned = -EUCLEAN;
	if (extents_open(kv, &x) == 0) {
		scanned = extents_scan(x, ignore, NULL);
		must(expected(scanned));
		must(expected(extents_owners(x, 9, ignore, NULL)));
		if (both && S_ISREG(a.mode) && S_ISREG(b.mode)) {
			look(x, &a, at, len);
			look(x, &b, at, len);
			change(x, what, &a, &b, at, len);
			extents_scan(x, ignore, NULL);
		}
		extents_close(x);
	}
	fake_kv_free(kv);
	return both && scanned == 0;
}

static void make_file(struct extents *x, struct inode_row *row, unsigned pieces)
{
	static struct piece v[200];
	uint64_t len = 0;
	for (unsigned i = 0; i < pieces; i++) {
		v[i] = (struct piece){ .chunk = 5 + 2 * i, .length = 1024, .repeat = 1 };
		if (i % 10 == 7)
			v[i].chunk = 0;
		len += 1024;
	}
	*row = (struct inode_row){
		.ino = row->ino, .mode = S_IFREG | 0600, .nlink = 1, .size = len
	};
	struct change *c = change_new(x);
	must(extents_replace(c, row, 0, len, v, pieces) == 0);
	inode_row_put(change_batch(c), row);
	must(change_commit(c, NULL) == 0);
}

static void seed(const char *name, uint8_t what, unsigned pieces)
{
	struct kv *kv = fake_kv_new();
	struct buf b = { 0 };
	struct extents *x;
	struct inode_row first = { .ino = 1 }, second = { .ino = 2 };
	must(extents_open(kv, &x) == 0);
	make_file(x, &first, pieces);
	make_file(x, &second, 2);
	struct change *c = change_new(x);
	must(extents_clone(c, &first, 0, &second, 4096, 2048) == 0);
	inode_row_put(change_batch(c), &second);
	must(change_commit(c, NULL) == 0);
	buf_put_u8(&b, what);
	buf_put(&b, "\x02\0\x03\0", 4);
	input_all_rows(&b, kv);
	extents_close(x);
	fake_kv_free(kv);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("replace", 0, 3);
	seed("replace_mapped", 0, 30);
	seed("truncate", 1, 30);
	seed("clone", 2, 200);
	seed("clone_within", 3, 30);
	seed("free", 4, 30);
}
