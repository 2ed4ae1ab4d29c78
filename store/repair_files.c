// SPDX-License-Identifier: MIT
/* A file is mended where it lies: in the pool itself, or in the place of a tier, if that is a directory
 * and can be written to. Elsewhere rows alone are made right: what cannot be read of such a file is lost
 * from then on, and `fsck.foldfs -y -f` finds it again when the file has been put right by hand.
 *
 *   there                                        becomes
 *   the header says another pack                 gets that name, or exchanges it with who has it
 *   the header is damaged                        a new one
 *   shorter than it was, or without a footer     in the pool itself its row says "open": a new footer at
 *                                                the next opening; in a tier a new footer at once
 *   nothing in it can be used                    put aside, and its row goes
 *   no row, but frames                           a row
 *   in another place than its row says           the row says so
 *
 * What the device or the system refuses to read is no damage that was seen: rows of such a pack stay, as
 * far as its file is long enough for them, and so does the file, until it can be read.
 *
 * Objects of buckets are judged by their length, and fetched only where that does not do: those without
 * a row, and those that lie elsewhere, too. Of a pack that lies twice, as a move may leave it, the copy
 * with the most sound frames counts, and of equals the one that its row names. The next mount removes
 * the other one.
 */
#include "repair_files.h"
#include "aside.h"
#include "cleanup.h"
#include "clock.h"
#include "fault.h"
#include "io.h"
#include "pack.h"
#include "pack_copy.h"
#include "pack_fds.h"
#include "pack_scan.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PATH_TEXT_MAX 512u

static struct tiers *tiers_of(const struct packs_repair *pr)
{
	return pr->r->pool->tiers;
}

struct file *repair_file_find(const struct packs_repair *pr, uint64_t id)
{
	size_t lo = 0, hi = pr->n_files;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (pr->files[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < pr->n_files && pr->files[lo].id == id ? &pr->files[lo] : NULL;
}

static struct file *add_file(struct packs_repair *pr, uint64_t id, unsigned tier)
{
	if (pr->n_files == pr->cap_files) {
		size_t cap = pr->cap_files ? pr->cap_files * 2 : 64;
		struct file *v = realloc(pr->files, cap * sizeof *v);
		if (!v)
			return NULL;
		pr->files = v;
		pr->cap_files = cap;
	}
	pr->files[pr->n_files] = (struct file){ .id = id, .tier = (uint8_t)tier, .fd = -1 };
	return &pr->files[pr->n_files++];
}

void repair_files_done(struct packs_repair *pr)
{
	for (size_t i = 0; i < pr->n_files; i++)
		if (pr->files[i].fd >= 0)
			close(pr->files[i].fd);
	free(pr->files);
}

static int file_order(const void *a, const void *b)
{
	const struct file *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (int)x->tier - (int)y->tier;
}

static int open_in(const struct packs_repair *pr, unsigned tier, uint64_t id, int flags)
{
	char name[PACK_NAME_MAX];
	pack_name(id, name);
	int e = fault_hit("repair_open");
	if (e < 0)
		return e;
	int dirfd = tiers_dirfd(tiers_of(pr), tier);
	int fd = dirfd < 0 ? dirfd : openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 || dirfd < 0 ? fd : -errno;
}

static int open_file(const struct packs_repair *pr, const struct file *f, int flags)
{
	int fd = f->fd >= 0 ? fcntl(f->fd, F_DUPFD_CLOEXEC, 0) : 0;
	if (f->fd < 0)
		return open_in(pr, f->tier, f->id, flags);
	return fd < 0 ? -errno : fd;
}

int repair_file_open(const struct packs_repair *pr, uint64_t id)
{
	const struct file *f = repair_file_find(pr, id);
	return f ? open_file(pr, f, O_RDONLY) : -ENOENT;
}

/* As people find it: packs/NAME, or in the tier's directory. */
static void path_of(const struct packs_repair *pr, unsigned tier, const char *name,
		    char out[PATH_TEXT_MAX])
{
	struct tier_info info = { .where = "packs" };
	if (tier)
		tiers_get(tiers_of(pr), tier, &info);
	snprintf(out, PATH_TEXT_MAX, "%s/%s", info.where, name);
}

/* ---- names ---- */

/* Which pack of this pool the file is by its header; 0: it cannot be told. */
static uint64_t named_by_header(const struct packs_repair *pr, unsigned tier, uint64_t id,
				int64_t *ret_created)
{
	struct pack_header h;
	CLEANUP_CLOSE int fd = open_in(pr, tier, id, O_RDONLY);
	if (fd < 0 || io_read_exact(fd, &h, sizeof h, 0) < 0 || h.magic != PACK_MAGIC ||
	    h.sum != checksum64(&h, offsetof(struct pack_header, sum)) ||
	    memcmp(h.pool_uuid, pr->r->pool->super.uuid, sizeof h.pool_uuid))
		return 0;
	*ret_created = (int64_t)h.created;
	return h.pack;
}

/* A file whose header says another name gets that name, or exchanges it with the file that has it. */
static int mend_file_name(struct packs_repair *pr, unsigned tier, uint64_t id)
{
	char from[PACK_NAME_MAX], to[PACK_NAME_MAX], path[PATH_TEXT_MAX];
	int dirfd = tiers_dirfd(tiers_of(pr), tier);
	int64_t created;
	uint64_t says = named_by_header(pr, tier, id, &created);
	if (!says || says == id || named_by_header(pr, tier, says, &created) == says)
		return 0;
	pack_name(id, from);
	pack_name(says, to);
	bool taken = faccessat(dirfd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (renameat2(dirfd, from, dirfd, to, taken ? RENAME_EXCHANGE : RENAME_NOREPLACE))
		return tier ? 0 : -errno; /* take_file() sees that it still has it */
	path_of(pr, tier, from, path);
	repair_say(pr->r, "%s was %s, and has its name again", path, to);
	return io_fsync_dir(dirfd);
}

static int each_name_in(struct packs_repair *pr, unsigned tier,
			int (*fn)(struct packs_repair *pr, unsigned tier, uint64_t id))
{
	int fd = openat(tiers_dirfd(tiers_of(pr), tier), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int e = d ? 0 : -errno, more = 0;
	while (e == 0 && (more = io_next_entry(d, &entry)) > 0) {
		uint64_t id = pack_of_name(entry->d_name);
		e = id ? fn(pr, tier, id) : 0;
	}
	return e ? e : more;
}

/* ---- what lies where ---- */

/* Another pool's is left alone, as if it were not there: nothing in it is ours, whatever it says. */
static int take_file(struct packs_repair *pr, unsigned tier, uint64_t id)
{
	struct stat st;
	int64_t created = 0;
	CLEANUP_CLOSE int fd = open_in(pr, tier, id, O_RDONLY);
	if (fd >= 0 && pack_is_foreign(fd, pr->r->pool->super.uuid))
		return 0;
	struct file *f = add_file(pr, id, tier);
	if (!f)
		return -ENOMEM;
	uint64_t says = named_by_header(pr, tier, id, &created);
	int e = fd < 0 ? fd : fstat(fd, &st) ? -errno : 0;
	f->unread = e < 0 && e != -ENOENT && e != -ELOOP;
	f->there = e == 0 && S_ISREG(st.st_mode);
	f->size = f->there ? (uint64_t)st.st_size : 0;
	f->holes = f->there && st.st_blocks * 512 < st.st_size;
	f->header = says == id;
	f->created = f->header ? created : 0;
	f->far = says && says != id && !tiers_writable(tiers_of(pr), tier);
	return 0;
}

struct listing {
	struct packs_repair *pr;
	unsigned tier;
};

static int take_object(void *arg, uint64_t id, uint64_t bytes)
{
	struct listing *l = arg;
	struct file *f = add_file(l->pr, id, l->tier);
	if (!f)
		return -ENOMEM;
	f->there = f->header = f->far = true;
	f->size = bytes;
	return 0;
}

static int take_place(struct packs_repair *pr, unsigned tier)
{
	struct place *pl = tiers_place(tiers_of(pr), tier);
	struct listing l = { pr, tier };
	size_t before = pr->n_files;
	int e = 0;
	if (!pl)
		return 0;
	if (tiers_dirfd(tiers_of(pr), tier) < 0) {
		e = pl->ops->list(pl, take_object, &l);
	} else {
		e = each_name_in(pr, tier, mend_file_name);
		if (e == 0)
			e = each_name_in(pr, tier, take_file);
	}
	pr->listed[tier] = e == 0;
	if (e == 0 || e == -ENOMEM || tier == TIER_HOT)
		return e;
	pr->n_files = before; /* it does not answer: that is as if it were absent */
	return 0;
}

/* So that it can be looked into. */
static void fetch(struct packs_repair *pr, struct file *f)
{
	if (!f->far || f->fd >= 0 || tiers_dirfd(tiers_of(pr), f->tier) >= 0)
		return;
	f->fd = pack_copy_open(tiers_of(pr), f->tier, f->id, pr->r->pool->packs_fd);
	f->far = f->fd < 0;
	f->holes = f->header = f->fd >= 0;
}

static int weigh(struct packs_repair *pr, struct file *f, uint64_t *ret_weight)
{
	*ret_weight = 0;
	if (!f->there && !f->unread)
		return 0;
	fetch(pr, f);
	CLEANUP_CLOSE int fd = open_file(pr, f, O_RDONLY);
	return fd < 0 ? fd : pack_copy_weigh(pr->r->pool, fd, f->id, ret_weight);
}

/* Which of n copies of a pack counts. One that could not be weighed may be the better one: then it is the
 * one that the row names, as before. */
static int choose_copy(struct packs_repair *pr, struct file *v, size_t n, size_t *ret_best)
{
	struct pack_row row;
	bool known = pack_get(pr->r->pool->kv, v->id, &row) == 0;
	size_t best = 0, named = n;
	uint64_t most = 0, weight;
	int e = 0;
	for (size_t i = 0; i < n; i++) {
		int r = weigh(pr, &v[i], &weight);
		e = e ? e : r;
		named = known && v[i].tier == row.tier ? i : named;
		if (i == 0 || weight > most || (weight == most && named == i)) {
			most = weight;
			best = i;
		}
	}
	*ret_best = e < 0 && named < n ? named : best;
	return e < 0 && named == n ? e : 0;
}

/* Leaves one of each pack. */
static int choose_copies(struct packs_repair *pr)
{
	size_t kept = 0;
	int e = 0;
	for (size_t i = 0, n; i < pr->n_files; i += n) {
		for (n = 1; i + n < pr->n_files && pr->files[i + n].id == pr->files[i].id;)
			n++;
		size_t best = 0;
		int r = n > 1 && e == 0 ? choose_copy(pr, &pr->files[i], n, &best) : 0;
		e = e ? e : r;
		for (size_t k = 0; k < n; k++)
			if (k != best && pr->files[i + k].fd >= 0)
				close(pr->files[i + k].fd);
		pr->files[kept++] = pr->files[i + best];
	}
	pr->n_files = kept;
	return e;
}

/* ---- rows of packs ---- */

/* What lies in a place that is absent is not judged. */
static bool is_looked_into(const struct packs_repair *pr, const struct pack_row *row)
{
	return row->tier < TIERS_MAX && pr->listed[row->tier];
}

bool repair_file_hides(const struct packs_repair *pr, const struct frame_row *row)
{
	struct pack_row pack;
	const struct file *f = repair_file_find(pr, row->pack);
	bool within = f && row->offset <= f->size && row->stored_len <= f->size - row->offset;
	if (f && f->unread && (within || !f->there))
		return true;
	int r = pack_get(pr->r->pool->kv, row->pack, &pack);
	if (r == -ENOENT || r == -EUCLEAN)
		return false;
	return r < 0 || !is_looked_into(pr, &pack) || (within && f->far);
}

static int match_pack_row(struct repair *r, struct slice key, struct slice val)
{
	struct packs_repair *pr = r->packs;
	struct pack_row row;
	bool sound = val.at && pack_decode_row(key, val, &row) == 0;
	struct file *f = key.len == 8 ? repair_file_find(pr, get_be64(key.at)) : NULL;
	if (sound && f) {
		f->row = row;
	} else if (!sound && !f) { /* with a file, it is written anew */
		repair_delete(r, KV_PACK, key);
		repair_say(r, "a row of a pack was damaged, and is removed");
	} else if (sound && row.state != PACK_DOOMED && is_looked_into(pr, &row)) {
		repair_delete(r, KV_PACK, key);
		repair_say(r, "pack %lu is gone", row.id);
	}
	return 0;
}

int repair_files_gather(struct packs_repair *pr)
{
	int e = 0;
	for (unsigned i = 0; i < TIERS_MAX && e == 0; i++)
		e = take_place(pr, i);
	if (pr->n_files)
		qsort(pr->files, pr->n_files, sizeof *pr->files, file_order);
	int chosen = choose_copies(pr);
	e = e ? e : chosen;
	if (e == 0)
		e = repair_each(pr->r, KV_PACK, "packs", match_pack_row);
	for (size_t i = 0; i < pr->n_files; i++) /* back, or back as a whole */
		if (!pr->files[i].row.state || pr->files[i].size > pr->files[i].row.bytes)
			fetch(pr, &pr->files[i]);
	return e;
}

/* ---- mending ---- */

static bool is_mendable(const struct packs_repair *pr, const struct file *f)
{
	return f->tier == TIER_HOT || tiers_writable(tiers_of(pr), f->tier);
}

/* In a tier what cannot be written leaves the rest to be repaired: the check that follows says so. */
static int excuse(const struct file *f, int e)
{
	return f->tier && e != -ENOMEM ? 0 : e;
}

static int mend_header(struct packs_repair *pr, const struct file *f)
{
	CLEANUP_CLOSE int fd = open_file(pr, f, O_RDWR);
	int e = fd < 0 ? fd : pack_header_write(fd, f->id, pr->r->pool->super.uuid, f->row.created);
	if (e == 0)
		e = io_fdatasync(fd);
	if (e < 0)
		return excuse(f, e);
	repair_say(pr->r, "the header of pack %lu is written anew", f->id);
	return 0;
}

static int mend_footer(struct packs_repair *pr, struct file *f)
{
	struct pack_kept k = { .limit = UINT64_MAX };
	uint64_t end;
	CLEANUP_CLOSE int fd = open_file(pr, f, O_RDWR);
	int e = fd < 0 ? fd : pack_scan_fd(fd, f->id, 0, pack_keep_frame, &k, &end);
	if (e == 0 && ftruncate(fd, (off_t)k.end))
		e = -errno;
	if (e == 0)
		e = pack_footer_write(fd, f->id, k.end, k.v, k.n, k.last_chunk, &f->size);
	if (e == 0)
		e = io_fdatasync(fd);
	free(k.v);
	f->footer = e == 0;
	return excuse(f, e);
}

/* Nothing in it can be used: it is put aside, and is no pack any more. */
static int put_aside(struct packs_repair *pr, const struct file *f)
{
	char name[PACK_NAME_MAX], aside[ASIDE_NAME_MAX], path[PATH_TEXT_MAX];
	int dirfd = tiers_dirfd(tiers_of(pr), f->tier);
	pack_name(f->id, name);
	int e = is_mendable(pr, f) ? aside_move(dirfd, name, aside) : -EROFS;
	if (e < 0 && f->tier == TIER_HOT)
		return e;
	pack_delete(pr->r->batch, f->id);
	pr->r->ops++;
	path_of(pr, f->tier, e < 0 ? name : aside, path);
	if (e < 0)
		repair_say(pr->r,
			   "nothing in pack %lu can be used, so it is given up; its file %s "
			   "cannot be renamed, and stays",
			   f->id, path);
	else
		repair_say(pr->r, "nothing in pack %lu can be used: it is %s now", f->id, path);
	return e < 0 ? 0 : io_fsync_dir(dirfd);
}

static int put_row(struct packs_repair *pr, const struct file *f)
{
	pack_put(pr->r->batch, &f->row);
	pr->r->ops++;
	return 0;
}

/* Nobody has looked into it, or all of it. What it is too short for has lost its rows. */
static int settle_far(struct packs_repair *pr, struct file *f)
{
	char called[TIER_CALLED_MAX];
	if (!f->row.state || (f->size >= f->row.bytes && f->tier == f->row.tier))
		return 0;
	tiers_called(tiers_of(pr), f->tier, called);
	if (f->tier != f->row.tier)
		repair_say(pr->r, "pack %lu was found in %s", f->id, called);
	if (f->size < f->row.bytes)
		repair_say(pr->r, "pack %lu in %s is taken to have %lu bytes, no longer %lu", f->id,
			   called, f->size, f->row.bytes);
	f->row.tier = f->tier;
	f->row.bytes = f->size;
	return put_row(pr, f);
}

/* In a tier there are no open packs. */
static int settle_length(struct packs_repair *pr, struct file *f)
{
	bool known = f->row.state, shorter = f->size < f->row.bytes;
	bool anew = f->tier && !f->footer && f->fd < 0 && is_mendable(pr, f);
	int e = anew ? mend_footer(pr, f) : 0;
	if (e < 0)
		return e;
	if (known && (f->tier ? f->footer && anew : true))
		repair_say(pr->r, "pack %lu gets a new footer", f->id);
	else if (known && shorter)
		repair_say(pr->r, "pack %lu is shorter than it was", f->id);
	f->row.state = f->footer || f->tier ? PACK_SEALED : PACK_OPEN;
	f->row.bytes = f->size;
	return put_row(pr, f);
}

int repair_file_settle(struct packs_repair *pr, struct file *f)
{
	struct pack_row was = f->row;
	bool whole = f->footer && f->size >= was.bytes;
	bool moved = was.state && was.tier != f->tier;
	char called[TIER_CALLED_MAX];
	if (!f->there || was.state == PACK_DOOMED || (!was.state && !f->frames && !f->far) ||
	    (moved && !is_looked_into(pr, &was)))
		return 0;
	if (f->far || f->unread)
		return settle_far(pr, f);
	if (was.state == PACK_SEALED && !f->frames && !whole)
		return put_aside(pr, f);
	if (!was.state) {
		/* created, verified: long ago. A crash may have kept its payload from the disk, and no
		 * copy shall go before its bytes have been compared. */
		f->row = (struct pack_row){ .id = f->id, .first_chunk = f->first_chunk };
		f->row.created = f->tier ? clock_wall_ns() / 1000000000 : 0; /* it needn't move */
		repair_say(pr->r, "pack %lu is known again", f->id);
	}
	f->row.tier = f->tier;
	if (moved) {
		tiers_called(tiers_of(pr), f->tier, called);
		repair_say(pr->r, "pack %lu was found in %s", f->id, called);
	}
	if (f->tier && whole) /* it may have been shorter meanwhile */
		f->row.bytes = f->size;
	if (moved || f->row.bytes != was.bytes)
		put_row(pr, f);
	bool short_row = was.bytes > f->size;
	bool mend = short_row || !f->tier || is_mendable(pr, f);
	int e = 0;
	if (!was.state || ((was.state == PACK_SEALED || f->tier) && !whole && mend))
		e = settle_length(pr, f);
	return e == 0 && !f->header && is_mendable(pr, f) ? mend_header(pr, f) : e;
}
