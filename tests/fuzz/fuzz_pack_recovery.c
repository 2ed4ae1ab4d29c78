// SPDX-License-Identifier: MIT
/* Input: u8 flags, u8 what to seal, le16 length of a pack file; the file of pack 1; rows of the index
 * (rows_input.h). Packs are opened as after a crash; opened again, they must be found as they were
 * left. */
#include "fuzz.h"
#include "cleanup.h"
#include "pack.h"
#include "pack_scan.h"
#include "packs_input.h"
#include "rows_input.h"
#include "seal.h"
#include <errno.h>

enum { READ_ONLY = 1 };

static int see_row(void *arg, const struct pack_row *row)
{
	uint64_t *n = arg;
	(void)row;
	++*n;
	return 0;
}

static int see_frame(void *arg, uint64_t offset, const struct frame_head *head)
{
	uint64_t *n = arg;
	must(offset >= sizeof(struct pack_header) && head->h.chunks);
	++*n;
	return 0;
}

/* 0 or the error of opening; how many rows and frames there are. */
static int open_once(const struct packs_options *opt, uint64_t *ret_rows, uint64_t *ret_frames)
{
	struct packs *p;
	uint64_t end;
	*ret_rows = *ret_frames = 0;
	int r = packs_open(opt, &p);
	if (r < 0) {
		must(r == -EUCLEAN);
		return r;
	}
	packs_each(p, see_row, ret_rows);
	r = pack_scan(p, 1, 0, see_frame, ret_frames, &end);
	must(r == 0 || r == -EUCLEAN || r == -ENOENT);
	must(packs_close(p) == 0);
	return 0;
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in), what = take_u8(&in);
	size_t len = take_u8(&in);
	len |= (size_t)take_u8(&in) << 8;
	struct slice given = take_up_to(&in, len);
	CLEANUP_FREE uint8_t *file = malloc(given.len + 1);
	uint64_t rows, frames, rows_again, frames_again;
	memcpy(file, given.at, given.len);
	seal_pack(file, given.len, 1, what);
	fuzz_empty_dir(fuzz_dirfd());
	if (given.len)
		fuzz_put_file(fuzz_dirfd(), "0000000000000001.pack", file, given.len);
	struct packs_options opt = {
		.dirfd = fuzz_dirfd(),
		.kv = input_rows(&in),
		.read_only = flags & READ_ONLY,
	};
	memcpy(opt.pool_uuid, INPUT_UUID, sizeof opt.pool_uuid);
	int r = open_once(&opt, &rows, &frames);
	if (r == 0) {
		must(open_once(&opt, &rows_again, &frames_again) == 0);
		must(rows == rows_again && frames == frames_again);
	}
	fake_kv_free(opt.kv);
	return r == 0 && frames;
}

static void put_rows(struct buf *b, uint8_t state, uint64_t bytes)
{
	struct kv *kv = fake_kv_new();
	struct kv_batch *batch = kv_batch_new();
	struct pack_row row = { .id = 1, .state = state, .bytes = bytes, .first_chunk = 1 };
	struct frame_chunk raw[] = { { 1, 50 }, { 2, 50 }, { 3, 50 } };
	struct frame_row frame = { .pack = 1,
				   .offset = 64,
				   .stored_len = 344,
				   .decoded_len = 150,
				   .n = 3,
				   .chunks = raw };
	pack_put(batch, &row);
	chunk_put_frame(batch, &frame);
	must(kv_commit(kv, batch, NULL) == 0);
	input_all_rows(b, kv);
	fake_kv_free(kv);
}

static void seed(const char *name, uint8_t flags, bool sealed, uint8_t state)
{
	struct buf b = { 0 };
	buf_put_u8(&b, flags);
	buf_put_u8(&b, SEAL_PACK_HEADER | SEAL_HEADS | SEAL_PAYLOADS | SEAL_FOOTER);
	buf_put(&b, "\0\0", 2);
	input_pack(&b, 1, sealed);
	size_t len = b.len - 4;
	b.data[2] = (uint8_t)len;
	b.data[3] = (uint8_t)(len >> 8);
	put_rows(&b, state, sealed ? len : 0);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("left_open", 0, false, PACK_OPEN);
	seed("read_only", READ_ONLY, false, PACK_OPEN);
	seed("sealed", 0, true, PACK_SEALED);
	seed("sealed_without_row", 0, true, PACK_OPEN);
}
