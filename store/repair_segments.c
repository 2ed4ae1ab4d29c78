// SPDX-License-Identifier: MIT
/* Segments before maps: pieces that lead nowhere. And after them: a segment that no row refers to
 * goes, and the reference counts become what is counted.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "piece.h"
#include "segment.h"
#include <errno.h>

static int mend_segment(struct repair *r, struct slice key, struct slice val)
{
	struct segment seg;
	struct segment_iter it;
	struct piece p;
	CLEANUP_PIECES struct piece_vec l = { 0 };
	uint64_t at;
	bool changed = false;
	if (!val.at || key.len != 8 || segment_open(val, &seg) < 0 || segment_check(&seg) < 0)
		return 0; /* made anew if rows refer to it, and removed otherwise */
	uint64_t id = get_be64(key.at);
	int e = segment_seek(&seg, 0, &it), more = 0;
	while (e == 0 && (more = segment_next(&it, &p, &at)) > 0) {
		enum piece_state state = check_piece_state(&r->k, &p);
		if (state == PIECE_MISSING) {
			repair_mark_lost(r, p.chunk);
			repair_say(r, "chunk %lu, a part of segment %lu, is lost", p.chunk, id);
		} else if (state == PIECE_BEYOND) {
			e = repair_lose_piece(r, &p);
			changed = true;
			repair_say(r, "a part of segment %lu is lost", id);
		}
		if (e == 0)
			e = piece_vec_push(&l, &p);
	}
	CLEANUP_BUF struct buf out = { 0 };
	if (e < 0 || more < 0 || !changed)
		return e;
	segment_encode(l.v, l.n, false, &out);
	if (out.failed)
		return -ENOMEM;
	repair_put(r, KV_SEGMENT, key, slice_of(out.data, out.len));
	return 0;
}

/* ---- references ---- */

static int mend_reference(struct repair *r, struct slice key, struct slice val)
{
	struct slice s = val;
	uint64_t count = val.at ? take_varint(&s) : 0;
	bool sound = val.at && key.len == 8 && !s.bad && !s.len && count >= 2;
	if (sound && check_find_segment(&r->k, get_be64(key.at)))
		return 0;
	repair_delete(r, KV_SEGREF, key); /* counted again below */
	repair_say(r, "the reference count of segment %lu %s, and is removed",
		   key.len == 8 ? get_be64(key.at) : 0, sound ? "counts nothing" : "was damaged");
	return 0;
}

static int mend_unread_segment(struct repair *r, struct slice key, struct slice val)
{
	if (val.at && key.len == 8)
		return 0;
	repair_delete(r, KV_SEGMENT, key);
	repair_say(r, "the row of segment %lu was damaged, and is removed",
		   key.len == 8 ? get_be64(key.at) : 0);
	return 0;
}

static int count_references(struct repair *r)
{
	for (size_t i = 0; i < r->k.n_segments; i++) {
		const struct check_segment *s = &r->k.segments[i];
		CLEANUP_BUF struct buf val = { 0 };
		uint8_t key[8];
		put_be64(key, s->id);
		if (s->counted == s->stored)
			continue;
		buf_put_varint(&val, s->counted);
		if (val.failed)
			return -ENOMEM;
		if (s->counted > 1)
			repair_put(r, KV_SEGREF, slice_of(key, 8), slice_of(val.data, val.len));
		else
			repair_delete(r, KV_SEGREF, slice_of(key, 8));
		if (!s->counted)
			repair_delete(r, KV_SEGMENT, slice_of(key, 8));
		repair_say(r, "segment %lu is referred to by %lu rows%s", s->id, s->counted,
			   s->counted ? "" : ", and is removed");
		int e = repair_point(r);
		if (e < 0)
			return e;
	}
	return 0;
}

int repair_segments(struct repair *r)
{
	int e = repair_look(r);
	return e < 0 ? e : repair_each(r, KV_SEGMENT, "segments", mend_segment);
}

int repair_references(struct repair *r)
{
	int e = repair_look(r);
	if (e == 0)
		e = repair_each(r, KV_SEGMENT, "segments", mend_unread_segment);
	if (e == 0)
		e = repair_each(r, KV_SEGREF, "reference counts", mend_reference);
	if (e == 0)
		e = repair_look(r);
	if (e == 0)
		e = check_maps(&r->k);
	return e < 0 ? e : count_references(r);
}
