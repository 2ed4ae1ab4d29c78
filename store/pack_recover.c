// SPDX-License-Identifier: MIT
/* At open: files and rows are brought together.
 *
 *   row      file            becomes
 *   sealed   there           as it is; shorter than its row says: -EUCLEAN, if it is not in a tier
 *   sealed   missing         -EUCLEAN
 *   open     there           sealed with the frames up to the last known chunk id, or removed when
 *                            there is none; shorter than an indexed frame: -EUCLEAN
 *   open     missing         removed when no row of a frame names it, else -EUCLEAN
 *   doomed   any             both removed
 *   none     there           as open; removed only when the index lacks nothing (pack_stray.h)
 *
 * Where tiers are declared, a move that was interrupted may have left a pack twice (pack_move.c). The row
 * says which counts; the others are removed, once that one has been seen whole (those in tiers at the
 * end, with what nothing refers to, pack_leftover.h). If it is not there, a
 * whole copy in another place that is takes its part. A tier that is absent leaves all as it is.
 *
 * Chunk ids are given out in the order their rows are committed, so a frame with ids beyond
 * the last one that the index knows of (a row's, or below PACKER_NEXT_KEY) lost its row to the crash
 * and its ids will be given again: it is left out of the footer, and cut off when nothing to be kept
 * follows. (A file without a row has frames to keep when gc or healing filled it, whose chunks are known;
 * the reservation of the pack's own number is then lost as well.) The rows that say "sealed" precede
 * everything that is committed later, so the ids are not given again before that is settled.
 *
 * An open pack of which a part cannot be read (-EIO) is sealed with what was read and what rows name, and
 * nothing of it is cut off: one bad sector in the last pack must not keep the pool from being mounted.
 *
 * A file is removed only after the index durably has nothing on it (open), or before the row goes
 * (doomed): a missing file is then never mistaken for damage. Reading only, damage is logged and
 * passed over: what a row finds missing fails when it is read, and repair tools can look around.
 */
#include "pack_set.h"
#include "clock.h"
#include "log.h"
#include "pack_copies.h"
#include "pack_leftover.h"
#include "pack_stray.h"
#include "pack_version.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

/* Frames get their ids before their places: the first frame of a pack need not have the lowest ids.
 * The writers at work at once, each with a full frame, bound by how much. */
#define ID_SLACK (128u * FRAME_CHUNKS_MAX)

struct found {
	struct pack_row row; /* state 0: a file without one */
	uint64_t size, holes;
	uint64_t indexed_end; /* of the last frame that a row names, for open ones */
	bool file;
};

struct recovery {
	struct packs *p;
	struct found *v;
	size_t n, cap;
	struct stray_index index;
	struct kv_batch *batch;
	struct pack_copies copies;
	uint64_t *unlink; /* once the batch is durable */
	size_t unlinks;
	uint64_t *stray; /* files without a row, to be unlinked */
	size_t strays;
};

static struct found *found_add(struct recovery *rec, const struct pack_row *row)
{
	if (rec->n == rec->cap) {
		size_t cap = rec->cap ? rec->cap * 2 : 256;
		struct found *v = realloc(rec->v, cap * sizeof *v);
		if (!v)
			return NULL;
		rec->v = v;
		rec->cap = cap;
	}
	rec->v[rec->n] = (struct found){ .row = *row };
	return &rec->v[rec->n++];
}

static int found_order(const void *a, const void *b)
{
	uint64_t x = ((const struct found *)a)->row.id, y = ((const struct found *)b)->row.id;
	return (x > y) - (x < y);
}

static struct found *found_get(struct recovery *rec, size_t n, uint64_t pack)
{
	struct found key = { .row.id = pack };
	return n ? bsearch(&key, rec->v, n, sizeof key, found_order) : NULL;
}

static int add_row(void *arg, const struct pack_row *row)
{
	return found_add(arg, row) ? 0 : -ENOMEM;
}

static int add_files(struct recovery *rec)
{
	size_t rows = rec->n;
	int fd = openat(rec->p->opt.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return -errno;
	for (;;) {
		struct stat st;
		errno = 0;
		struct dirent *e = readdir(dir);
		if (!e)
			return -errno;
		uint64_t pack = pack_of_name(e->d_name);
		if (!pack)
			continue;
		if (fstatat(rec->p->opt.dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
		struct found *f = found_get(rec, rows, pack);
		if (!f)
			f = found_add(rec, &(struct pack_row){ .id = pack });
		if (!f)
			return -ENOMEM;
		f->file = S_ISREG(st.st_mode);
		f->size = (uint64_t)st.st_size;
		f->holes = f->file ? pack_holes(&st) : 0;
	}
}

/* What rows of frames say of the packs that were open. */
static int find_indexed_ends(struct recovery *rec)
{
	uint64_t from = UINT64_MAX;
	for (size_t i = 0; i < rec->n; i++)
		if (rec->v[i].row.state == PACK_OPEN && rec->v[i].row.first_chunk < from)
			from = rec->v[i].row.first_chunk;
	if (from == UINT64_MAX)
		return 0;
	uint8_t key[10] = { 0 };
	put_be64(key, from > ID_SLACK ? from - ID_SLACK : 0);
	struct kv_iter *it = kv_iter_new(rec->p->opt.kv, KV_CHUNK, key, sizeof key, false);
	if (!it)
		return -ENOMEM;
	struct slice k, v;
	int r;
	while ((r = kv_iter_next(it, &k, &v)) > 0 || r == -EUCLEAN) {
		struct frame_row row;
		if (r < 0 || frame_decode_row(k, v, &row) < 0)
			continue; /* the next reader of that chunk is told */
		struct found *f = found_get(rec, rec->n, row.pack);
		if (f && row.offset + row.stored_len > f->indexed_end)
			f->indexed_end = row.offset + row.stored_len;
		frame_row_done(&row);
	}
	kv_iter_free(it);
	return r;
}

static bool is_kept(const struct pack_kept *k, uint64_t offset)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].offset == offset)
			return true;
	return false;
}

static int keep_row(struct pack_kept *k, const struct frame_row *row)
{
	struct chunk_entry chunk = { .id = row->chunks[0].id };
	struct frame_head head = { .entries = &chunk, .stored_len = row->stored_len };
	head.h.chunks = 1;
	head.h.decoded_len = row->decoded_len;
	uint64_t last = row->chunks[row->n - 1].id;
	int r = is_kept(k, row->offset) ? 0 : pack_keep_frame(k, row->offset, &head);
	k->last_chunk = last > k->last_chunk ? last : k->last_chunk;
	return r;
}

/* The device refuses to give a part of the pack. What rows name is in it all the same: they refer only to
 * what was synced. Nothing is cut off. */
static int keep_indexed(struct recovery *rec, const struct found *f, struct pack_kept *k)
{
	struct slice key, val;
	int r;
	struct kv_iter *it = kv_iter_new(rec->p->opt.kv, KV_CHUNK, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || (r == -EUCLEAN && key.len)) {
		struct frame_row row;
		if (r < 0 || (r = frame_decode_row(key, val, &row)) == -EUCLEAN)
			continue;
		if (r == 0) {
			r = row.pack == f->row.id ? keep_row(k, &row) : 0;
			frame_row_done(&row);
		}
		if (r < 0)
			break;
	}
	kv_iter_free(it);
	k->end = f->size;
	if (r == 0)
		log_error("pack %016" PRIx64 " cannot be read in part: it is sealed with what the "
			  "index has of it",
			  f->row.id);
	return r;
}

static int write_footer(struct found *f, int fd, struct pack_kept *k)
{
	if (ftruncate(fd, (off_t)k->end)) /* first: it makes room for the footer on a full disk */
		return -errno;
	int r = pack_footer_write(fd, f->row.id, k->end, k->v, k->n, k->last_chunk, &f->size);
	return r < 0 ? r : io_fdatasync(fd);
}

static void drop(struct recovery *rec, struct found *f)
{
	f->file = false;
	if (!f->row.state) {
		rec->stray[rec->strays++] = f->row.id;
		return;
	}
	pack_delete(rec->batch, f->row.id);
	rec->unlink[rec->unlinks++] = f->row.id;
}

static int damaged(struct recovery *rec, const struct found *f, const char *what)
{
	log_error("pack %016" PRIx64 " is damaged: %s (%" PRIu64 " bytes are there)", f->row.id,
		  what, f->size);
	return rec->p->opt.read_only ? 0 : -EUCLEAN;
}

static int seal_left_open(struct recovery *rec, struct found *f)
{
	struct packs *p = rec->p;
	char name[PACK_NAME_MAX];
	struct pack_kept k = { .limit = rec->index.last_chunk };
	const char *needed = NULL;
	uint64_t end;
	pack_name(f->row.id, name);
	CLEANUP_CLOSE int fd = openat(p->opt.dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (pack_is_newer(fd))
		return -EPROTONOSUPPORT;
	if (f->row.state && pack_is_foreign(fd, p->opt.pool_uuid))
		return damaged(rec, f, "its file is that of another pool");
	int r = pack_scan_fd(fd, f->row.id, 0, pack_keep_frame, &k, &end);
	if (r == -EUCLEAN) /* damage within a footer's pack: what is left is kept */
		r = 0;
	if (r == -EIO && f->row.state)
		r = keep_indexed(rec, f, &k);
	if (k.end < f->indexed_end)
		k.end = f->indexed_end; /* damaged, but not ours to cut */
	bool foreign = !f->row.state && end > sizeof(struct pack_header) &&
		       pack_header_check(fd, f->row.id, p->opt.pool_uuid) < 0;
	if (r == 0 && !foreign && !k.end && !f->row.state)
		needed = pack_stray_needed(&rec->index, fd, f->row.id);
	if (r == 0 && foreign) {
		log_warn("packs/%s is not of this pool: left alone", name);
	} else if (r == 0 && needed && rec->index.damaged) {
		r = damaged(rec, f, needed);
	} else if (r == 0 && needed) {
		log_warn("packs/%s is known to no row of the index, and left alone, as %s: "
			 "put that right, or have fsck.foldfs -y take it in",
			 name, needed);
	} else if (r == 0 && !k.end) {
		drop(rec, f);
	} else if (r == 0) {
		r = write_footer(f, fd, &k);
		if (r == -ENOSPC || r == -EDQUOT) {
			log_warn("pack %s stays unsealed: %s", name, strerror(-r));
			f->size = k.end;
			r = 0;
		} else if (r == 0 && (r = ids_take(p->ids, f->row.id)) == 0) {
			int64_t now = clock_wall_ns() / 1000000000;
			f->row.state = PACK_SEALED;
			f->row.bytes = f->size;
			f->row.first_chunk = k.first_chunk;
			f->row.created = f->row.created ? f->row.created : now;
			pack_put(rec->batch, &f->row);
		}
	}
	free(k.v);
	return r;
}

static void change_tier(struct recovery *rec, struct found *f, uint8_t tier)
{
	log_warn("pack %016" PRIx64 " is not where it was, and has been found whole in tier %u",
		 f->row.id, tier);
	f->row.tier = tier;
	pack_put(rec->batch, &f->row);
}

static int settle_sealed(struct recovery *rec, struct found *f)
{
	const struct pack_copies *c = &rec->copies;
	bool ro = rec->p->opt.read_only, whole = f->file && f->size >= f->row.bytes;
	uint64_t id = f->row.id, bytes = f->row.bytes;
	const struct pack_copy *other = pack_copies_find(c, id, TIER_HOT, bytes);
	if (f->row.tier && (f->row.tier >= TIERS_MAX || !c->listed[f->row.tier]))
		return 0; /* absent */
	if (f->row.tier && pack_copies_find(c, id, f->row.tier, bytes) &&
	    !(f->file && pack_copy_is_foreign(tiers_place(c->tiers, f->row.tier), id,
					      rec->p->opt.pool_uuid))) {
		int r = ro || !f->file ? 0 : pack_unlink(rec->p, id);
		f->file = f->file && (ro || r < 0);
		return r;
	}
	if (whole && !f->row.tier)
		return 0;
	if (!whole && other &&
	    pack_copy_is_foreign(tiers_place(c->tiers, other->tier), id, rec->p->opt.pool_uuid))
		other = NULL;
	if (!ro && (whole || other)) {
		change_tier(rec, f, whole ? TIER_HOT : other->tier);
		return 0;
	}
	bool there = f->row.tier ? pack_copies_find(c, id, f->row.tier, 0) != NULL : f->file;
	/* in a tier only reading has to do with it, and what cannot be read is said then */
	if (f->row.tier && there) {
		log_error("pack %016" PRIx64 " in tier %u is shorter than it was", id, f->row.tier);
		return 0;
	}
	return damaged(rec, f, there ? "it is shorter than it was" : "its file is missing");
}

static int settle_doomed(struct recovery *rec, struct found *f)
{
	int r = rec->p->opt.read_only ? 0 : pack_remove(rec->p, &f->row);
	if (r == -ENOMEDIUM)
		return 0; /* when it is back */
	if (r == 0 && !rec->p->opt.read_only)
		r = pack_copies_remove(&rec->copies, f->row.id, TIER_HOT);
	if (r == 0 && !rec->p->opt.read_only)
		pack_delete(rec->batch, f->row.id);
	f->file = false;
	return r;
}

static int settle(struct recovery *rec, struct found *f)
{
	if (f->row.state == PACK_SEALED)
		return settle_sealed(rec, f);
	if (f->row.state == PACK_DOOMED)
		return settle_doomed(rec, f);
	if (f->indexed_end > (f->file ? f->size : 0))
		return damaged(rec, f,
			       f->file ? "it ends before its last frame" : "its file is missing");
	if (rec->p->opt.read_only)
		return 0;
	if (!f->file) {
		pack_delete(rec->batch, f->row.id);
		return 0;
	}
	return seal_left_open(rec, f);
}

static int settle_all(struct recovery *rec)
{
	int first_error = 0;
	for (size_t i = 0; i < rec->n; i++) {
		struct found *f = &rec->v[i];
		int r = settle(rec, f);
		if (r < 0 && r != -EUCLEAN)
			log_error("pack %016" PRIx64 ": %s", f->row.id, strerror(-r));
		first_error = first_error ? first_error : r;
		rec->p->count += f->file;
		rec->p->bytes += f->file ? f->size : 0;
		if (f->file && f->row.state == PACK_SEALED)
			packs_note_holes_locked(rec->p, f->row.id, f->holes);
	}
	return first_error;
}

/* Nothing on the disk says a word about these, so no batch needs to be durable before. */
static void unlink_strays(struct recovery *rec)
{
	for (size_t i = 0; i < rec->strays; i++) {
		int r = pack_unlink(rec->p, rec->stray[i]);
		if (r < 0)
			log_warn("pack %016" PRIx64 ", of which the index knows nothing, could not "
				 "be removed: %s",
				 rec->stray[i], strerror(-r));
	}
}

static int finish(struct recovery *rec)
{
	struct packs *p = rec->p;
	uint64_t lsn = 0;
	int r = 0;
	if (p->opt.read_only)
		return 0;
	unlink_strays(rec); /* first: on a full disk it makes room for the rest */
	if (kv_batch_empty(rec->batch))
		return 0;
	p->names_dirty = true;
	r = pack_sync(p); /* files that had no row, and names that are gone */
	if (r == 0)
		r = kv_commit(p->opt.kv, TAKE_PTR(rec->batch), &lsn);
	if (r == 0 && rec->unlinks)
		r = kv_sync(p->opt.kv, lsn);
	for (size_t i = 0; r == 0 && i < rec->unlinks; i++)
		r = pack_unlink(p, rec->unlink[i]);
	return r;
}

int packs_recover(struct packs *p)
{
	struct recovery rec = { .p = p, .batch = kv_batch_new() };
	int r = rec.batch ? packs_each(p, add_row, &rec) : -ENOMEM;
	if (r == -EUCLEAN) {
		log_error("the index has damaged rows of packs");
		r = p->opt.read_only ? 0 : r;
	}
	if (r == 0)
		r = stray_index_init(&rec.index, p);
	if (r == 0) /* rows come in key order: sorted */
		r = add_files(&rec);
	if (r == 0)
		r = pack_copies_list(p->opt.tiers, !p->opt.read_only, &rec.copies);
	if (rec.n)
		qsort(rec.v, rec.n, sizeof *rec.v, found_order);
	if (r == 0)
		r = find_indexed_ends(&rec);
	rec.unlink = calloc(rec.n + 1, sizeof *rec.unlink);
	rec.stray = calloc(rec.n + 1, sizeof *rec.stray);
	if (!rec.unlink || !rec.stray)
		r = -ENOMEM;
	if (r == 0)
		r = settle_all(&rec);
	if (r == 0)
		r = finish(&rec);
	for (unsigned i = TIER_HOT + 1; r == 0 && i < TIERS_MAX; i++)
		if (rec.copies.listed[i])
			pack_leftover_remove(p, i);
	kv_batch_free(rec.batch);
	pack_copies_done(&rec.copies);
	free(rec.unlink);
	free(rec.stray);
	free(rec.v);
	return r;
}
