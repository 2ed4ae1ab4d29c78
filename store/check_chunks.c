// SPDX-License-Identifier: MIT
/* Frames come in the order of their rows, which is the order they lie in packs: one pack is open at
 * a time. Each head is read and compared with its row; its sum covers pack and offset, so a head that
 * is valid there belongs there.
 *
 * Digests are hints (digests.h): one that leads nowhere, or elsewhere, costs nothing but a look, and
 * a crash may leave some. They are counted, and no error.
 */
#include "check_impl.h"
#include "cleanup.h"
#include "frame.h"
#include "io.h"
#include "pack.h"
#include "pack_scan.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HEAD_FIRST_READ 4096u
#define CHUNK_IDS_MOST (1ull << 36) /* more is no pool but a damaged number */
#define SAMPLE_EVERY 64u
#define CHUNK_UNREADABLE (1u << 31) /* in chunk_len: no chunk is that long */

/* What is not there today is not damaged. */
static void tell_absent(struct check *k, unsigned tier)
{
	struct tier_info info;
	if (k->absent >> tier & 1)
		return;
	k->absent |= 1u << tier;
	if (tiers_get(k->pool->tiers, tier, &info))
		check_absent(k, "tier %s is absent: %s; what lies there was not looked at",
			     info.name, info.absent ? info.why : "its place does not answer");
	else
		check_absent(
			k,
			"of tier %u nothing is known: declare it in foldfs.conf; what lies there "
			"was not looked at",
			tier);
}

static void look_at_file(struct check *k, const struct pack_row *row, unsigned tier, int fd)
{
	struct footer_entry *entries = NULL;
	struct stat st;
	uint64_t at;
	size_t n;
	int r = pack_header_check(fd, row->id, k->pool->super.uuid);
	if (r == -EUCLEAN)
		check_file_error(k, tier,
				 "the file of pack %lu does not begin as that of this pack",
				 row->id);
	else if (r < 0)
		check_error(k, "pack %lu cannot be read: %s", row->id, strerror(-r));
	if (row->state != PACK_SEALED || fstat(fd, &st))
		return;
	if ((uint64_t)st.st_size < row->bytes)
		check_file_error(k, tier, "the file of pack %lu has %lu bytes, not %lu", row->id,
				 (uint64_t)st.st_size, row->bytes);
	if (pack_footer_read(fd, row->id, &entries, &n, &at) < 0)
		check_file_error(k, tier, "the footer of pack %lu is damaged", row->id);
	free(entries);
}

/* It is not where its row says. */
static void look_elsewhere(struct check *k, const struct pack_row *row)
{
	unsigned tier;
	CLEANUP_CLOSE int fd = check_find_copy(k, row->id, row->tier, &tier);
	if (fd < 0) {
		check_error(k, "pack %lu is missing: %s", row->id, strerror(ENOENT));
		return;
	}
	check_say_moved(k, row, tier);
	look_at_file(k, row, tier, fd);
}

/* To ask for each head would take a request for each: that is for scrub. */
static void look_at_far(struct check *k, const struct pack_row *row)
{
	struct place *pl = tiers_place(k->pool->tiers, row->tier);
	uint64_t bytes = 0;
	int r = pl->ops->size(pl, row->id, &bytes);
	if (r == -ENOENT)
		look_elsewhere(k, row);
	else if (r < 0)
		tell_absent(k, row->tier);
	else if (row->state == PACK_SEALED && bytes < row->bytes)
		check_error(k, "the object of pack %lu has %lu bytes, not %lu", row->id, bytes,
			    row->bytes);
	if (r == 0)
		check_compare_copies(k, row);
}

static int look_at_pack(struct check *k, struct slice key, struct slice val)
{
	struct pack_row row;
	int r = pack_decode_row(key, val, &row);
	if (r < 0)
		return r;
	k->res.packs++;
	k->max_pack = row.id > k->max_pack ? row.id : k->max_pack;
	if (row.state == PACK_DOOMED)
		return 0;
	int fd = pack_fd_get(k->pool->packs, row.id);
	if (fd == -EREMOTE)
		look_at_far(k, &row);
	else if (fd == -ENOMEDIUM)
		tell_absent(k, row.tier);
	else if (fd == -EUCLEAN)
		check_error(k, "the file of pack %lu is that of another pool", row.id);
	else if (fd == -ENOENT)
		look_elsewhere(k, &row);
	else if (fd < 0)
		check_error(k, "pack %lu is missing: %s", row.id, strerror(-fd));
	if (fd < 0)
		return 0;
	check_compare_copies(k, &row);
	look_at_file(k, &row, row.tier, fd);
	pack_fd_put(k->pool->packs, row.id, fd);
	return 0;
}

static void close_pack(struct check *k)
{
	if (k->pack.id && k->pack.fd >= 0 && k->pack.found)
		close(k->pack.fd);
	else if (k->pack.id && k->pack.fd >= 0)
		pack_fd_put(k->pool->packs, k->pack.id, k->pack.fd);
	k->pack.id = 0;
}

static void open_pack(struct check *k, uint64_t id)
{
	struct stat st;
	unsigned tier;
	if (k->pack.id == id)
		return;
	close_pack(k);
	k->pack.id = id;
	k->pack.error = 0;
	k->pack.size = 0;
	k->pack.fd = pack_fd_get(k->pool->packs, id);
	k->pack.found = k->pack.fd == -ENOENT;
	if (k->pack.found)
		k->pack.fd = check_find_copy(k, id, TIERS_MAX, &tier);
	if (k->pack.fd < 0)
		k->pack.error = k->pack.fd;
	else if (fstat(k->pack.fd, &st))
		k->pack.error = -errno;
	else
		k->pack.size = (uint64_t)st.st_size;
}

/* Reads a frame's head into *bytes (grown as needed). */
static int read_head(int fd, const struct frame_row *row, struct buf *bytes,
		     struct frame_head *ret_head)
{
	size_t need = row->stored_len < HEAD_FIRST_READ ? row->stored_len : HEAD_FIRST_READ;
	int r;
	do {
		buf_reset(bytes);
		if (need > row->stored_len)
			return -EUCLEAN;
		if (!buf_extend(bytes, need))
			return -ENOMEM;
		r = io_read_exact(fd, bytes->data, need, (off_t)row->offset);
		if (r == 0)
			r = frame_parse_head(bytes->data, need, row->pack, row->offset, ret_head,
					     &need);
	} while (r == -EAGAIN);
	return r;
}

static bool same_frame(const struct frame_row *row, const struct frame_head *head)
{
	if (head->h.chunks != row->n || head->h.decoded_len != row->decoded_len ||
	    head->stored_len != row->stored_len || head->h.part != row->part ||
	    head->h.codec != row->codec)
		return false;
	for (uint32_t i = 0; i < row->n; i++)
		if (head->entries[i].id != row->chunks[i].id ||
		    head->entries[i].length != row->chunks[i].length)
			return false;
	return true;
}

static void compare_digests(struct check *k, const struct frame_head *head)
{
	uint32_t step = k->opt->full ? 1 : SAMPLE_EVERY;
	uint64_t watermark =
		digests_watermark(k->pool->digests); /* beyond, memory may have had it */
	for (uint32_t i = 0; i < head->h.chunks; i += step) {
		uint64_t id = 0;
		if (head->entries[i].id >= watermark)
			continue;
		k->res.digests++;
		if (digests_find(k->pool->digests, &head->entries[i].digest, &id) == 0)
			check_note(k,
				   "chunk %lu cannot be found by its digest, so its bytes would "
				   "be stored once more",
				   head->entries[i].id);
	}
}

/* So that the files are named that these chunks are a part of. */
static void mark_unreadable(struct check *k, const struct frame_row *row)
{
	for (uint32_t i = 0; i < row->n; i++)
		if (row->chunks[i].id < k->chunk_end)
			k->chunk_len[row->chunks[i].id] |= CHUNK_UNREADABLE;
}

static int look_at_frame(struct check *k, const struct frame_row *row)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	struct frame_head head;
	uint64_t id = row->chunks[0].id;
	open_pack(k, row->pack);
	if (k->pack.error == -ENOMEDIUM || k->pack.error == -EREMOTE)
		return 0;
	if (k->pack.error) {
		check_error(k, "the frame of chunk %lu lies in pack %lu, which cannot be read: %s",
			    id, row->pack, strerror(-k->pack.error));
		return 0;
	}
	if (row->offset > k->pack.size || row->stored_len > k->pack.size - row->offset) {
		check_error(k, "the frame of chunk %lu reaches beyond the end of pack %lu", id,
			    row->pack);
		return 0;
	}
	int r = read_head(k->pack.fd, row, &bytes, &head);
	if (r == -ENOMEM)
		return r;
	if (r == -EUCLEAN)
		check_error(k, "the frame of chunk %lu in pack %lu at %lu is damaged", id,
			    row->pack, row->offset);
	else if (r < 0)
		check_error(k, "pack %lu cannot be read at %lu: %s", row->pack, row->offset,
			    strerror(-r));
	else if (frame_has_part(&head, row))
		mark_unreadable(k, row); /* that is known, and told by file */
	else if (!same_frame(row, &head))
		check_error(k, "the frame in pack %lu at %lu is not what the row of chunk %lu says",
			    row->pack, row->offset, id);
	else
		compare_digests(k, &head);
	return 0;
}

static void note_lengths(struct check *k, const struct frame_row *row)
{
	for (uint32_t i = 0; i < row->n; i++) {
		uint64_t id = row->chunks[i].id;
		uint64_t len = row->chunks[i].length;
		bool next_part =
			i == 0 && row->part && id == k->last_chunk && row->part == k->last_part + 1;
		bool gap = i == 0 && row->part && !next_part;
		if (gap) /* told by file, if any has it */
			check_note(k, "part %u of chunk %lu does not follow the one before it",
				   row->part, id);
		else if (id <= k->last_chunk && !next_part)
			check_error(k, "chunk %lu is in two frames", id);
		if (id < k->chunk_end)
			k->chunk_len[id] =
				(k->chunk_len[id] + (uint32_t)len) | (gap ? CHUNK_UNREADABLE : 0);
		k->res.chunks += !next_part;
		k->last_chunk = id > k->last_chunk ? id : k->last_chunk;
	}
	k->last_part = row->part;
}

static int take_frame(struct check *k, struct slice key, struct slice val)
{
	struct frame_row row = { 0 };
	int r = frame_decode_row(key, val, &row);
	if (r < 0)
		return r;
	k->res.frames++;
	note_lengths(k, &row);
	uint64_t before = k->res.errors;
	r = k->rows_only ? 0 : look_at_frame(k, &row);
	if (k->res.errors > before)
		mark_unreadable(k, &row);
	frame_row_done(&row);
	return r;
}

enum piece_state check_piece_state(struct check *k, const struct piece *p)
{
	if (p->chunk == 0)
		return PIECE_SOUND;
	uint32_t known = p->chunk < k->chunk_end ? k->chunk_len[p->chunk] : 0;
	uint32_t len = known & ~CHUNK_UNREADABLE;
	if (p->chunk > k->max_chunk)
		k->max_chunk = p->chunk;
	if (len && p->offset + p->length > len)
		return PIECE_BEYOND;
	if (len)
		return known & CHUNK_UNREADABLE ? PIECE_LOST : PIECE_SOUND;
	return check_chunk_is_lost(k, p->chunk) ? PIECE_LOST : PIECE_MISSING;
}

bool check_piece(struct check *k, const struct piece *p, const char *whose, uint64_t id)
{
	enum piece_state state = check_piece_state(k, p);
	unsigned area = k->area;
	k->area |= CHECK_AREA_CHUNKS;
	if (state == PIECE_BEYOND)
		check_error(k, "%s %lu shows bytes beyond the end of chunk %lu", whose, id,
			    p->chunk);
	else if (state == PIECE_MISSING)
		check_error(k, "%s %lu refers to chunk %lu, which does not exist", whose, id,
			    p->chunk);
	k->area = area;
	return state != PIECE_SOUND;
}

/* Ids are never used twice, so in an old pool most are dead: pages of theirs are never touched. */
static int make_lengths(struct check *k, uint64_t end)
{
	void *at = mmap(NULL, end * sizeof *k->chunk_len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	k->chunk_len = at;
	k->chunk_end = end;
	return 0;
}

void check_forget_lengths(struct check *k)
{
	if (k->chunk_len)
		munmap(k->chunk_len, k->chunk_end * sizeof *k->chunk_len);
	k->chunk_len = NULL;
	k->chunk_end = 0;
}

int check_chunks(struct check *k)
{
	uint64_t last = 0;
	int r = k->rows_only ? 0 : check_each(k, KV_PACK, "packs", look_at_pack);
	if (r == 0 && chunk_last_id(k->pool->kv, &last) < 0)
		check_error(k, "the last chunk's row is damaged");
	if (last >= CHUNK_IDS_MOST) {
		check_error(k, "chunk %lu cannot exist", last);
		last = 0;
	}
	if (r == 0)
		r = make_lengths(k, last + 1);
	if (r == 0)
		r = check_each(k, KV_CHUNK, "frames", take_frame);
	close_pack(k);
	return r;
}
