// SPDX-License-Identifier: MIT
/* Frames: what goes in comes out, whatever its size and codec; a frame in the wrong place, or with
 * any byte changed, gives an error or the very same bytes, never others.
 */
#include "frame.h"
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define PACK 7u
#define OFFSET 4096u

static void fill(uint8_t *to, size_t len, unsigned seed, bool compressible)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		to[i] = compressible ? (uint8_t)('a' + x % 3) : (uint8_t)(x >> 32);
	}
}

static struct frame_builder *build(const uint8_t *data, const uint32_t *lengths, uint32_t n,
				   int level)
{
	struct frame_builder *fb;
	assert_int_equal(frame_builder_new(&fb), 0);
	for (uint32_t i = 0, at = 0; i < n; at += lengths[i++]) {
		struct digest d;
		digest_of(data + at, lengths[i], &d);
		assert_true(frame_fits(fb, lengths[i]));
		frame_add(fb, 100 + 3 * i, &d, data + at, lengths[i]);
	}
	assert_int_equal(frame_seal(fb, level), 0);
	return fb;
}

static void place(struct frame_builder *fb, struct frame_row *row)
{
	struct frame_chunk *chunks = calloc(fb->n, sizeof *chunks);
	frame_place(fb, PACK, OFFSET, chunks, row);
}

static int decode(const uint8_t *stored, size_t len, uint64_t pack, uint64_t offset, uint8_t *out,
		  uint32_t *ret_len)
{
	struct frame_head head;
	size_t need;
	int r = frame_parse_head(stored, len, pack, offset, &head, &need);
	if (r == -EAGAIN || (r == 0 && head.stored_len > len)) /* there is no more */
		return -EUCLEAN;
	if (r < 0)
		return r;
	*ret_len = head.h.decoded_len;
	r = frame_decode(&head, stored, out);
	assert_int_equal(frame_check_sums(&head, stored), r); /* sums alone say the same */
	return r;
}

static void test_round_trips(void **state)
{
	(void)state;
	uint8_t *data = malloc(FRAME_DECODED_MAX), *out = malloc(FRAME_DECODED_MAX);
	for (uint32_t len = 1; len <= FRAME_DECODED_MAX;
	     len = len < 70 ? len + 1 : len * 7 / 5 | (len & 1)) {
		for (int kind = 0; kind < 3; kind++) {
			fill(data, len, len, kind == 1);
			struct frame_builder *fb = build(data, &len, 1, kind ? 3 : 0);
			struct frame_row row;
			uint32_t got;
			place(fb, &row);
			assert_int_equal(row.stored_len % FRAME_ALIGN, 0);
			assert_int_equal(
				decode(fb->stored.data, fb->stored.len, PACK, OFFSET, out, &got),
				0);
			assert_int_equal(got, len);
			assert_memory_equal(out, data, len);
			free(row.chunks);
			frame_builder_free(fb);
		}
	}
	free(data);
	free(out);
}

static void test_many_chunks_and_the_row(void **state)
{
	(void)state;
	uint8_t *data = malloc(FRAME_DECODED_MAX);
	uint32_t lengths[FRAME_CHUNKS_MAX];
	for (uint32_t i = 0; i < FRAME_CHUNKS_MAX; i++)
		lengths[i] = 1 + i % 200;
	fill(data, FRAME_DECODED_MAX, 5, true);
	struct frame_builder *fb = build(data, lengths, FRAME_CHUNKS_MAX, 3);
	assert_false(frame_fits(fb, 1));
	struct frame_row row;
	place(fb, &row);
	assert_int_equal(row.n, FRAME_CHUNKS_MAX);
	assert_int_equal(row.pack, PACK);
	assert_int_equal(row.offset, OFFSET);
	assert_int_equal(row.stored_len, fb->stored.len);
	assert_int_equal(row.chunks[3].id, 109);
	assert_int_equal(row.chunks[3].length, 4);

	/* a head is asked for piece by piece */
	struct frame_head head;
	size_t need;
	assert_int_equal(frame_parse_head(fb->stored.data, 10, PACK, OFFSET, &head, &need),
			 -EAGAIN);
	assert_int_equal(need, sizeof(struct frame_header));
	assert_int_equal(frame_parse_head(fb->stored.data, need, PACK, OFFSET, &head, &need),
			 -EAGAIN);
	assert_int_equal(frame_parse_head(fb->stored.data, need, PACK, OFFSET, &head, &need), 0);
	assert_int_equal(head.stored_len, row.stored_len);
	assert_int_equal(head.entries[3].id, 109);
	free(row.chunks);
	frame_builder_free(fb);
	free(data);
}

static void test_bound_to_its_place(void **state)
{
	(void)state;
	uint8_t data[5000], out[5000];
	uint32_t len = sizeof data, got;
	fill(data, len, 1, false);
	struct frame_builder *fb = build(data, &len, 1, 0);
	struct frame_row row;
	place(fb, &row);
	const uint8_t *s = fb->stored.data;
	assert_int_equal(decode(s, fb->stored.len, PACK + 1, OFFSET, out, &got), -EUCLEAN);
	assert_int_equal(decode(s, fb->stored.len, PACK, OFFSET + 8, out, &got), -EUCLEAN);
	assert_int_equal(decode(s, fb->stored.len, OFFSET, PACK, out, &got), -EUCLEAN);
	assert_int_equal(decode(s, fb->stored.len, PACK, OFFSET, out, &got), 0);

	/* a raw block proves which chunk and which position it belongs to */
	const uint8_t *payload = s + sizeof(struct frame_header) + sizeof(struct chunk_entry);
	struct frame_name right = { 100, 0 }, wrong_id = { 101, 0 }, wrong_part = { 100, 1 };
	assert_int_equal(frame_raw_copy(right, len, payload, 10, 20, out), 0);
	assert_memory_equal(out, data + 10, 20);
	assert_int_equal(frame_raw_copy(wrong_id, len, payload, 10, 20, out), -EUCLEAN);
	assert_int_equal(frame_raw_copy(wrong_part, len, payload, 10, 20, out), -EUCLEAN);
	assert_int_equal(frame_raw_copy(right, len, payload, RAW_BLOCK, 20, out), -EUCLEAN);
	free(row.chunks);
	frame_builder_free(fb);
}

static void test_raw_ranges(void **state)
{
	(void)state;
	uint32_t len = 5 * RAW_BLOCK + 77;
	uint8_t *data = malloc(len), *out = malloc(len);
	fill(data, len, 9, false);
	struct frame_builder *fb = build(data, &len, 1, 0);
	struct frame_row row;
	place(fb, &row);
	const uint8_t *payload =
		fb->stored.data + sizeof(struct frame_header) + sizeof(struct chunk_entry);
	struct frame_name name = { 100, 0 };
	for (uint32_t at = 0; at < len; at += 61)
		for (uint32_t n = 1; n <= len - at; n = n * 3 + 1) {
			uint32_t from, stored;
			frame_raw_range(len, at, n, &from, &stored);
			uint8_t *range =
				malloc(stored); /* exact, so that ASan sees a step beyond */
			memcpy(range, payload + from, stored);
			assert_int_equal(frame_raw_copy(name, len, range, at, n, out), 0);
			assert_memory_equal(out, data + at, n);
			free(range);
		}
	free(data);
	free(out);
	free(row.chunks);
	frame_builder_free(fb);
}

/* Every byte, several ways: an error, or exactly the same bytes. */
static void corrupt_everything(int level, uint32_t n_chunks)
{
	uint8_t data[3000], out[FRAME_DECODED_MAX];
	uint32_t lengths[3] = { 1000, 1500, 500 }, got;
	if (n_chunks == 1)
		lengths[0] = sizeof data;
	fill(data, sizeof data, 3, level > 0);
	struct frame_builder *fb = build(data, lengths, n_chunks, level);
	assert_int_equal(fb->codec, level ? CODEC_ZSTD : CODEC_RAW);
	struct frame_row row;
	place(fb, &row);
	uint8_t *s = fb->stored.data;
	unsigned harmless = 0;
	for (size_t i = 0; i < fb->stored.len; i++)
		for (int how = 0; how < 10; how++) {
			uint8_t old = s[i];
			s[i] = how < 8 ? (uint8_t)(old ^ 1 << how) : how == 8 ? 0 : 0xff;
			int r = decode(s, fb->stored.len, PACK, OFFSET, out, &got);
			if (r == 0) {
				assert_int_equal(got, sizeof data);
				assert_memory_equal(out, data, sizeof data);
				harmless += s[i] != old;
			} else {
				assert_int_equal(r, -EUCLEAN);
			}
			s[i] = old;
		}
	assert_true(harmless <= 10 * (FRAME_ALIGN - 1)); /* the padding */
	/* and cut anywhere */
	for (size_t len = 0; len < fb->stored.len; len++) {
		uint8_t *cut = malloc(len ? len : 1);
		memcpy(cut, s, len);
		assert_true(decode(cut, len, PACK, OFFSET, out, &got) < 0);
		free(cut);
	}
	free(row.chunks);
	frame_builder_free(fb);
}

static void test_corrupt_raw(void **state)
{
	(void)state;
	corrupt_everything(0, 1);
	corrupt_everything(0, 3);
}

static void test_corrupt_zstd(void **state)
{
	(void)state;
	corrupt_everything(3, 1);
	corrupt_everything(3, 3);
}

static void test_parts_of_a_long_chunk(void **state)
{
	(void)state;
	uint8_t *data = malloc(FRAME_DECODED_MAX), *out = malloc(FRAME_DECODED_MAX);
	fill(data, FRAME_DECODED_MAX, 4, false);
	struct digest d = { { 1 } };
	struct frame_builder *fb;
	struct frame_row row;
	uint32_t got, whole = 2 * FRAME_DECODED_MAX + 10;
	assert_int_equal(frame_builder_new(&fb), 0);
	for (uint16_t part = 0; part < 4; part++) {
		frame_builder_reset(fb);
		fb->part = part;
		fb->chunk_len = whole;
		frame_add(fb, 5, &d, data, part < 2 ? FRAME_DECODED_MAX : 10);
		assert_int_equal(frame_seal(fb, 3), 0);
		place(fb, &row);
		assert_int_equal(row.part, part);
		int r = decode(fb->stored.data, fb->stored.len, PACK, OFFSET, out, &got);
		assert_int_equal(r, part < 3 ? 0 : -EUCLEAN); /* there is no part 3 */
		free(row.chunks);
	}
	frame_builder_free(fb);
	free(data);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_many_chunks_and_the_row),
		cmocka_unit_test(test_bound_to_its_place),
		cmocka_unit_test(test_raw_ranges),
		cmocka_unit_test(test_corrupt_raw),
		cmocka_unit_test(test_corrupt_zstd),
		cmocka_unit_test(test_parts_of_a_long_chunk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
