// SPDX-License-Identifier: MIT
/* Iteration: each refill enters, seeks the next key in the layers and in LMDB, merges a bounded
 * number of rows into the iterator's own buffer and leaves. The next refill starts after the last
 * key looked at, in whatever layers there are then; so freezes and checkpoints between refills do
 * not matter, and nothing is pinned while the caller works.
 *
 * Of equal keys the upper source wins; a delete hides the key below it. Refills grow from a few
 * rows (most scans are short: one directory, one file's extents) to REFILL_ROWS.
 */
#include "kv_internal.h"
#include "guard.h"
#include <errno.h>
#include <stdlib.h>

#define REFILL_FIRST 4
#define REFILL_GROWTH 4
#define REFILL_ROWS 512
#define REFILL_BYTES (256u << 10)
#define REFILL_STEPS 4096 /* rows looked at, deleted ones included */
#define SOURCES 3

struct row {
	size_t key_at, key_len, val_len; /* the value follows the key */
	int err;
};

struct kv_iter {
	struct kv *kv;
	enum kv_table table;
	bool down;
	bool past,
		bounded; /* the position: after `at` or including it; not bounded: the very end */
	bool ended;
	int pending_err; /* the refill failed after the rows in the buffer */
	struct buf at;
	struct buf bytes;
	struct row *rows; /* room for `want` of them */
	size_t n, next, want;
	struct row first_rows[REFILL_FIRST];
};

/* A sorted source, positioned at a row. Memtables have nodes, LMDB has a cursor. */
struct source {
	const struct memtable *m;
	const struct mem_node *node;
	MDB_cursor *cursor;
	struct slice key, raw;
	bool valid;
};

struct kv_iter *kv_iter_new(struct kv *kv, enum kv_table t, const void *from, size_t len, bool down)
{
	struct kv_iter *it = calloc(1, sizeof *it);
	if (!it)
		return NULL;
	it->kv = kv;
	it->table = t;
	it->down = down;
	it->want = down ? 1 : REFILL_FIRST; /* downwards mostly asks for the row before a key */
	it->rows = it->first_rows;
	it->bounded = from;
	buf_put(&it->at, from, len);
	if (it->at.failed) { /* it would begin somewhere else */
		kv_iter_free(it);
		return NULL;
	}
	return it;
}

void kv_iter_free(struct kv_iter *it)
{
	if (!it)
		return;
	buf_done(&it->at);
	buf_done(&it->bytes);
	if (it->rows != it->first_rows)
		free(it->rows);
	free(it);
}

static struct slice position(const struct kv_iter *it)
{
	static const uint8_t nothing[1];
	if (!it->bounded)
		return slice_of(NULL, 0);
	return slice_of(it->at.len ? it->at.data : nothing, it->at.len);
}

static void source_at_node(struct source *s, const struct mem_node *n)
{
	s->node = n;
	s->valid = n;
	if (n)
		s->key = mem_node_key(n);
}

/* LMDB's pages may be rotten: keys that do not go on in our direction could make a scan endless. */
static bool in_order(const struct kv_iter *it, struct slice from, struct slice to, bool strictly)
{
	int c = slice_compare(to, from);
	return to.len <= KV_KEY_MAX && (it->down ? c <= 0 : c >= 0) && (c || !strictly);
}

static int source_seek(const struct kv_iter *it, struct source *s)
{
	if (s->m) {
		source_at_node(s, memtable_seek(s->m, it->table, position(it), it->down, it->past));
		return 0;
	}
	if (!s->cursor)
		return 0;
	int r = lmdb_cursor_seek(s->cursor, position(it), it->down, it->past, &s->key, &s->raw);
	s->valid = r > 0;
	if (r > 0 && it->bounded && !in_order(it, position(it), s->key, it->past))
		return -EUCLEAN;
	if (r > 0 && !lmdb_in_place(it->kv->base, s->raw))
		return -EUCLEAN;
	return r < 0 ? r : 0;
}

static int source_step(const struct kv_iter *it, struct source *s)
{
	if (s->m) {
		source_at_node(s, memtable_step(s->m, it->table, s->node, it->down));
		return 0;
	}
	struct slice before = s->key;
	int r = lmdb_cursor_step(s->cursor, it->down, &s->key, &s->raw);
	s->valid = r > 0;
	if (r > 0 && (!in_order(it, before, s->key, true) || !lmdb_in_place(it->kv->base, s->raw)))
		return -EUCLEAN;
	return r < 0 ? r : 0;
}

/* The source whose row comes first, the upper one of equals; NULL at the end. */
static struct source *first_source(struct source *s, bool down)
{
	struct source *best = NULL;
	for (size_t i = 0; i < SOURCES; i++) {
		if (!s[i].valid)
			continue;
		int c = best ? slice_compare(s[i].key, best->key) : 0;
		if (!best || (down ? c > 0 : c < 0))
			best = &s[i];
	}
	return best;
}

static void add_row(struct kv_iter *it, struct slice key, struct slice val, int err)
{
	struct row *row = &it->rows[it->n];
	*row = (struct row){ it->bytes.len, key.len, err ? 0 : val.len, err };
	buf_put(&it->bytes, key.at, key.len);
	buf_put(&it->bytes, val.at, row->val_len);
	if (!it->bytes.failed)
		it->n++; /* now: copying may have faulted */
}

static void take_row(struct kv_iter *it, const struct source *s)
{
	if (s->m) {
		const struct mem_value *v = mem_node_value(s->node);
		if (v->len != MEM_DELETED)
			add_row(it, s->key, slice_of(v->bytes, v->len), 0);
		return;
	}
	struct slice raw = s->raw;
	int r = lmdb_check_value(it->table, s->key, &raw);
	add_row(it, s->key, raw, r);
}

/* Steps every source that stands at the key just taken. */
static int step_over(struct kv_iter *it, struct source *sources, struct slice key)
{
	int r = 0;
	for (size_t i = 0; i < SOURCES && r == 0; i++)
		if (sources[i].valid && slice_compare(sources[i].key, key) == 0)
			r = source_step(it, &sources[i]);
	return r;
}

static int merge(struct kv_iter *it, struct source *sources)
{
	int r = 0;
	for (size_t i = 0; i < SOURCES && r == 0; i++)
		r = source_seek(it, &sources[i]);
	for (size_t steps = 0;
	     r == 0 && it->n < it->want && steps < REFILL_STEPS && it->bytes.len < REFILL_BYTES;
	     steps++) {
		/* Only now: the last row of a refill is not stepped over, and most scans are short. */
		if (steps && (r = step_over(it, sources, slice_of(it->at.data, it->at.len))) < 0)
			break;
		struct source *s = first_source(sources, it->down);
		if (!s) {
			it->ended = true;
			break;
		}
		take_row(it, s);
		buf_reset(&it->at);
		buf_put(&it->at, s->key.at, s->key.len);
		it->past = it->bounded = true;
		if (it->at.failed || it->bytes.failed)
			return -ENOMEM;
	}
	return r;
}

static int grow_rows(struct kv_iter *it)
{
	size_t want = it->n ? it->want * REFILL_GROWTH : it->want;
	if (want > REFILL_ROWS)
		want = REFILL_ROWS;
	if (want == it->want)
		return 0;
	struct row *rows = malloc(want * sizeof *rows);
	if (!rows)
		return -ENOMEM;
	if (it->rows != it->first_rows)
		free(it->rows);
	it->rows = rows;
	it->want = want;
	return 0;
}

struct scan {
	struct kv_iter *it;
	struct reader *reader;
	struct source sources[SOURCES];
};

/* Within the guard. */
static int scan_sources(void *arg)
{
	struct scan *sc = arg;
	struct lmdb_base *base = sc->it->kv->base;
	int r = lmdb_read_begin(base, &sc->reader->txn);
	if (r == 0)
		r = lmdb_cursor_open(base, sc->reader->txn, sc->it->table, &sc->sources[2].cursor);
	return r < 0 ? r : merge(sc->it, sc->sources);
}

static int refill(struct kv_iter *it)
{
	struct kv *kv = it->kv;
	struct reader *reader;
	struct layers *l;
	int r = grow_rows(it);
	it->n = it->next = 0;
	buf_reset(&it->bytes);
	if (r == 0)
		r = kv_enter(kv, &reader, &l);
	if (r < 0)
		return r;
	struct scan sc = { it, reader, { { .m = l->active }, { .m = l->frozen } } };
	r = guard_call(scan_sources, &sc);
	if (sc.sources[2].cursor)
		mdb_cursor_close(sc.sources[2].cursor);
	lmdb_read_park(reader->txn);
	if (r == -EUCLEAN)
		kv_index_rotten(kv);
	kv_leave(reader);
	return r;
}

int kv_iter_next(struct kv_iter *it, struct slice *ret_key, struct slice *ret_val)
{
	if (!it)
		return -ENOMEM;
	while (it->next == it->n) {
		if (it->pending_err) { /* LMDB itself cannot be read: there is no way past it */
			int err = it->pending_err;
			it->pending_err = 0;
			*ret_key = *ret_val = slice_of(NULL, 0);
			return err;
		}
		if (it->ended)
			return 0;
		it->pending_err = refill(it);
		if (it->pending_err)
			it->ended = true;
	}
	const struct row *row = &it->rows[it->next++];
	*ret_key = slice_of(it->bytes.data + row->key_at, row->key_len);
	*ret_val = slice_of(it->bytes.data + row->key_at + row->key_len, row->val_len);
	return row->err ? row->err : 1;
}
