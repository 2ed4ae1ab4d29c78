// SPDX-License-Identifier: MIT
/* Verification is by the frame: a frame's checksums say that its bytes are those once written, and
 * its digests, in the checked head, whose they are. So when a frame was read whole to compare one
 * chunk, the others in it need no reading of their own. When a frame is damaged the chunk is tried
 * alone: of a raw frame only its own blocks are needed.
 */
#include "evidence.h"
#include "cleanup.h"
#include "clock.h"
#include <errno.h>

#define JUST_READ_S 60 /* what was read a moment ago is not read again, however young it must be */

void evidence_done(struct evidence *e)
{
	free(e->entries);
	*e = (struct evidence){ 0 };
}

static int64_t trust(const struct evidence_source *src, uint64_t pack)
{
	struct pack_row row;
	if (pack_get(src->kv, pack, &row) < 0)
		return 0;
	int64_t since = row.verified > row.created ? row.verified : row.created;
	if (since > clock_wall_ns() / 1000000000) /* by a clock that was wrong */
		return 0;
	return since + (int64_t)src->verify_age_s;
}

int evidence_frame(const struct evidence_source *src, uint64_t id, struct evidence *ret_e)
{
	struct frame_row row;
	struct evidence e = { .id = id };
	uint32_t at, left;
	if (chunk_find(src->kv, id, 0, &row, &at, &left) < 0)
		return 0;
	e.trusted_until = trust(src, row.pack);
	frame_row_done(&row);
	int r = chunks_frame_digests(src->chunks, id, &e.entries, &e.n);
	if (r < 0)
		return r == -EIO || r == -EUCLEAN ? -EUCLEAN : 0;
	for (uint32_t i = 0; i < e.n && e.trusted_until; i++)
		if (rotten_has(src->rotten, e.entries[i].id))
			e.trusted_until = 0;
	*ret_e = e;
	return 1;
}

bool evidence_whole(const struct evidence_source *src, uint64_t id, uint32_t len,
		    int64_t *ret_until)
{
	*ret_until = INT64_MAX;
	for (uint32_t part = 0; part < len; part += FRAME_DECODED_MAX) {
		struct frame_row row;
		uint32_t at, left, want = len - part;
		if (chunk_find(src->kv, id, part, &row, &at, &left) < 0)
			return false;
		int64_t until = trust(src, row.pack);
		frame_row_done(&row);
		*ret_until = until < *ret_until ? until : *ret_until;
		if (left != (want < FRAME_DECODED_MAX ? want : FRAME_DECODED_MAX))
			return false;
	}
	return true;
}

int evidence_find(const struct evidence_source *src, const struct digest *digest, uint64_t but_not,
		  struct evidence *ret_e)
{
	struct evidence e;
	uint64_t id;
	if (digests_find(src->digests, digest, &id) != 1 || id == but_not)
		return 0;
	int r = evidence_frame(src, id, &e);
	if (r < 0)
		ret_e->id = id;
	if (r <= 0)
		return r;
	for (uint32_t i = 0; i < e.n; i++)
		if (e.entries[i].id == id && digest_equal(&e.entries[i].digest, digest)) {
			*ret_e = e;
			return 1;
		}
	evidence_done(&e);
	return 0;
}

/* Reads n chunks past the caches and compares number `which` of them. */
static int read_and_compare(const struct evidence_source *src, const struct frame_chunk *chunks,
			    uint32_t n, uint32_t which, const void *data)
{
	uint64_t len = 0, at = 0;
	CLEANUP_FREE struct mapped *v = calloc(n, sizeof *v);
	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		at = i == which ? len : at;
		v[i].at = len;
		v[i].piece = (struct piece){ chunks[i].id, chunks[i].length, 0, 1 };
		len += chunks[i].length;
	}
	CLEANUP_FREE uint8_t *out = malloc(len);
	if (!out)
		return -ENOMEM;
	struct map_vec map = { .v = v, .n = n, .cap = n };
	int r = chunks_verify_map(src->chunks, &map, 0, len, out);
	if (r == 0 && memcmp(out + at, data, chunks[which].length))
		r = -EAGAIN;
	return r;
}

int evidence_compare(const struct evidence_source *src, uint64_t id, const void *data, uint32_t len,
		     struct evidence *ret_e)
{
	struct frame_row row;
	struct frame_chunk alone = { .id = id, .length = len };
	uint32_t at, left, which = 0;
	struct evidence e = { .id = id };
	int r = chunk_find(src->kv, id, 0, &row, &at, &left);
	if (r < 0)
		return r;
	while (which + 1 < row.n && row.chunks[which].id != id)
		which++;
	bool in_parts = len > FRAME_DECODED_MAX, same_len = row.chunks[which].length == len;
	if (in_parts || row.n == 1)
		r = in_parts || same_len ? read_and_compare(src, &alone, 1, 0, data) : -EAGAIN;
	else
		r = same_len ? read_and_compare(src, row.chunks, row.n, which, data) : -EAGAIN;
	if ((r == -EIO || r == -EUCLEAN) && row.n > 1)
		r = read_and_compare(src, &alone, 1, 0, data);
	else if (r == 0)
		evidence_frame(src, id, &e);
	frame_row_done(&row);
	if (r < 0)
		return r;
	int64_t now = clock_wall_ns() / 1000000000;
	unsigned age = src->verify_age_s < JUST_READ_S ? JUST_READ_S : src->verify_age_s;
	e.id = id;
	e.trusted_until = now + (int64_t)age;
	*ret_e = e;
	return 0;
}
