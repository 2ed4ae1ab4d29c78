// SPDX-License-Identifier: MIT
/* The indexes of AVI.
 *
 * idx1, after the samples: rows of 16 bytes (letters of the chunk, flags, offset, size). The offset is
 * of the chunk's head, from the letters "movi", or from the start of the file; some writers mean the
 * byte after those letters.
 *
 * OpenDML: `indx` in a stream's head is a table of rows (offset 8, size 4, duration 4) of `ix##` chunks,
 * each of which is a table of rows (offset of the payload from a base, size; its top bit says that it
 * is no key). A file may have the second table in the place of the first.
 */
#include "avi_streams.h"
#include "bytes.h"
#include <errno.h>

#define OLD_ROW 16u
#define OLD_LIST 0x1u /* the row is of a list "rec " */
#define OLD_KEY 0x10u
#define OLD_TRIES 64u /* rows that may be in vain until the offsets' base is known */

#define INDEX_HEAD                                                                                 \
	24u /* of indx and ix##: longs 2, subtype 1, type 1, rows 4, letters 4, then base 8, nothing 4 */
#define SUPER_ROW 16u
#define SUPER_BATCH 64u
#define NOT_KEY 0x80000000u
enum { INDEX_OF_INDEXES = 0, INDEX_OF_CHUNKS = 1 };

#define BATCH_BYTES 49152u /* of rows at a time: a multiple of 8, 12 and 16 */

/* The chunk at `at` begins with these letters. */
static bool has_chunk(struct avi *a, uint64_t at, const uint8_t *id)
{
	uint8_t there[4];
	return film_source_copy(a->s, at, sizeof there, there) == 0 && !memcmp(there, id, 4);
}

/* -- idx1 ------------------------------------------------------------------------------------ */

static int find_old_base(struct avi *a, uint64_t *ret_base)
{
	const uint64_t bases[] = { a->movi_at, 0, a->movi_at + 4 };
	for (uint32_t i = 0; i < OLD_TRIES && i < a->idx1_len / OLD_ROW; i++) {
		const uint8_t *row;
		int r = film_source_get(a->s, a->idx1_at + i * OLD_ROW, OLD_ROW, &row);
		if (r < 0)
			return r;
		if (!avi_stream_of(a, row))
			continue;
		for (size_t k = 0; k < sizeof bases / sizeof *bases; k++)
			if (has_chunk(a, bases[k] + get_le32(row + 8), row)) {
				*ret_base = bases[k];
				return 0;
			}
	}
	return -ENOENT;
}

static int add_old_row(struct avi *a, const uint8_t *row, uint64_t base, const bool *skip)
{
	struct avi_stream *st = avi_stream_of(a, row);
	uint32_t flags = get_le32(row + 4);
	if (!st || skip[st - a->streams] || flags & OLD_LIST)
		return 0;
	return avi_add(a, st, base + get_le32(row + 8) + AVI_CHUNK_HEAD, get_le32(row + 12),
		       flags & OLD_KEY);
}

int avi_index_old(struct avi *a)
{
	bool skip[AVI_STREAMS_MAX];
	uint64_t base, at = a->idx1_at, end = at + a->idx1_len / OLD_ROW * OLD_ROW;
	int r = find_old_base(a, &base);
	if (r < 0)
		return r == -ENOENT || r == -ENODATA ? 0 : r;
	for (unsigned i = 0; i < AVI_STREAMS_MAX; i++)
		skip[i] = a->streams[i].end;
	while (at < end) {
		const uint8_t *p;
		size_t want = end - at < BATCH_BYTES ? (size_t)(end - at) : BATCH_BYTES;
		ssize_t n = film_source_some(a->s, at, want, &p);
		if (n < (ssize_t)OLD_ROW)
			return n < 0 ? (int)n : 0;
		for (size_t i = 0; r == 0 && i + OLD_ROW <= (size_t)n; i += OLD_ROW)
			r = add_old_row(a, p + i, base, skip);
		if (r < 0)
			return r;
		at += (size_t)n / OLD_ROW * OLD_ROW;
	}
	return 0;
}

/* -- OpenDML --------------------------------------------------------------------------------- */

struct table {
	unsigned row_bytes, type;
	uint64_t rows_at, n;
	uint64_t base;
	uint8_t id[4]; /* letters of the chunks it is of */
};

/* The head of an index whose payload is [at, at + len). */
static int read_table(struct avi *a, uint64_t at, uint32_t len, struct table *ret)
{
	const uint8_t *p;
	if (len < INDEX_HEAD)
		return -EBADMSG;
	int r = film_source_get(a->s, at, INDEX_HEAD, &p);
	if (r < 0)
		return r;
	*ret = (struct table){
		.row_bytes = get_le16(p) * 4u,
		.type = p[3],
		.rows_at = at + INDEX_HEAD,
		.n = get_le32(p + 4),
		.base = get_le64(p + 12),
	};
	memcpy(ret->id, p + 8, 4);
	if (ret->row_bytes < 8 || ret->row_bytes > 16)
		return -EBADMSG;
	if (ret->n > (len - INDEX_HEAD) / ret->row_bytes)
		ret->n = (len - INDEX_HEAD) / ret->row_bytes;
	return 0;
}

/* Whether the rows' offsets are of payloads, as they should be, or of the chunks' heads. */
static int find_bias(struct avi *a, const struct table *t, uint64_t *ret)
{
	const uint8_t *p;
	if (!t->n)
		return -EBADMSG;
	int r = film_source_get(a->s, t->rows_at, 8, &p);
	if (r < 0)
		return r;
	uint64_t at = t->base + get_le32(p);
	if (at >= AVI_CHUNK_HEAD && has_chunk(a, at - AVI_CHUNK_HEAD, t->id))
		*ret = 0;
	else if (has_chunk(a, at, t->id))
		*ret = AVI_CHUNK_HEAD;
	else
		return -EBADMSG;
	return 0;
}

static int add_chunks(struct avi *a, struct avi_stream *st, const struct table *t, uint64_t bias)
{
	uint64_t at = t->rows_at, end = at + t->n * t->row_bytes;
	while (at < end) {
		const uint8_t *p;
		size_t want = BATCH_BYTES / t->row_bytes * t->row_bytes;
		ssize_t n =
			film_source_some(a->s, at, end - at < want ? (size_t)(end - at) : want, &p);
		if (n < (ssize_t)t->row_bytes)
			return n < 0 ? (int)n : 0;
		for (size_t i = 0; i + t->row_bytes <= (size_t)n; i += t->row_bytes) {
			uint32_t len = get_le32(p + i + 4);
			int r = avi_add(a, st, t->base + get_le32(p + i) + bias, len & ~NOT_KEY,
					!(len & NOT_KEY));
			if (r < 0)
				return r;
		}
		at += (size_t)n / t->row_bytes * t->row_bytes;
	}
	return 0;
}

/* One table of chunks. *bias is found out with the first. */
static int add_table(struct avi *a, struct avi_stream *st, const struct table *t, uint64_t *bias)
{
	if (t->type != INDEX_OF_CHUNKS || avi_stream_of(a, t->id) != st || t->base > a->s->size)
		return 0;
	if (*bias == UINT64_MAX) {
		int r = find_bias(a, t, bias);
		if (r < 0)
			return r;
	}
	return add_chunks(a, st, t, *bias);
}

/* What is wrong with one table is no reason to do without the others. */
static int forgive(int r)
{
	return r == -EBADMSG || r == -ENODATA ? 0 : r;
}

/* The ix## chunk at `at`; *ret_end is where it ends. */
static int add_indexed(struct avi *a, struct avi_stream *st, uint64_t at, uint64_t *bias,
		       uint64_t *ret_end)
{
	uint8_t head[AVI_CHUNK_HEAD];
	struct table t;
	int r = film_source_copy(a->s, at, sizeof head, head);
	if (r < 0)
		return r;
	if (memcmp(head, "ix", 2) != 0)
		return -EBADMSG;
	uint32_t len = get_le32(head + 4);
	*ret_end = at + AVI_CHUNK_HEAD + len;
	r = read_table(a, at + AVI_CHUNK_HEAD, len, &t);
	return r < 0 ? r : add_table(a, st, &t, bias);
}

/* The tables follow one another in the file, so that none is read twice, whatever the rows say. */
static int add_super_rows(struct avi *a, struct avi_stream *st, const struct table *super)
{
	uint8_t rows[SUPER_BATCH * SUPER_ROW];
	uint64_t bias = UINT64_MAX, end = 0;
	for (uint64_t i = 0; i < super->n; i++) {
		unsigned in_batch = (unsigned)(i % SUPER_BATCH);
		if (!in_batch) {
			uint64_t left = (super->n - i) * SUPER_ROW;
			size_t len = left < sizeof rows ? (size_t)left : sizeof rows;
			int r = film_source_copy(a->s, super->rows_at + i * SUPER_ROW, len, rows);
			if (r < 0)
				return r;
		}
		uint64_t at = get_le64(rows + in_batch * SUPER_ROW);
		if (at < end || at >= a->s->size)
			continue;
		int r = forgive(add_indexed(a, st, at, &bias, &end));
		if (r < 0)
			return r;
	}
	return 0;
}

int avi_index_opendml(struct avi *a, unsigned stream)
{
	struct avi_stream *st = &a->streams[stream];
	struct table t;
	uint64_t bias = UINT64_MAX;
	int r = read_table(a, st->indx_at, st->indx_len, &t);
	if (r < 0)
		return forgive(r);
	if (t.type == INDEX_OF_CHUNKS)
		return forgive(add_table(a, st, &t, &bias));
	if (t.type != INDEX_OF_INDEXES || t.row_bytes != SUPER_ROW)
		return 0;
	return forgive(add_super_rows(a, st, &t));
}
