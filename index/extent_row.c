// SPDX-License-Identifier: MIT
/* A walk starts at the row before or at `from`, found by one step downwards, and opens an iterator
 * upwards only if that row does not reach far enough: most reads end within one row.
 */
#include "extent_row.h"
#include "piece.h"
#include <errno.h>
#include <stdlib.h>

void extent_key(uint64_t ino, uint64_t at, uint8_t key[EXTENT_KEY_SIZE])
{
	put_be64(key, ino);
	put_be64(key + 8, at);
}

void extent_encode(const struct extent_row *row, struct buf *out)
{
	buf_put_varint(out, row->segment);
	buf_put_varint(out, row->offset);
	buf_put_varint(out, row->len);
	buf_put_varint(out, row->zeros);
}

int extent_decode(struct slice key, struct slice val, uint64_t *ret_ino, struct extent_row *ret_row)
{
	if (key.len != EXTENT_KEY_SIZE)
		return -EUCLEAN;
	struct slice s = val;
	struct extent_row row = { .at = get_be64(key.at + 8) };
	row.segment = take_varint(&s);
	row.offset = take_varint(&s);
	row.len = take_varint(&s);
	row.zeros = take_varint(&s);
	if (s.bad || s.len || row.segment == 0 || row.len == 0 || row.len > MAP_END_MAX ||
	    row.at > MAP_END_MAX - row.len || row.offset > MAP_END_MAX - row.len ||
	    row.zeros > row.len)
		return -EUCLEAN;
	*ret_ino = get_be64(key.at);
	*ret_row = row;
	return 0;
}

/* The first edit with a key >= (ino, at). */
static size_t edits_find(const struct extent_edits *e, uint64_t ino, uint64_t at)
{
	size_t lo = 0, hi = e ? e->n : 0;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct extent_edit *m = &e->v[mid];
		if (m->ino < ino || (m->ino == ino && m->row.at < at))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool edits_has(const struct extent_edits *e, uint64_t ino, uint64_t at)
{
	size_t i = edits_find(e, ino, at);
	return e && i < e->n && e->v[i].ino == ino && e->v[i].row.at == at;
}

int extent_edits_set(struct extent_edits *e, uint64_t ino, const struct extent_row *row,
		     bool deleted)
{
	struct extent_edit edit = { .ino = ino, .row = *row, .deleted = deleted };
	size_t i = edits_find(e, ino, row->at);
	if (edits_has(e, ino, row->at)) {
		e->v[i] = edit;
		return 0;
	}
	if (e->n == e->cap) {
		size_t cap = e->cap ? e->cap * 2 : 8;
		struct extent_edit *v = realloc(e->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		e->v = v;
		e->cap = cap;
	}
	memmove(&e->v[i + 1], &e->v[i], (e->n - i) * sizeof *e->v);
	e->v[i] = edit;
	e->n++;
	return 0;
}

void extent_edits_done(struct extent_edits *e)
{
	free(e->v);
	*e = (struct extent_edits){ 0 };
}

static int base_floor(struct kv *kv, const struct extent_edits *edits, uint64_t ino, uint64_t at,
		      struct extent_row *ret_row)
{
	uint8_t from[EXTENT_KEY_SIZE];
	extent_key(ino, at, from);
	struct kv_iter *it = kv_iter_new(kv, KV_EXTENT, from, sizeof from, true);
	if (!it)
		return -ENOMEM;
	struct slice key = { 0 }, val;
	uint64_t row_ino;
	int r;
	do {
		r = kv_iter_next(it, &key, &val);
		if (r != 0 && key.len >= 8 && get_be64(key.at) != ino)
			r = 0;
		if (r == 1 && extent_decode(key, val, &row_ino, ret_row))
			r = -EUCLEAN;
	} while (r == 1 && edits_has(edits, ino, ret_row->at));
	kv_iter_free(it);
	return r;
}

int extent_floor(struct kv *kv, const struct extent_edits *edits, uint64_t ino, uint64_t at,
		 struct extent_row *ret_row)
{
	struct extent_row base, *edited = NULL;
	int r = base_floor(kv, edits, ino, at, &base);
	if (r < 0)
		return r;
	size_t i =
		at == UINT64_MAX ? edits_find(edits, ino + 1, 0) : edits_find(edits, ino, at + 1);
	while (i > 0 && edits->v[i - 1].ino == ino && !edited) {
		i--;
		if (!edits->v[i].deleted)
			edited = &edits->v[i].row;
	}
	if (edited && (r == 0 || edited->at > base.at))
		*ret_row = *edited;
	else if (r == 1)
		*ret_row = base;
	return edited || r;
}

int extent_iter_init(struct extent_iter *it, struct kv *kv, const struct extent_edits *edits,
		     uint64_t ino, uint64_t from)
{
	*it = (struct extent_iter){ .kv = kv, .edits = edits, .ino = ino, .next = from };
	if (from == 0)
		return 0;
	int r = extent_floor(kv, edits, ino, from, &it->floor);
	if (r == 1 && extent_end(&it->floor) > from)
		it->have_floor = true;
	return r < 0 ? r : 0;
}

/* Reads the next row of the table into it->base. */
static int base_next(struct extent_iter *it)
{
	if (!it->it) {
		uint8_t from[EXTENT_KEY_SIZE];
		extent_key(it->ino, it->next, from);
		it->it = kv_iter_new(it->kv, KV_EXTENT, from, sizeof from, false);
		if (!it->it)
			return -ENOMEM;
	}
	struct slice key = { 0 }, val;
	int r = kv_iter_next(it->it, &key, &val);
	if (r == 0 || (key.len >= 8 && get_be64(key.at) != it->ino)) {
		it->base_ended = true;
		return 0;
	}
	uint64_t row_ino;
	if (r < 0 || extent_decode(key, val, &row_ino, &it->base))
		return r < 0 ? r : -EUCLEAN;
	it->have_base = true;
	return 0;
}

/* The row with the lowest key >= it->next, of the table or of the edits. 1, 0 or -errno. */
static int merged_next(struct extent_iter *it, struct extent_row *ret_row)
{
	for (;;) {
		if (!it->have_base && !it->base_ended) {
			int r = base_next(it);
			if (r)
				return r;
		}
		const struct extent_edits *e = it->edits;
		size_t i = edits_find(e, it->ino, it->next);
		bool edited = e && i < e->n && e->v[i].ino == it->ino;
		if (!edited && !it->have_base)
			return 0;
		if (!edited || (it->have_base && it->base.at < e->v[i].row.at)) {
			it->have_base = false;
			*ret_row = it->base;
			it->next = it->base.at + 1;
			return 1;
		}
		if (it->have_base && it->base.at == e->v[i].row.at)
			it->have_base = false;
		it->next = e->v[i].row.at + 1;
		if (!e->v[i].deleted) {
			*ret_row = e->v[i].row;
			return 1;
		}
	}
}

int extent_iter_next(struct extent_iter *it, struct extent_row *ret_row)
{
	struct extent_row row;
	int r = 1;
	if (it->have_floor) {
		row = it->floor;
		it->have_floor = false;
		it->next = row.at + 1; /* rows start nowhere within it, unless damaged */
	} else {
		r = merged_next(it, &row);
	}
	if (r != 1)
		return r;
	if (row.at < it->last_end)
		return -EUCLEAN;
	it->last_end = extent_end(&row);
	*ret_row = row;
	return 1;
}

void extent_iter_done(struct extent_iter *it)
{
	if (it->it)
		kv_iter_free(it->it);
	it->it = NULL;
}
