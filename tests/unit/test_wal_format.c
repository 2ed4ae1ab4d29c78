// SPDX-License-Identifier: MIT
/* The log's bytes, pinned: a change here is a change of the on-disk format. */
#include "kv_pool.h"
#include "wal_segment.h"

static const struct wal_identity id = { "pool uuid 16 by.", "wal id, 16 byte." };

static void assert_hex(const void *data, size_t len, const char *want)
{
	char got[512] = "";
	for (size_t i = 0; i < len; i++)
		snprintf(got + 2 * i, 3, "%02x", ((const uint8_t *)data)[i]);
	assert_string_equal(got, want);
}

static void a_frame_is_these_bytes(void **state)
{
	(void)state;
	uint8_t frame[64] = { 0 };
	struct wal_frame f = { .lsn = 0x1122334455667788, .durable_lsn = 5, .raw_len = 5 }, back;
	uint64_t seed = wal_segment_seed(&id, 3);
	size_t size = wal_frame_size(5);
	assert_int_equal(size, 48);
	memcpy(frame + 40, "hello", 5);
	f.stored = slice_of(frame + 40, 5);
	wal_frame_seal(frame, &f, seed);
	assert_hex(frame, size,
		   "9d465fcd05000000050000000000000088776655443322110500000000000000"
		   "9e25e96bf30f42a868656c6c6f000000");
	assert_true(wal_frame_parse(frame, size, seed, &back));
	assert_int_equal(back.lsn, f.lsn);
	assert_int_equal(back.durable_lsn, 5);
	assert_int_equal(back.size, size);
	assert_false(wal_frame_parse(frame, size - 1, seed, &back));
	assert_false(wal_frame_parse(frame, size, wal_segment_seed(&id, 4), &back));
	for (size_t bit = 0; bit < 45 * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(wal_frame_parse(frame, size, seed, &back));
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void a_header_is_these_bytes(void **state)
{
	(void)state;
	struct pool p;
	struct wal_segment *s;
	struct wal_segment_header h;
	uint8_t raw[sizeof h];
	pool_make(&p);
	assert_int_equal(wal_segment_create(p.wal_fd, 0xab, 65536, &s), 0);
	s->prev_seq = 7;
	s->first_lsn = 1000;
	assert_int_equal(io_read_exact(s->fd, raw, sizeof raw, 0), 0);
	assert_int_equal(wal_header_parse(raw, sizeof raw, 0xab, &h), WAL_HEADER_BLANK);
	assert_int_equal(wal_segment_begin(s, &id), 0);
	assert_int_equal(io_read_exact(s->fd, raw, sizeof raw, 0), 0);
	assert_hex(raw, sizeof raw,
		   "464c444c4f4731000200000010000000706f6f6c20757569642031362062792e"
		   "77616c2069642c20313620627974652eab000000000000000700000000000000"
		   "e80300000000000057a6a8141be88da7");
	assert_int_equal(wal_header_parse(raw, sizeof raw, 0xab, &h), WAL_HEADER_VALID);
	assert_int_equal(h.blocks, 16);
	assert_int_equal(h.prev_seq, 7);
	assert_int_equal(h.first_lsn, 1000);
	assert_int_equal(wal_header_parse(raw, sizeof raw, 0xac, &h), WAL_HEADER_INVALID);
	assert_int_equal(wal_header_parse(raw, sizeof raw - 1, 0xab, &h), WAL_HEADER_INVALID);
	assert_int_equal(faccessat(p.wal_fd, "wal-00000000000000ab", F_OK, 0), 0);
	assert_int_equal(wal_segment_remove(p.wal_fd, s), 0);
	pool_remove(&p);
}

static void only_exact_names_are_segments(void **state)
{
	(void)state;
	uint64_t seq;
	assert_true(wal_segment_parse_name("wal-00000000000000ff", &seq));
	assert_int_equal(seq, 255);
	assert_false(wal_segment_parse_name("wal-00000000000000FF", &seq));
	assert_false(wal_segment_parse_name("wal-ff", &seq));
	assert_false(wal_segment_parse_name("wal-00000000000000ff.tmp", &seq));
	assert_false(wal_segment_parse_name("lost+found", &seq));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_is_these_bytes),
		cmocka_unit_test(a_header_is_these_bytes),
		cmocka_unit_test(only_exact_names_are_segments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
