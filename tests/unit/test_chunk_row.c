// SPDX-License-Identifier: MIT
#include "chunk_row.h"
#include "cleanup.h"
#include "damage.h"
#include "fake_kv.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void put(struct kv *kv, const struct frame_row *row)
{
	struct kv_batch *b = kv_batch_new();
	chunk_put_frame(b, row);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
}

/* Chunk ids first, first + step, ... of the same length each. */
static struct frame_row frame_of(uint64_t first, uint64_t step, uint32_t n, uint32_t length,
				 struct frame_chunk *chunks)
{
	struct frame_row row = {
		.pack = 3,
		.offset = 1ull << 33,
		.stored_len = 40000,
		.codec = 2,
		.n = n,
		.decoded_len = n * length,
		.chunks = chunks,
	};
	for (uint32_t i = 0; i < n; i++)
		chunks[i] = (struct frame_chunk){ first + i * step, length };
	return row;
}

static void check_found(struct kv *kv, uint64_t id, uint32_t offset, uint64_t first, uint32_t at,
			uint32_t left)
{
	struct frame_row row;
	uint32_t got_at, got_left;
	assert_int_equal(chunk_find(kv, id, offset, &row, &got_at, &got_left), 0);
	assert_int_equal(row.chunks[0].id, first);
	assert_int_equal(got_at, at);
	assert_int_equal(got_left, left);
	frame_row_done(&row);
}

static int find_error(struct kv *kv, uint64_t id, uint32_t offset)
{
	struct frame_row row;
	uint32_t at, left;
	return chunk_find(kv, id, offset, &row, &at, &left);
}

static void test_finding_chunks(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct frame_chunk chunks[FRAME_CHUNKS_MAX];
	uint64_t last;
	assert_int_equal(chunk_last_id(kv, &last), 0);
	assert_int_equal(last, 0);
	assert_int_equal(find_error(kv, 100, 0), -ENOENT);
	struct frame_row row = frame_of(100, 1, 4, 65536, chunks);
	put(kv, &row);
	row = frame_of(200, 3, 1024, 256, chunks);
	put(kv, &row);
	check_found(kv, 100, 0, 100, 0, 65536);
	check_found(kv, 103, 65535, 100, 4 * 65536 - 1, 1);
	check_found(kv, 203, 5, 200, 261, 251);
	check_found(kv, 200 + 1023 * 3, 0, 200, 1023 * 256, 256);
	assert_int_equal(find_error(kv, 99, 0), -ENOENT);
	assert_int_equal(find_error(kv, 104, 0), -ENOENT);
	assert_int_equal(find_error(kv, 204, 0), -ENOENT);
	assert_int_equal(find_error(kv, 1 << 20, 0), -ENOENT);
	assert_int_equal(find_error(kv, 0, 0), -ENOENT);
	assert_int_equal(find_error(kv, 103, 65536), -EUCLEAN);
	assert_int_equal(find_error(kv, 103, FRAME_DECODED_MAX), -EUCLEAN);
	assert_int_equal(find_error(kv, 103, CHUNK_LENGTH_MAX), -EUCLEAN);
	assert_int_equal(chunk_last_id(kv, &last), 0);
	assert_int_equal(last, 200 + 1023 * 3);

	struct kv_batch *b = kv_batch_new();
	chunk_delete_frame(b, 200, 0);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(find_error(kv, 200, 0), -ENOENT);
	fake_kv_free(kv);
}

static void test_a_chunk_of_several_frames(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct frame_chunk chunk;
	for (uint16_t part = 0; part < 3; part++) {
		struct frame_row row =
			frame_of(50, 1, 1, part == 2 ? 1000 : FRAME_DECODED_MAX, &chunk);
		row.part = part;
		row.offset = part;
		put(kv, &row);
	}
	check_found(kv, 50, 0, 50, 0, FRAME_DECODED_MAX);
	check_found(kv, 50, FRAME_DECODED_MAX - 1, 50, FRAME_DECODED_MAX - 1, 1);
	check_found(kv, 50, FRAME_DECODED_MAX, 50, 0, FRAME_DECODED_MAX);
	check_found(kv, 50, 2 * FRAME_DECODED_MAX + 999, 50, 999, 1);
	assert_int_equal(find_error(kv, 50, 2 * FRAME_DECODED_MAX + 1000), -EUCLEAN);
	assert_int_equal(find_error(kv, 50, 3 * FRAME_DECODED_MAX), -EUCLEAN);
	assert_int_equal(find_error(kv, 51, 0), -ENOENT);
	uint64_t last;
	assert_int_equal(chunk_last_id(kv, &last), 0);
	assert_int_equal(last, 50);
	fake_kv_free(kv);
}

static void test_frame_rows_are_short(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct frame_chunk chunks[FRAME_CHUNKS_MAX];
	struct frame_row row = frame_of(1000000, 1, 4, 65536 - 1, chunks);
	put(kv, &row);
	size_t four = fake_kv_bytes(kv, KV_CHUNK);
	row = frame_of(2000000, 1, 1024, 250, chunks);
	put(kv, &row);
	size_t many = fake_kv_bytes(kv, KV_CHUNK) - four;
	print_message("frame row with its key: %zu bytes for 4 chunks, %.2f per chunk for 1024\n",
		      four, (double)many / 1024);
	assert_true(four <= 10 + 25 && many <= 1024 * 2.1);

	/* The longest one there can be. */
	fake_kv_free(kv);
	kv = fake_kv_new();
	row = frame_of(1, 1ull << 50, 1024, 256, chunks);
	row.pack = INT64_MAX;
	row.offset = INT64_MAX - 2 * FRAME_DECODED_MAX;
	put(kv, &row);
	check_found(kv, 1 + (1023ull << 50), 255, 1, FRAME_DECODED_MAX - 1, 1);
	fake_kv_free(kv);
}

static uint8_t frame_key[10];

static void decode_frame(struct slice val)
{
	struct frame_row row;
	int r = frame_decode_row(slice_of(frame_key, sizeof frame_key), val, &row);
	assert_true(r == 0 || r == -EUCLEAN);
	if (r)
		return;
	uint64_t sum = 0, last = 0;
	assert_true(row.n >= 1 && row.n <= FRAME_CHUNKS_MAX && (row.n == 1 || row.part == 0));
	for (uint32_t i = 0; i < row.n; i++) {
		assert_true(row.chunks[i].id > last && row.chunks[i].length);
		last = row.chunks[i].id;
		sum += row.chunks[i].length;
	}
	assert_int_equal(sum, row.decoded_len);
	assert_true(sum <= FRAME_DECODED_MAX);
	struct kv_batch *b = kv_batch_new();
	chunk_put_frame(b, &row); /* its assertions hold */
	kv_batch_free(b);
	frame_row_done(&row);
}

static void test_damaged_frame_rows(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct frame_chunk chunks[8];
	struct frame_row row = frame_of(77, 2, 8, 5000, chunks);
	CLEANUP_BUF struct buf val = { 0 };
	put(kv, &row);
	put_be64(frame_key, 77);
	assert_int_equal(kv_get(kv, KV_CHUNK, frame_key, sizeof frame_key, &val), 0);
	damage_each(val.data, val.len, decode_frame);
	put_be16(frame_key + 8, 1);
	assert_int_equal(
		frame_decode_row(slice_of(frame_key, 10), slice_of(val.data, val.len), &row),
		-EUCLEAN);
	assert_int_equal(
		frame_decode_row(slice_of(frame_key, 9), slice_of(val.data, val.len), &row),
		-EUCLEAN);
	put_be16(frame_key + 8, 0);
	put_be64(frame_key, INT64_MAX - 3); /* later ids would be too large */
	assert_int_equal(
		frame_decode_row(slice_of(frame_key, 10), slice_of(val.data, val.len), &row),
		-EUCLEAN);
	fake_kv_free(kv);
}

static void decode_pack(struct slice val)
{
	static const uint8_t key[8] = { [7] = 9 };
	struct pack_row row;
	int r = pack_decode_row(slice_of(key, sizeof key), val, &row);
	assert_true(r == 0 || r == -EUCLEAN);
	assert_true(r || (row.state >= PACK_OPEN && row.state <= PACK_DOOMED));
}

static void test_packs(void **state)
{
	(void)state;
	struct kv *kv = fake_kv_new();
	struct pack_row back, row = { .id = 9,
				      .state = PACK_SEALED,
				      .tier = 2,
				      .bytes = 256 << 20,
				      .first_chunk = 12345,
				      .created = 1770000000,
				      .verified = 1770086400 };
	assert_int_equal(pack_get(kv, 9, &back), -ENOENT);
	struct kv_batch *b = kv_batch_new();
	pack_put(b, &row);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(pack_get(kv, 9, &back), 0);
	assert_memory_equal(&row.bytes, &back.bytes, sizeof row - offsetof(struct pack_row, bytes));
	assert_true(back.id == 9 && back.state == PACK_SEALED && back.tier == 2);
	CLEANUP_BUF struct buf val = { 0 };
	assert_int_equal(kv_get(kv, KV_PACK, "\0\0\0\0\0\0\0\x9", 8, &val), 0);
	damage_each(val.data, val.len, decode_pack);
	b = kv_batch_new();
	pack_delete(b, 9);
	assert_int_equal(kv_commit(kv, b, NULL), 0);
	assert_int_equal(pack_get(kv, 9, &back), -ENOENT);
	fake_kv_free(kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finding_chunks),
		cmocka_unit_test(test_a_chunk_of_several_frames),
		cmocka_unit_test(test_frame_rows_are_short),
		cmocka_unit_test(test_damaged_frame_rows),
		cmocka_unit_test(test_packs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
