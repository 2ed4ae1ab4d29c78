// SPDX-License-Identifier: MIT
/* Input: u8 flags; the file's header up to the slices; u8 number of slices that follow, each with u8
 * its place and its fields; the blocks. A filter that is adopted has room for what it says. */
#include "digests_internal.h"
#include "cleanup.h"
#include "digest.h"
#include "fuzz.h"

enum { SEAL_HEADER = 1, SEAL_BLOCKS = 2 };
#define BLOCKS_MAX 64u

static struct digests d;
static struct filter_file_header header;

static void seal(const uint8_t *blocks, size_t len, uint8_t flags)
{
	for (unsigned i = 0; flags & SEAL_BLOCKS && i < DIGEST_SLICES; i++) {
		uint64_t n = get_le64(&header.slice[i].blocks);
		if (n > len / FILTER_BLOCK_BYTES)
			break;
		put_le64(&header.slice[i].sum, checksum64(blocks, n * FILTER_BLOCK_BYTES));
		blocks += n * FILTER_BLOCK_BYTES;
		len -= n * FILTER_BLOCK_BYTES;
	}
	if (flags & SEAL_HEADER)
		put_le64(&header.sum,
			 checksum64(&header, offsetof(struct filter_file_header, sum)));
}

static void put_file(struct slice in)
{
	uint8_t flags = take_u8(&in);
	struct slice head = take_up_to(&in, offsetof(struct filter_file_header, slice));
	memset(&header, 0, sizeof header);
	if (head.len)
		memcpy(&header, head.at, head.len);
	for (unsigned n = take_u8(&in); n && in.len; n--) {
		unsigned i = take_u8(&in) % DIGEST_SLICES;
		struct slice fields = take_up_to(&in, sizeof header.slice[i]);
		memcpy(&header.slice[i], fields.at, fields.len);
	}
	struct slice blocks = take_up_to(&in, BLOCKS_MAX * FILTER_BLOCK_BYTES);
	seal(blocks.at, blocks.len, flags);
	CLEANUP_BUF struct buf file = { 0 };
	buf_put(&file, &header, sizeof header);
	buf_put(&file, blocks.at, blocks.len);
	fuzz_put_file(fuzz_dirfd(), FILTER_FILE, file.data, file.len);
}

static void prepare(void)
{
	memset(&d, 0, sizeof d);
	d.opt.index_dirfd = fuzz_dirfd();
	memcpy(d.table_id, "a table's number", sizeof d.table_id);
	for (unsigned i = 0; i < DIGEST_SLICES; i++)
		pthread_mutex_init(&d.slice[i].lock, NULL);
}

bool fuzz_one(struct slice in)
{
	unsigned there = 0;
	prepare();
	put_file(in);
	filter_file_read(&d);
	for (unsigned i = 0; i < DIGEST_SLICES; i++) {
		struct filter *f = &d.slice[i].filter;
		if (f->words) {
			must(f->blocks && f->blocks <= BLOCKS_MAX);
			for (uint64_t k = 0; k < 3; k++) {
				filter_add(f, k * (UINT64_MAX / 2), k);
				must(filter_has(f, k * (UINT64_MAX / 2), k));
			}
			there++;
		}
		filter_done(f);
		pthread_mutex_destroy(&d.slice[i].lock);
	}
	must(there == d.filter_slices_read);
	return there;
}

void fuzz_seeds(void)
{
	struct filter_file_header h = { 0 };
	struct buf b = { 0 };
	put_le64(&h.magic, FILTER_FILE_MAGIC);
	put_le32(&h.version, FILTER_FILE_VERSION);
	put_le32(&h.slices, DIGEST_SLICES);
	memcpy(h.table_id, "a table's number", sizeof h.table_id);
	buf_put_u8(&b, SEAL_HEADER | SEAL_BLOCKS);
	buf_put(&b, &h, offsetof(struct filter_file_header, slice));
	buf_put_u8(&b, 2);
	for (uint8_t i = 0; i < 2; i++) {
		struct filter_file_slice s = { 0 };
		put_le64(&s.blocks, 1 + i);
		put_le64(&s.n, 10);
		put_le64(&s.room, 20);
		buf_put_u8(&b, i * 7);
		buf_put(&b, &s, sizeof s);
	}
	memset(buf_extend(&b, 3 * FILTER_BLOCK_BYTES), 0x11, 3 * FILTER_BLOCK_BYTES);
	fuzz_seed_buf("two", &b);
}
