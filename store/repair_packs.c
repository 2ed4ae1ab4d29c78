// SPDX-License-Identifier: MIT
/* Frames and packs, from the pack files: these describe themselves. All heads of all packs are read;
 * then the rows of frames are made what they should be:
 *
 *   a row whose frame is where it says, with the same chunks      stays
 *   a row that is damaged, or whose frame is not there            goes
 *   a frame without a row, whose ids no other row's frame holds   gets one
 *
 * The ids of two rows' frames never interleave (chunk_row.h), so where frames compete one wins: who
 * has its row, else who lies in the later pack, as gc and a repeated number after a crash would have
 * it. A frame without a row in a pack without a footer may be of a crash, and its bytes never
 * have reached the disk: it is decoded before it gets a row. So is one that overlaps a hole of its file:
 * gc may have given back its bytes and left its head (pack_trim).
 *
 * Rows that name only some chunks of their frame stay, too: the others were healed elsewhere, and
 * these wait for that (rotten.h).
 *
 * Packs: what becomes of their files and rows is told in repair_files.c. One that is open again gets a
 * new footer at the end (repair_seal), when all rows are right.
 *
 * The next chunk id is raised first, beyond all that is found: an interrupted repair must not let an
 * id be given twice.
 */
#include "repair_files.h"
#include "cleanup.h"
#include "frame.h"
#include "io.h"
#include "pack.h"
#include "pack_fds.h"
#include "pack_scan.h"
#include "packer.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A frame that lies in a pack. */
struct lying {
	uint64_t first, last; /* chunk ids */
	uint64_t offset;
	uint32_t pack; /* index in packs */
	uint32_t stored_len;
	uint32_t sum; /* of its ids and lengths: what a row must say */
	uint16_t part;
	bool has_row, chosen;
	bool partial; /* rows name parts of it */
};

/* ---- frames ---- */

static uint32_t sum_chunk(uint32_t sum, uint64_t id, uint32_t length)
{
	uint64_t v[2] = { id, length };
	return (uint32_t)checksum64_seeded(v, sizeof v, sum);
}

static int take_lying(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct packs_repair *pr = arg;
	if (pr->n == pr->cap) {
		size_t cap = pr->cap ? pr->cap * 2 : 4096;
		struct lying *v = realloc(pr->frames, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		pr->frames = v;
		pr->cap = cap;
	}
	struct lying l = {
		.first = head->entries[0].id,
		.last = head->entries[head->h.chunks - 1].id,
		.offset = offset,
		.pack = (uint32_t)pr->file,
		.stored_len = head->stored_len,
		.part = head->h.part,
	};
	for (uint32_t i = 0; i < head->h.chunks; i++)
		l.sum = sum_chunk(l.sum, head->entries[i].id, head->entries[i].length);
	pr->max_chunk = l.last > pr->max_chunk ? l.last : pr->max_chunk;
	pr->frames[pr->n++] = l;
	return 0;
}

static int scan_file(struct packs_repair *pr, size_t i)
{
	struct file *f = &pr->files[i];
	struct footer_entry *entries = NULL;
	size_t n;
	uint64_t at, end;
	if (!f->there || f->far || f->row.state == PACK_DOOMED)
		return 0;
	CLEANUP_CLOSE int fd = repair_file_open(pr, f->id);
	if (fd < 0)
		return fd;
	int e = pack_footer_read(fd, f->id, &entries, &n, &at);
	free(entries);
	f->footer = e == 0;
	f->unread = e == -EIO;
	pr->file = i;
	size_t before = pr->n;
	e = pack_scan_fd(fd, f->id, 0, take_lying, pr, &end);
	f->unread |= e == -EIO;
	if (f->unread && !f->row.state) /* it is not known again before all of it can be read */
		pr->n = before;
	return e == -EUCLEAN || e == -EIO ? 0 : e;
}

static int key_order(uint64_t id, uint16_t part, uint64_t other, uint16_t other_part)
{
	if (id != other)
		return id < other ? -1 : 1;
	return (part > other_part) - (part < other_part);
}

/* By ids; of equals, who lies in the later pack first. */
static int lying_order(const void *a, const void *b)
{
	const struct lying *x = a, *y = b;
	int order = key_order(x->first, x->part, y->first, y->part);
	return order ? order : (x->pack < y->pack) - (x->pack > y->pack);
}

static struct lying *find_lying(const struct packs_repair *pr, const struct frame_row *row)
{
	size_t lo = 0, hi = pr->n;
	uint32_t sum = 0;
	for (uint32_t i = 0; i < row->n; i++)
		sum = sum_chunk(sum, row->chunks[i].id, row->chunks[i].length);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct lying *l = &pr->frames[mid];
		if (key_order(l->first, l->part, row->chunks[0].id, row->part) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < pr->n; lo++) {
		struct lying *l = &pr->frames[lo];
		if (key_order(l->first, l->part, row->chunks[0].id, row->part))
			break;
		if (pr->files[l->pack].id == row->pack && l->offset == row->offset &&
		    l->stored_len == row->stored_len && l->sum == sum)
			return l;
	}
	return NULL;
}

/* Is the row of a frame that is healed in part? Notes that the frame is no candidate. */
static int ask_part(struct packs_repair *pr, const struct frame_row *row, bool *ret_part)
{
	size_t need;
	struct frame_head head;
	CLEANUP_BUF struct buf bytes = { 0 };
	struct file *f = repair_file_find(pr, row->pack);
	if (!f || !f->there || f->far)
		return 0;
	CLEANUP_CLOSE int fd = repair_file_open(pr, row->pack);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd; /* it was put aside */
	void *to = buf_extend(&bytes, row->stored_len);
	int e = to ? io_read_exact(fd, to, row->stored_len, (off_t)row->offset) : -ENOMEM;
	if (e < 0)
		return e == -EUCLEAN ? 0 : e;
	if (frame_parse_head(to, row->stored_len, row->pack, row->offset, &head, &need) < 0 ||
	    !frame_has_part(&head, row))
		return 0;
	for (size_t i = 0; i < pr->n; i++)
		if (&pr->files[pr->frames[i].pack] == f && pr->frames[i].offset == row->offset)
			pr->frames[i].partial = true;
	*ret_part = true;
	return 0;
}

/* The frame of a sound row; NULL: its frame lies nowhere. *ret_elsewhere: but the row stays. */
static int frame_of_row(struct packs_repair *pr, struct slice key, struct slice val,
			struct lying **ret_frame, bool *ret_elsewhere)
{
	struct frame_row row;
	*ret_frame = NULL;
	*ret_elsewhere = false;
	int e = val.at ? frame_decode_row(key, val, &row) : -EUCLEAN;
	if (e < 0)
		return e == -EUCLEAN ? 0 : e;
	*ret_frame = find_lying(pr, &row);
	if (!*ret_frame)
		*ret_elsewhere = repair_file_hides(pr, &row);
	if (!*ret_frame && !*ret_elsewhere)
		e = ask_part(pr, &row, ret_elsewhere);
	frame_row_done(&row);
	return e;
}

static int match_row(struct repair *r, struct slice key, struct slice val)
{
	bool elsewhere;
	struct lying *l;
	int e = frame_of_row(r->packs, key, val, &l, &elsewhere);
	if (e == 0 && l)
		l->has_row = true;
	return e;
}

static int drop_row(struct repair *r, struct slice key, struct slice val)
{
	bool elsewhere;
	struct lying *l;
	int e = frame_of_row(r->packs, key, val, &l, &elsewhere);
	if (e < 0 || (l && l->chosen) || elsewhere)
		return e;
	repair_delete(r, KV_CHUNK, key);
	repair_say(r, "the row of the frame of chunk %lu leads to no sound frame, and is removed",
		   key.len >= 8 ? get_be64(key.at) : 0);
	return 0;
}

/* Reads the frame: with `decode` all of it, else its head. The entries point into *bytes. */
static int read_lying(const struct packs_repair *pr, const struct lying *l, bool decode,
		      struct buf *bytes, struct frame_head *ret_head)
{
	size_t need;
	uint64_t pack = pr->files[l->pack].id;
	CLEANUP_CLOSE int fd = repair_file_open(pr, pack);
	void *to = fd >= 0 ? buf_extend(bytes, l->stored_len) : NULL;
	if (!to)
		return fd < 0 ? fd : -ENOMEM;
	int e = io_read_exact(fd, to, l->stored_len, (off_t)l->offset);
	if (e == 0)
		e = frame_parse_head(to, l->stored_len, pack, l->offset, ret_head, &need);
	if (e < 0 || !decode)
		return e == -EAGAIN ? -EUCLEAN : e;
	CLEANUP_FREE uint8_t *out = malloc(ret_head->h.decoded_len + 1);
	return out ? frame_decode(ret_head, to, out) : -ENOMEM;
}

static bool decodes(const struct packs_repair *pr, const struct lying *l)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	struct frame_head head;
	return read_lying(pr, l, true, &bytes, &head) == 0;
}

static bool overlaps_hole(const struct packs_repair *pr, const struct lying *l)
{
	const struct file *f = &pr->files[l->pack];
	CLEANUP_CLOSE int fd = f->holes ? repair_file_open(pr, f->id) : -1;
	off_t hole = fd < 0 ? -1 : lseek(fd, (off_t)l->offset, SEEK_HOLE);
	return f->holes && (hole < 0 || (uint64_t)hole < l->offset + l->stored_len);
}

static bool usable(const struct packs_repair *pr, const struct lying *l)
{
	bool whole = pr->files[l->pack].footer && !overlaps_hole(pr, l);
	return l->has_row || whole || decodes(pr, l);
}

static bool better(const struct lying *a, const struct lying *b)
{
	return a->has_row != b->has_row ? a->has_row : a->pack > b->pack;
}

/* Of two without rows one may be rotten and the other its healed copy. */
static bool wins(const struct packs_repair *pr, const struct lying *l, const struct lying *last)
{
	if (!l->has_row && !last->has_row) {
		bool sound = decodes(pr, l);
		if (sound != decodes(pr, last))
			return sound;
	}
	return better(l, last);
}

/* In the order of ids, each against the last one chosen. */
static int choose(struct packs_repair *pr)
{
	struct lying *last = NULL;
	for (size_t i = 0; i < pr->n; i++) {
		struct lying *l = &pr->frames[i];
		bool clash = last && key_order(l->first, l->part, last->last, last->part) <= 0;
		if (l->partial || (clash && !wins(pr, l, last)) || !usable(pr, l))
			continue;
		if (clash)
			last->chosen = false;
		l->chosen = true;
		last = l;
	}
	return 0;
}

static int put_frame(struct packs_repair *pr, const struct lying *l)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	struct frame_head head;
	int e = read_lying(pr, l, false, &bytes, &head);
	if (e < 0)
		return e;
	CLEANUP_FREE struct frame_chunk *chunks = calloc(head.h.chunks, sizeof *chunks);
	if (!chunks)
		return -ENOMEM;
	for (uint32_t i = 0; i < head.h.chunks; i++)
		chunks[i] = (struct frame_chunk){ head.entries[i].id, head.entries[i].length };
	struct frame_row row = {
		.pack = pr->files[l->pack].id,
		.offset = l->offset,
		.stored_len = l->stored_len,
		.decoded_len = head.h.decoded_len,
		.part = l->part,
		.codec = head.h.codec,
		.n = head.h.chunks,
		.chunks = chunks,
	};
	chunk_put_frame(pr->r->batch, &row);
	pr->r->ops++;
	repair_say(pr->r, "the frame of chunk %lu was found in pack %lu", l->first, row.pack);
	return repair_point(pr->r);
}

static int put_frames(struct packs_repair *pr)
{
	int e = 0;
	for (size_t i = 0; e == 0 && i < pr->n; i++) {
		struct lying *l = &pr->frames[i];
		struct file *f = &pr->files[l->pack];
		if (!l->chosen)
			continue;
		f->first_chunk = f->frames && f->first_chunk < l->first ? f->first_chunk : l->first;
		f->frames++;
		if (!l->has_row)
			e = put_frame(pr, l);
	}
	return e;
}

/* Marks of chunks that are back. */
static int unmark_lost(struct repair *r, struct slice key, struct slice val)
{
	struct frame_row row;
	uint32_t at, left;
	(void)val;
	if (key.len != META_LOST_CHUNK_SIZE ||
	    memcmp(key.at, META_LOST_CHUNK, strlen(META_LOST_CHUNK)))
		return 0;
	uint64_t id = get_be64(key.at + key.len - 8);
	if (chunk_find(r->pool->kv, id, 0, &row, &at, &left) < 0)
		return 0;
	frame_row_done(&row);
	repair_delete(r, KV_META, key);
	repair_say(r, "chunk %lu, which was lost, is there again", id);
	return 0;
}

/* What only the lost part of the log named is taken in. */
static int forget_lost_log(struct repair *r)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct slice key = slice_of(META_LOG_LOST, strlen(META_LOG_LOST));
	if (kv_get(r->pool->kv, KV_META, key.at, key.len, &val) == -ENOENT)
		return 0;
	repair_delete(r, KV_META, key);
	return repair_commit(r);
}

static int raise_next_chunk(struct packs_repair *pr)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct repair *r = pr->r;
	static const char key[] = PACKER_NEXT_KEY;
	uint8_t next[8];
	uint64_t most = pr->max_chunk > r->k.max_chunk ? pr->max_chunk : r->k.max_chunk;
	most = r->k.chunk_end > most + 1 ? r->k.chunk_end - 1 : most;
	if (kv_get(r->pool->kv, KV_META, key, strlen(key), &val) == 0 && val.len == 8 &&
	    get_le64(val.data) > most)
		return 0;
	put_le64(next, most + 1);
	repair_put(r, KV_META, slice_of(key, strlen(key)), slice_of(next, sizeof next));
	return repair_commit(r);
}

static int gather_files(struct packs_repair *pr)
{
	struct repair *r = pr->r;
	int e = repair_files_gather(pr);
	for (size_t i = 0; e == 0 && i < pr->n_files; i++) {
		if (r->opt->progress)
			r->opt->progress(r->opt->arg, "pack files", i, pr->n_files);
		e = scan_file(pr, i);
		if (e == 0 && r->opt->stopped && r->opt->stopped(r->opt->arg))
			e = -EINTR;
	}
	if (pr->n)
		qsort(pr->frames, pr->n, sizeof *pr->frames, lying_order);
	return e;
}

static int mend_all(struct packs_repair *pr)
{
	struct repair *r = pr->r;
	int e = gather_files(pr);
	if (e == 0)
		e = raise_next_chunk(pr);
	if (e == 0)
		e = repair_each(r, KV_CHUNK, "frames", match_row);
	if (e == 0)
		e = choose(pr);
	if (e == 0) /* before rows go: at no time does the index know less */
		e = put_frames(pr);
	for (size_t i = 0; e == 0 && i < pr->n_files; i++)
		e = repair_file_settle(pr, &pr->files[i]);
	if (e == 0)
		e = repair_commit(r);
	if (e == 0)
		e = repair_each(r, KV_CHUNK, "frames", drop_row);
	if (e == 0)
		e = repair_commit(r);
	if (e == 0)
		e = repair_each(r, KV_META, "lost chunks", unmark_lost);
	return e < 0 ? e : forget_lost_log(r);
}

int repair_packs(struct repair *r)
{
	struct packs_repair pr = { .r = r };
	if (!(r->opt->areas & CHECK_AREA_CHUNKS))
		return 0;
	int e = repair_look(r);
	r->packs = &pr;
	if (e == 0)
		e = mend_all(&pr);
	r->packs = NULL;
	repair_files_done(&pr);
	free(pr.frames);
	return e;
}

int repair_packs_open(struct pool *pool)
{
	struct packs_options opt = { .kv = pool->kv, .tiers = pool->tiers };
	memcpy(opt.pool_uuid, pool->super.uuid, sizeof opt.pool_uuid);
	CLEANUP_CLOSE int fd = openat(pool->dirfd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	opt.dirfd = fd;
	packs_close(TAKE_PTR(pool->packs));
	return fd < 0 ? -errno : packs_open(&opt, &pool->packs);
}

int repair_seal(struct repair *r)
{
	if (!(r->opt->areas & CHECK_AREA_CHUNKS))
		return 0;
	int e = repair_packs_open(r->pool);
	return e == -EUCLEAN || e == -EIO ? 0 : e; /* the check that follows says what is left */
}
