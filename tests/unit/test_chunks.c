// SPDX-License-Identifier: MIT
/* Reading by map: holes, repeats, pieces in any order, chunks longer than a frame, from the packs, the
 * cache and both; damage gives -EIO and touches nothing else; a pack that gc removed is no damage.
 */
#include "chunk_fetch.h"
#include "chunk_pool.h"
#include "log.h"

/* A file's expected bytes, made alongside its map. */
struct file {
	struct map_vec map;
	uint8_t *bytes;
	uint64_t size;
};

static void file_make(struct file *f, uint64_t size)
{
	*f = (struct file){ .size = size, .bytes = calloc(1, size) };
}

static void file_done(struct file *f)
{
	free(f->bytes);
	map_vec_done(&f->map);
}

static void file_add(struct chunk_pool *cp, struct file *f, uint64_t at, struct piece piece)
{
	if (f->map.n == f->map.cap) {
		f->map.cap = f->map.cap ? 2 * f->map.cap : 16;
		f->map.v = realloc(f->map.v, f->map.cap * sizeof *f->map.v);
	}
	f->map.v[f->map.n++] = (struct mapped){ at, piece };
	if (!piece.chunk)
		return;
	uint8_t *chunk = malloc(cp->len[piece.chunk]);
	chunk_pool_bytes(piece.chunk, chunk, cp->len[piece.chunk]);
	for (uint32_t i = 0; i < piece.repeat; i++)
		memcpy(f->bytes + at + i * piece.length, chunk + piece.offset, piece.length);
	free(chunk);
}

static void assert_reads(struct chunk_pool *cp, const struct file *f, uint64_t at, uint64_t len)
{
	uint8_t *out = malloc(len + 1); /* exact, for ASan, and never dirty by chance */
	memset(out, 0xa5, len);
	assert_int_equal(chunks_read_map(cp->chunks, &f->map, at, len, out), 0);
	assert_memory_equal(out, f->bytes + at, len);
	free(out);
}

/* Small frames of many chunks, single ones, raw and compressed: ids 1..120. */
static void store_some(struct chunk_pool *cp)
{
	uint64_t id = 1;
	for (unsigned i = 0; i < 10; i++, id += 8)
		assert_int_equal(chunk_pool_add_frame(cp, id, 8, 5000 + 700 * i, i % 2 ? 3 : 0), 0);
	for (; id <= 120; id++)
		assert_int_equal(chunk_pool_add(cp, id, (uint32_t)(id * 2179 % 262144 + 1), 3), 0);
}

static void every_piece_any_order(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	chunk_pool_open(&cp, 4 << 20);
	store_some(&cp);
	chunk_pool_check_all(&cp, 120);
	for (int order = 0; order < 3; order++) {
		uint64_t at = 0;
		file_make(&f, 16 << 20);
		for (unsigned i = 0; i < 120; i++) {
			uint64_t id = 1 + (order == 0 ? i : order == 1 ? 119 - i : i * 77 % 120);
			uint32_t cut = order == 2 ? cp.len[id] / 3 : 0;
			uint64_t n = cp.len[id] - cut;
			if (i % 10 == 3)
				at += 4096; /* a hole */
			file_add(&cp, &f, at, (struct piece){ id, n, cut, 1 });
			at += n;
		}
		assert_true(at < f.size);
		assert_reads(&cp, &f, 0, f.size);
		for (uint64_t pos = 0, len = 1; pos + len <= f.size;
		     pos += len * 5 / 2 + 1, len = len * 7 / 3 % 1300000 + 1)
			assert_reads(&cp, &f, pos, len);
		file_done(&f);
	}
	chunk_pool_close(&cp);
}

static void holes_repeats_and_zeros(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	chunk_pool_open(&cp, 0);
	store_some(&cp);
	file_make(&f, 2 << 20);
	file_add(&cp, &f, 1000, (struct piece){ 3, 100, 7, 500 });
	file_add(&cp, &f, 60000, (struct piece){ 0, 30000, 0, 1 });
	file_add(&cp, &f, 90000, (struct piece){ 4, 1, 0, 70000 });
	file_add(&cp, &f, 160000, (struct piece){ 9, 5000, 700, 40 });
	for (unsigned i = 0; i < 100; i++) /* more repeats than one batch takes */
		file_add(&cp, &f, 400000 + 3000 * i, (struct piece){ 10 + i % 7, 1000, i, 3 });
	assert_reads(&cp, &f, 0, f.size);
	for (uint64_t pos = 0; pos < 800000; pos += 997)
		assert_reads(&cp, &f, pos, pos % 4001 + 1);
	assert_reads(&cp, &f, f.size - 10, 10);
	struct map_vec none = { 0 };
	uint8_t out[10] = { 1 }, zeros[10] = { 0 };
	assert_int_equal(chunks_read_map(cp.chunks, &none, 77, 10, out), 0);
	assert_memory_equal(out, zeros, 10);
	file_done(&f);
	chunk_pool_close(&cp);
}

static void add_long(struct chunk_pool *cp, uint64_t id, uint32_t len, int level)
{
	struct frame_builder *fb;
	struct digest d = { { 5 } };
	struct frame_chunk chunk;
	struct frame_row row;
	uint8_t *data = malloc(len);
	chunk_pool_bytes(id, data, len);
	cp->len[id] = len;
	assert_int_equal(frame_builder_new(&fb), 0);
	for (uint32_t at = 0; at < len; at += FRAME_DECODED_MAX) {
		uint32_t n = len - at < FRAME_DECODED_MAX ? len - at : FRAME_DECODED_MAX;
		frame_builder_reset(fb);
		fb->part = (uint16_t)(at / FRAME_DECODED_MAX);
		fb->chunk_len = len;
		frame_add(fb, id, &d, data + at, n);
		assert_int_equal(frame_seal(fb, level), 0);
		struct kv_batch *b = kv_batch_new();
		assert_int_equal(pack_append(cp->packs, PACK_STREAM_NEW, fb, b, &chunk, &row), 0);
		chunk_put_frame(b, &row);
		assert_int_equal(kv_commit(cp->kv, b, NULL), 0);
	}
	frame_builder_free(fb);
	free(data);
}

static void chunks_longer_than_a_frame(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	const uint32_t lengths[] = { FRAME_DECODED_MAX + 1, 2 * FRAME_DECODED_MAX, 3000000 };
	chunk_pool_open(&cp, 0);
	for (unsigned i = 0; i < 6; i++)
		add_long(&cp, 1 + i, lengths[i / 2], i % 2 ? 3 : 0);
	chunk_pool_check_all(&cp, 6);
	uint8_t *out = malloc(3000002);
	for (unsigned id = 1; id <= 6; id++) {
		assert_int_equal(chunk_read(cp.chunks, id, out, cp.len[id] - 1), -EUCLEAN);
		assert_int_equal(chunk_read(cp.chunks, id, out, cp.len[id] + 1), -EUCLEAN);
		assert_int_equal(chunk_read(cp.chunks, id, out, FRAME_DECODED_MAX), -EUCLEAN);
	}
	assert_int_equal(chunk_read(cp.chunks, 7, out, 1), -ENOENT);
	free(out);
	file_make(&f, 20 << 20);
	uint64_t at = 0;
	for (unsigned id = 1; id <= 6; id++) {
		file_add(&cp, &f, at, (struct piece){ id, cp.len[id] - id, id, 1 });
		at += cp.len[id] - id;
	}
	file_add(&cp, &f, at, (struct piece){ 5, 2900000, 50000, 3 });
	assert_reads(&cp, &f, 0, f.size);
	for (uint64_t pos = 0; pos < f.size - 700000; pos += 333331)
		assert_reads(&cp, &f, pos, 600000);
	file_done(&f);
	chunk_pool_close(&cp);
}

/* Any byte of a pack changed: each chunk reads right or not at all, and few are lost. */
static void damage_stays_where_it_is(void **state)
{
	(void)state;
	struct chunk_pool cp;
	chunk_pool_open(&cp, 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(chunk_pool_add_frame(&cp, 1 + 3 * i, 3, 9000, i % 2 ? 3 : 0), 0);
	log_set_level(0);
	int fd = chunk_pool_pack_fd(&cp, 1);
	uint64_t size = cp.last.offset + cp.last.stored_len;
	uint8_t got[9000], want[9000];
	for (uint64_t at = 64; at < size; at += 37) {
		uint8_t old, bad;
		unsigned lost = 0;
		assert_int_equal(pread(fd, &old, 1, (off_t)at), 1);
		bad = old ^ (uint8_t)(1 << at % 8);
		assert_int_equal(pwrite(fd, &bad, 1, (off_t)at), 1);
		struct cache_options copt = { .dirfd = -1 }; /* an empty one */
		struct cache *cache;
		struct chunks *chunks;
		copt.ring_bytes = 1 << 20;
		assert_int_equal(cache_open(&copt, &cache), 0);
		assert_int_equal(chunks_open(cp.kv, cp.packs, cache, &chunks), 0);
		for (unsigned id = 1; id <= 18; id++) {
			int r = chunk_read(chunks, id, got, sizeof got);
			assert_true(r == 0 || r == -EIO);
			chunk_pool_bytes(id, want, sizeof want);
			if (r == 0)
				assert_memory_equal(got, want, sizeof want);
			lost += r < 0;
		}
		assert_true(lost <= 3);
		chunks_close(chunks);
		cache_close(cache);
		assert_int_equal(pwrite(fd, &old, 1, (off_t)at), 1);
	}
	close(fd);
	log_set_level(LOG_LEVEL_INFO);
	chunk_pool_check_all(&cp, 18);
	chunk_pool_close(&cp);
}

static void read_errors_are_reported(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	struct chunk_entry *entries;
	uint32_t n;
	chunk_pool_open(&cp, 0);
	store_some(&cp);
	file_make(&f, 100000);
	file_add(&cp, &f, 0, (struct piece){ 1, 5000, 0, 1 });
	file_add(&cp, &f, 50000, (struct piece){ 11, 5000, 0, 1 });
	uint8_t *out = malloc(f.size);
	for (int i = 1; i <= 2; i++) {
		fault_arm("pack_read:1=EIO");
		assert_int_equal(i == 1 ? chunks_read_map(cp.chunks, &f.map, 0, f.size, out)
					: chunks_frame_digests(cp.chunks, 1, &entries, &n),
				 -EIO);
		fault_arm(NULL);
	}
	assert_reads(&cp, &f, 0, f.size); /* nothing wrong was kept */
	free(out);
	file_done(&f);
	chunk_pool_close(&cp);
}

static void digests_of_a_frame(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct chunk_entry *entries;
	uint32_t n;
	chunk_pool_open(&cp, 0);
	store_some(&cp);
	for (uint64_t id = 1; id <= 120; id += 7) {
		assert_int_equal(chunks_frame_digests(cp.chunks, id, &entries, &n), 0);
		assert_int_equal(n, id <= 80 ? 8 : 1);
		unsigned found = 0;
		for (uint32_t i = 0; i < n; i++) {
			struct digest d;
			uint8_t *data = malloc(entries[i].length);
			chunk_pool_bytes(entries[i].id, data, entries[i].length);
			digest_of(data, entries[i].length, &d);
			assert_true(digest_equal(&d, &entries[i].digest));
			found += entries[i].id == id;
			free(data);
		}
		assert_int_equal(found, 1);
		free(entries);
	}
	assert_int_equal(chunks_frame_digests(cp.chunks, 500, &entries, &n), -ENOENT);
	chunk_pool_close(&cp);
}

static void trying_never_waits(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	chunk_pool_open(&cp, 0);
	store_some(&cp);
	file_make(&f, 300000);
	file_add(&cp, &f, 0, (struct piece){ 1, 5000, 0, 1 });
	file_add(&cp, &f, 5000, (struct piece){ 10, 5700, 0, 1 });
	uint8_t *out = malloc(f.size);
	/* it may say no (a filesystem that can't tell), but what it says is right */
	for (int i = 0; i < 3; i++) {
		int r = chunks_try_read_map(cp.chunks, &f.map, 0, f.size, out);
		assert_true(r == 0 || r == 1);
		if (r)
			assert_memory_equal(out, f.bytes, f.size);
	}
	/* what is cached needs nobody */
	uint8_t *part = malloc(5700);
	assert_int_equal(chunks_read_map(cp.chunks, &f.map, 5000, 5700, part), 0);
	assert_int_equal(chunks_try_read_map(cp.chunks, &f.map, 5000, 5700, part), 1);
	assert_memory_equal(part, f.bytes + 5000, 5700);
	free(part);
	free(out);
	file_done(&f);
	chunk_pool_close(&cp);
}

static bool is_cached(struct chunk_pool *cp, uint64_t id)
{
	struct frame_row row;
	uint32_t at, left;
	assert_int_equal(chunk_find(cp->kv, id, 0, &row, &at, &left), 0);
	struct cache_key key = { row.pack, row.offset };
	frame_row_done(&row);
	return cache_has(cp->cache, key);
}

static void reading_ahead(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	struct cache_stats before, after;
	chunk_pool_open(&cp, 0);
	store_some(&cp);
	file_make(&f, 300000);
	file_add(&cp, &f, 0, (struct piece){ 1, 5000, 0, 1 });
	file_add(&cp, &f, 5000, (struct piece){ 10, 5700, 0, 1 });
	file_add(&cp, &f, 20000, (struct piece){ 26, 5700, 0, 3 });
	chunks_prefetch(cp.chunks, &f.map);
	for (int i = 0; i < 5000 && !(is_cached(&cp, 10) && is_cached(&cp, 26)); i++)
		usleep(1000);
	cache_get_stats(cp.cache, &before);
	assert_reads(&cp, &f, 0, f.size);
	cache_get_stats(cp.cache, &after);
	assert_int_equal(after.misses, before.misses);
	assert_true(after.hits >= before.hits + 2);
	for (int i = 0; i < 100; i++) /* and may be closed while it runs */
		chunks_prefetch(cp.chunks, &f.map);
	file_done(&f);
	chunk_pool_close(&cp);
}

struct mover {
	struct chunk_pool *cp;
	_Atomic bool stop;
	_Atomic unsigned moves;
};

/* What gc does: the frame is appended again elsewhere, the row follows, the old pack goes. */
static void *move_chunks(void *arg)
{
	struct mover *m = arg;
	struct chunk_pool *cp = m->cp;
	while (!m->stop && m->moves < 60) {
		struct frame_row old;
		uint32_t at, left;
		uint64_t id = 1 + m->moves % 6;
		assert_int_equal(chunk_find(cp->kv, id, 0, &old, &at, &left), 0);
		assert_int_equal(chunk_pool_add(cp, id, cp->len[id], id % 2 ? 0 : 3), 0);
		struct kv_batch *b = kv_batch_new();
		if (pack_doom(cp->packs, b, old.pack) == 0) {
			uint64_t lsn;
			cache_forget_pack(cp->cache, old.pack);
			assert_int_equal(kv_commit(cp->kv, b, &lsn), 0);
			assert_int_equal(kv_sync(cp->kv, lsn), 0);
		} else {
			kv_batch_free(b);
		}
		frame_row_done(&old);
		m->moves++;
	}
	return NULL;
}

static void packs_go_while_reading(void **state)
{
	(void)state;
	struct chunk_pool cp;
	pthread_t t;
	chunk_pool_open(&cp, 4096); /* a pack each */
	for (unsigned id = 1; id <= 6; id++)
		assert_int_equal(chunk_pool_add(&cp, id, 30000, id % 2 ? 0 : 3), 0);
	struct mover m = { .cp = &cp };
	struct file f;
	file_make(&f, 180000);
	for (unsigned id = 1; id <= 6; id++)
		file_add(&cp, &f, 30000 * (id - 1), (struct piece){ id, 30000, 0, 1 });
	assert_int_equal(pthread_create(&t, NULL, move_chunks, &m), 0);
	for (int i = 0; i < 300 || !m.moves; i++)
		assert_reads(&cp, &f, 0, f.size);
	m.stop = true;
	pthread_join(t, NULL);
	assert_reads(&cp, &f, 0, f.size);
	file_done(&f);
	chunk_pool_close(&cp);
}

struct reader {
	struct chunk_pool *cp;
	const struct file *f;
	unsigned seed;
};

static void *read_at_random(void *arg)
{
	struct reader *rd = arg;
	uint64_t x = rd->seed * 77773u + 1;
	for (int i = 0; i < 100; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t len = (x >> 40) % 200000 + 1, at = (x >> 20) % (rd->f->size - len);
		if (i % 10 == 0)
			chunks_prefetch(rd->cp->chunks, &rd->f->map);
		assert_reads(rd->cp, rd->f, i % 3 ? at : 65536u * (unsigned)i, len);
	}
	return NULL;
}

static void many_readers_with_a_small_cache(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct file f;
	pthread_t t[4];
	struct reader rd[4];
	chunk_pool_open(&cp, 1 << 20);
	chunk_pool_stop(&cp);
	cp.ring_bytes = 1 << 20;
	cp.region_bytes = 4 << 20;
	chunk_pool_recover(&cp);
	store_some(&cp);
	file_make(&f, 10 << 20);
	uint64_t at = 0;
	for (unsigned id = 1; id <= 120 && at + 262144 < f.size; id++) {
		file_add(&cp, &f, at, (struct piece){ id, cp.len[id], 0, 1 });
		at += cp.len[id];
	}
	for (unsigned i = 0; i < 4; i++) {
		rd[i] = (struct reader){ &cp, &f, i };
		assert_int_equal(pthread_create(&t[i], NULL, read_at_random, &rd[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	struct cache_stats s;
	cache_get_stats(cp.cache, &s);
	assert_true(s.hits > 0);
	chunk_pool_reopen(&cp);
	assert_reads(&cp, &f, 0, f.size);
	file_done(&f);
	chunk_pool_close(&cp);
}

/* A reader has looked a chunk up; then gc moves it and gives its old place back. */
static void a_place_goes_while_reading(void **state)
{
	(void)state;
	struct chunk_pool cp;
	struct loading loading;
	const struct fetch_damage nobody = { 0 };
	uint8_t got[50000], want[50000];
	uint64_t bytes;
	chunk_pool_open(&cp, 1 << 20);
	loading_init(&loading);
	for (unsigned id = 1; id <= 2; id++) {
		assert_int_equal(chunk_pool_add(&cp, id, sizeof got, id % 2 ? 0 : 3), 0);
		uint64_t pack = cp.last.pack;
		struct fetch *f = fetch_new(cp.kv, cp.packs, cp.cache, &loading, &nobody);
		fetch_begin(f, FETCH_READ);
		assert_int_equal(fetch_add(f, id, 0, sizeof got, got), 0);
		assert_int_equal(packs_retire(cp.packs), 0);
		assert_int_equal(chunk_pool_add(&cp, id, sizeof got, 3), 0);
		assert_int_not_equal(cp.last.pack, pack);
		assert_int_equal(kv_sync(cp.kv, UINT64_MAX), 0);
		assert_int_equal(pack_trim(cp.packs, pack, NULL, 0, &bytes), 0);
		assert_true(bytes > 0);
		assert_int_equal(fetch_run(f), -ESTALE);
		fetch_end(f);
		assert_int_equal(chunk_read(cp.chunks, id, got, sizeof got), 0);
		chunk_pool_bytes(id, want, sizeof want);
		assert_memory_equal(got, want, sizeof want);
		fetch_free(f);
	}
	loading_done(&loading);
	chunk_pool_close(&cp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_piece_any_order),
		cmocka_unit_test(holes_repeats_and_zeros),
		cmocka_unit_test(chunks_longer_than_a_frame),
		cmocka_unit_test(damage_stays_where_it_is),
		cmocka_unit_test(read_errors_are_reported),
		cmocka_unit_test(digests_of_a_frame),
		cmocka_unit_test(trying_never_waits),
		cmocka_unit_test(reading_ahead),
		cmocka_unit_test(packs_go_while_reading),
		cmocka_unit_test(a_place_goes_while_reading),
		cmocka_unit_test(many_readers_with_a_small_cache),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
