// SPDX-License-Identifier: MIT
#include "recipe.h"
#include "extent_range.h"

uint64_t recipe_end(const struct inode_row *row)
{
	uint64_t end = 0;
	for (uint32_t i = 0; i < row->pieces; i++)
		end += piece_bytes(&row->recipe[i]);
	return end;
}

int recipe_slice(const struct inode_row *row, uint64_t from, uint64_t to, struct piece_vec *l)
{
	uint64_t at = 0;
	for (uint32_t i = 0; i < row->pieces && from < to; i++) {
		const struct piece *p = &row->recipe[i];
		uint64_t end = at + piece_bytes(p), stop = end < to ? end : to;
		if (end > from) {
			int r = piece_vec_push_slice(l, p, from - at, stop - at);
			if (r)
				return r;
			from = stop;
		}
		at = end;
	}
	return from < to ? piece_vec_push_zeros(l, to - from) : 0;
}

int recipe_set(struct change *c, struct inode_row *row, const struct piece_vec *l)
{
	row->flags &= ~(uint32_t)INODE_MAPPED;
	row->pieces = (uint32_t)l->n;
	row->mapped_bytes = 0;
	memset(row->recipe, 0, sizeof row->recipe);
	for (size_t i = 0; i < l->n; i++) {
		row->recipe[i] = l->v[i];
		row->mapped_bytes += piece_is_zero(&l->v[i]) ? 0 : piece_bytes(&l->v[i]);
	}
	return change_note_recipe(c, row);
}

int recipe_to_rows(struct change *c, struct inode_row *row)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	if (row->flags & INODE_MAPPED)
		return 0;
	int r = recipe_slice(row, 0, recipe_end(row), &l);
	row->flags |= INODE_MAPPED;
	row->pieces = 0;
	row->mapped_bytes = 0;
	return r ? r : extent_range_fill(c, row, 0, &l);
}

/* One more than a recipe holds: it may turn out to be the zeros at the end. */
#define ENOUGH (INODE_RECIPE_MAX + 1)

/* Appends a row's pieces, and zeros from `at` to its start; stops beyond ENOUGH. */
static int append_row(struct change *c, const struct extent_row *e, uint64_t at,
		      struct piece_vec *l)
{
	CLEANUP_SEGMENT struct open_segment o = { 0 };
	int r = open_segment(c->x, c, e->segment, &o);
	if (!r)
		r = piece_vec_push_zeros(l, e->at - at);
	if (!r)
		r = segment_slice(&o.seg, e->offset, e->len, ENOUGH, l);
	return r;
}

int recipe_from_rows(struct change *c, struct inode_row *row)
{
	CLEANUP_PIECES struct piece_vec l = { 0 };
	CLEANUP_EXTENT_ITER struct extent_iter it = { 0 };
	struct extent_row rows[INODE_RECIPE_MAX], e;
	unsigned n = 0;
	uint64_t at = 0;
	int r = extent_iter_init(&it, c->x->kv, &c->edits, row->ino, 0);
	while (!r && (r = extent_iter_next(&it, &e)) == 1) {
		if (n == INODE_RECIPE_MAX)
			return 0;
		r = append_row(c, &e, at, &l);
		if (!r && l.n > ENOUGH)
			return 0;
		rows[n++] = e;
		at = extent_end(&e);
	}
	piece_vec_trim(&l);
	if (!r && l.n > INODE_RECIPE_MAX)
		return 0;
	for (unsigned i = 0; i < n && !r; i++)
		r = change_drop_row(c, row, &rows[i]);
	return r ? r : recipe_set(c, row, &l);
}
