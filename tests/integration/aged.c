// SPDX-License-Identifier: MIT
/* aged POOL/index NUMBER: makes a pool that was unmounted cleanly look as if it had been used for
 * years: every sequence of ids, the chunks' and the log's own go on from NUMBER. */
#include "lmdb_base.h"
#include "rows_format.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const numbers[] = { META_IDS_PREFIX "next_inode", META_IDS_PREFIX "next_staging",
				       META_IDS_PREFIX "segment", META_IDS_PREFIX "pack",
				       "next_chunk" };

static int age(struct lmdb_base *base, uint64_t number)
{
	struct base_state state;
	struct lmdb_write *w;
	uint8_t val[8];
	put_le64(val, number);
	int r = lmdb_base_get_state(base, &state);
	if (r == 0 && !state.clean)
		r = -EBUSY;
	if (r == 0)
		r = lmdb_write_begin(base, &w);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < sizeof numbers / sizeof *numbers; i++)
		r = lmdb_write_put(w, KV_META, slice_of(numbers[i], strlen(numbers[i])),
				   slice_of(val, sizeof val));
	state.checkpoint_lsn = number;
	if (r == 0)
		r = lmdb_write_state(w, &state);
	if (r == 0)
		return lmdb_write_commit(w);
	lmdb_write_abort(w);
	return r;
}

int main(int argc, char **argv)
{
	struct lmdb_base *base = NULL;
	uint64_t number = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;
	int r = number ? lmdb_base_open(argv[1], false, &base) : -EINVAL;
	if (r == 0)
		r = age(base, number);
	lmdb_base_close(base);
	if (r < 0)
		fprintf(stderr, "aged: %s\n", strerror(-r));
	return r < 0;
}
