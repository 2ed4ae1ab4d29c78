// SPDX-License-Identifier: MIT
/* What packs take of the disk, and giving back parts of them.
 *
 * Trimming makes holes of the whole blocks between the frames that are kept. Blocks that a kept frame
 * has part of stay, so nothing is ever rewritten, no room is needed, and what a crash leaves is the
 * old bytes or a hole, block by block. A frame given back may so keep its head, and even be whole: it
 * has no row, and who makes rows from packs (repair_packs.c) looks for holes first.
 *
 * Packs with holes are few, mostly none: a list of them says by how much files are longer than what
 * they take. It serves statistics only.
 */
#include "pack_set.h"
#include "fault.h"
#include "tiers.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define BLOCK_MIN 4096u
#define HOLE_MIN 65536u /* less than this may be the filesystem's way of counting */

int packs_avail(struct packs *p, uint64_t *ret_bytes)
{
	struct statvfs vfs;
	int r = fault_hit("packs_avail"); /* a test's full disk */
	if (r == 0 && fstatvfs(p->opt.dirfd, &vfs))
		r = -errno;
	if (r == 0)
		*ret_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	return r;
}

int packs_disk(struct packs *p, uint64_t *ret_total, uint64_t *ret_used)
{
	struct statvfs vfs;
	if (fstatvfs(p->opt.dirfd, &vfs))
		return -errno;
	*ret_total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	*ret_used = (uint64_t)(vfs.f_blocks - vfs.f_bavail) * vfs.f_frsize;
	return 0;
}

static uint64_t allocated(const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512;
	return blocks < size ? blocks : size;
}

static bool is_elsewhere(struct packs *p, uint64_t pack, struct pack_row *ret_row)
{
	return tiers_any(p->opt.tiers) && pack_get(p->opt.kv, pack, ret_row) == 0 && ret_row->tier;
}

int pack_allocated(struct packs *p, uint64_t pack, uint64_t *ret_bytes)
{
	char name[PACK_NAME_MAX];
	struct pack_row row;
	struct stat st;
	if (is_elsewhere(p, pack, &row)) {
		*ret_bytes = row.bytes;
		return 0;
	}
	pack_name(pack, name);
	if (fstatat(p->opt.dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	*ret_bytes = allocated(&st);
	return 0;
}

void packs_note_holes_locked(struct packs *p, uint64_t pack, uint64_t bytes)
{
	size_t i = 0;
	while (i < p->n_holes && p->holes[i].pack != pack)
		i++;
	if (i == p->n_holes) {
		struct pack_hole *grown = bytes ? realloc(p->holes, (i + 1) * sizeof *grown) : NULL;
		if (!grown)
			return;
		p->holes = grown;
		p->holes[p->n_holes++] = (struct pack_hole){ .pack = pack };
	}
	p->hole_bytes += bytes - p->holes[i].bytes;
	p->holes[i].bytes = bytes;
	if (!bytes)
		p->holes[i] = p->holes[--p->n_holes];
}

uint64_t pack_holes(const struct stat *st)
{
	uint64_t bytes = (uint64_t)st->st_size - allocated(st);
	return bytes < HOLE_MIN ? 0 : bytes;
}

void packs_bytes(struct packs *p, uint64_t *ret_bytes, uint64_t *ret_packs)
{
	SCOPED_LOCK(&p->lock);
	*ret_bytes = p->bytes - p->hole_bytes;
	*ret_packs = p->count;
}

/* Makes a hole of the whole blocks of [from, to), unless there is one. */
static int punch(int fd, uint64_t from, uint64_t to, uint64_t block)
{
	from = (from + block - 1) / block * block;
	to = to / block * block;
	if (from >= to)
		return 0;
	off_t data = lseek(fd, (off_t)from, SEEK_DATA);
	if ((data < 0 && errno == ENXIO) || data >= (off_t)to)
		return 0;
	int r = fault_hit("pack_trim");
	if (r == 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
				(off_t)(to - from)))
		r = -errno;
	return r;
}

static int punch_gaps(int fd, uint64_t block, const struct pack_place *keep, size_t n, uint64_t end)
{
	uint64_t at = sizeof(struct pack_header);
	int r = 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = punch(fd, at, keep[i].offset < end ? keep[i].offset : end, block);
		if (keep[i].offset + keep[i].len > at)
			at = keep[i].offset + keep[i].len;
	}
	return r ? r : punch(fd, at, end, block);
}

int pack_trim(struct packs *p, uint64_t pack, const struct pack_place *keep, size_t n,
	      uint64_t *ret_bytes)
{
	CLEANUP_FREE struct footer_entry *entries = NULL;
	char name[PACK_NAME_MAX];
	struct stat before, after;
	size_t frames;
	uint64_t end;
	struct pack_row row;
	*ret_bytes = 0;
	if (is_elsewhere(p, pack, &row))
		return 0;
	pack_name(pack, name);
	CLEANUP_CLOSE int fd = openat(p->opt.dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &before))
		return -errno;
	int r = pack_header_check(fd, pack, p->opt.pool_uuid); /* nobody else's file is cut */
	if (r == 0)
		r = pack_footer_read(fd, pack, &entries, &frames, &end);
	if (r < 0)
		return r == -ENOENT ? -EUCLEAN : r;
	uint64_t block = before.st_blksize > BLOCK_MIN ? (uint64_t)before.st_blksize : BLOCK_MIN;
	r = punch_gaps(fd, block, keep, n, end);
	if (fstat(fd, &after))
		return r ? r : -errno;
	if (after.st_blocks < before.st_blocks)
		*ret_bytes = (uint64_t)(before.st_blocks - after.st_blocks) * 512;
	SCOPED_LOCK(&p->lock);
	packs_note_holes_locked(p, pack, pack_holes(&after));
	return r;
}
