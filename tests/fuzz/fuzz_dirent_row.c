// SPDX-License-Identifier: MIT
/* Input: rows of the index (rows_input.h), of directory 1 above all. */
#include "dirent_row.h"
#include "rows_input.h"
#include "rows_format.h"
#include "xattr_row.h"
#include <dirent.h>
#include <errno.h>

static bool expected(int r)
{
	return r == 0 || r == 1 || r == -EUCLEAN || r == -ENOENT || r == -ENODATA;
}

/* How many names there are, or the first error. */
static int walk(struct kv *kv)
{
	struct dirent_iter *it = dirent_iter_new(kv, 1, 0);
	struct dirent_row row;
	uint64_t last = 0;
	int r, n = 0;
	while ((r = dirent_iter_next(it, &row)) == 1) {
		must(row.cookie > last && row.ino);
		must(strlen(row.name) == row.name_len && row.name_len && !strchr(row.name, '/'));
		struct dirent_row found;
		must(expected(dirent_get(kv, 1, row.name, &found)));
		last = row.cookie;
		n++;
	}
	must(expected(r));
	dirent_iter_free(it);
	return r < 0 ? r : n;
}

bool fuzz_one(struct slice in)
{
	struct kv *kv = input_rows(&in);
	struct buf names = { 0 }, val = { 0 };
	int n = walk(kv);
	must(expected(dirent_any(kv, 1)));
	struct kv_batch *b = kv_batch_new();
	int r = dirent_put(kv, b, 1, "a new name", 99, DT_REG);
	must(expected(r) || r == -ENOSPC);
	if (r == 0) {
		struct dirent_row row;
		must(kv_commit(kv, b, NULL) == 0);
		r = dirent_get(kv, 1, "a new name", &row);
		must(r == -EUCLEAN || (r == 0 && row.ino == 99));
	} else {
		kv_batch_free(b);
	}
	int listed = xattr_list(kv, 1, &names);
	must(expected(listed) && (listed || !names.len || !names.data[names.len - 1]));
	must(expected(xattr_get(kv, 1, "user.a", &val)));
	must(val.len <= XATTR_VALUE_MAX);
	buf_done(&names);
	buf_done(&val);
	fake_kv_free(kv);
	return n > 0 && listed == 0;
}

void fuzz_seeds(void)
{
	struct buf b = { 0 };
	struct kv *kv = fake_kv_new();
	static const char *const names[] = { "a", "film.mkv", "\xc3\xa4\xc3\xb6", "..." };
	fake_kv_set(kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), "12345678", 8);
	for (unsigned i = 0; i < 4; i++) {
		struct kv_batch *batch = kv_batch_new();
		must(dirent_put(kv, batch, 1, names[i], 16 + i, i & 1 ? DT_REG : DT_DIR) == 0);
		xattr_put(batch, 1, "user.a", names[i], strlen(names[i]));
		must(kv_commit(kv, batch, NULL) == 0);
	}
	input_all_rows(&b, kv);
	fake_kv_free(kv);
	fuzz_seed_buf("names", &b);
}
