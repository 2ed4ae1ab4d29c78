// SPDX-License-Identifier: MIT
/* What lies beside the index: staging files, pack files that no row names; and the numbers that the
 * index will give out next. */
#include "check_impl.h"
#include "cleanup.h"
#include "owners.h"
#include "pack_stray.h"
#include "packer.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int open_staged(struct check *k, uint64_t ino, uint64_t gen)
{
	char name[64];
	snprintf(name, sizeof name, "staging/%" PRIx64 ".%" PRIx64, ino, gen);
	int fd = openat(k->pool->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int add_unstaged(struct check *k, const struct inode_row *row, int err)
{
	if (k->n_unstaged == k->cap_unstaged) {
		size_t cap = k->cap_unstaged ? k->cap_unstaged * 2 : 64;
		struct check_staged *v = realloc(k->unstaged, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		k->unstaged = v;
		k->cap_unstaged = cap;
	}
	k->unstaged[k->n_unstaged++] = (struct check_staged){ row->ino, row->staging_gen, err };
	return 0;
}

static int take_staged(struct check *k, struct slice key, struct slice val)
{
	struct inode_row row;
	if (key.len != 8 || inode_row_decode(get_be64(key.at), val, &row) < 0 || !row.staging_gen)
		return 0;
	CLEANUP_CLOSE int fd = open_staged(k, row.ino, row.staging_gen);
	return fd < 0 ? add_unstaged(k, &row, fd) : 0;
}

/* Rows come by inode number, and so do owners. */
static int tell_unstaged(struct check *k)
{
	struct owner *owners = NULL;
	size_t n = 0, at = 0;
	CLEANUP_FREE uint64_t *inos = calloc(k->n_unstaged + 1, sizeof *inos);
	if (!inos)
		return -ENOMEM;
	for (size_t i = 0; i < k->n_unstaged; i++)
		inos[i] = k->unstaged[i].ino;
	int r = k->n_unstaged ? owners_find(k->pool->kv, NULL, 0, inos, k->n_unstaged, &owners, &n)
			      : 0;
	for (size_t i = 0; r == 0 && i < k->n_unstaged; i++) {
		const struct check_staged *s = &k->unstaged[i];
		while (at < n && owners[at].ino < s->ino)
			at++;
		const char *path = at < n && owners[at].ino == s->ino ? owners[at].path : NULL;
		check_error_beside(k,
				   "%s (inode %lu): its staging file %lx.%lx %s%s; in it was what "
				   "had not been stored in packs yet",
				   path ? path : "a file without a name", s->ino, s->ino, s->gen,
				   s->err == -ENOENT ? "is missing" : "cannot be opened: ",
				   s->err == -ENOENT ? "" : strerror(-s->err));
	}
	owners_free(owners, n);
	return r;
}

/* Names that no inode knows are removed at the next mount. */
static void look_at_staging_name(struct check *k, const char *name)
{
	struct inode_row row;
	uint64_t ino, gen;
	int len = 0;
	if (sscanf(name, "%" SCNx64 ".%" SCNx64 "%n", &ino, &gen, &len) != 2 || name[len]) {
		check_note(k, "staging/%.80s is no file of foldfs", name);
		return;
	}
	if (inode_row_get(k->pool->kv, ino, &row) < 0 || row.staging_gen != gen)
		check_note(k, "staging/%s belongs to no inode: the next mount removes it", name);
}

static void each_name(struct check *k, const char *dir,
		      void (*fn)(struct check *k, const char *name))
{
	int fd = openat(k->pool->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		check_error(k, "the pool's directory %s cannot be read: %s", dir, strerror(errno));
		return;
	}
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			fn(k, e->d_name);
}

static void look_at_stray(struct check *k, const char *name, uint64_t pack)
{
	struct stray_index index;
	const char *why;
	if (stray_index_init(&index, k->pool->packs) < 0)
		return;
	switch (pack_stray_fate(&index, pack, &why)) {
	case STRAY_FOREIGN:
		check_note(k, "packs/%s is not of this pool: it is left alone", name);
		break;
	case STRAY_KNOWN:
		check_note(k, "packs/%s is known to no row: the next mount takes it in", name);
		break;
	case STRAY_GOES:
		k->res.strays++;
		check_note(
			k,
			"packs/%s was written before a crash, and nothing refers to it: the next "
			"mount removes it",
			name);
		break;
	case STRAY_STAYS:
		k->res.unknown++;
		check_note(k,
			   "packs/%s is known to no row of the index, and left alone, as %s: put "
			   "that right, or have fsck.foldfs -y take it in",
			   name, why);
	}
}

static void look_at_pack_name(struct check *k, const char *name)
{
	struct pack_row row;
	uint64_t id;
	int len = 0;
	if (sscanf(name, "dump-%16" SCNx64 "%n", &id, &len) == 1 && len == 21 && !name[len])
		return; /* the index's, which only a restore reads */
	if (sscanf(name, "%16" SCNx64 ".pack%n", &id, &len) != 1 || len != 21 || name[len])
		check_note(k, "packs/%.80s is no file of foldfs", name);
	else if (pack_get(k->pool->kv, id, &row) == -ENOENT)
		look_at_stray(k, name, id);
}

int check_staging(struct check *k)
{
	int r = check_each(k, KV_INODE, "staging files", take_staged);
	if (r == 0)
		r = tell_unstaged(k);
	if (r == 0) {
		each_name(k, "staging", look_at_staging_name);
		each_name(k, "packs", look_at_pack_name);
	}
	return r;
}

/* The next number of a sequence must be beyond all that are in use. */
static void check_sequence(struct check *k, const char *key, uint64_t used, const char *what)
{
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(k->pool->kv, KV_META, key, strlen(key), &val);
	uint64_t next = r == 0 && val.len == 8 ? get_le64(val.data) : 0;
	if (r == -EUCLEAN || (r == 0 && val.len != 8))
		check_error_safe(k, "the row that keeps the next %s number is damaged", what);
	else if (next <= used && used)
		check_error_safe(k, "the next %s number would be %lu, but %lu is in use", what,
				 next, used);
}

/* The next chunk's id follows from the rows of frames, and from a row when the last were deleted. */
static void check_next_chunk(struct check *k)
{
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(k->pool->kv, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), &val);
	uint64_t next = r == 0 && val.len == 8 ? get_le64(val.data) : 0;
	next = next > k->chunk_end ? next : k->chunk_end;
	if (r == -EUCLEAN || (r == 0 && val.len != 8))
		check_error_safe(k, "the row that keeps the next chunk number is damaged");
	else if (next <= k->max_chunk)
		check_error_safe(k, "the next chunk number would be %lu, but %lu is in use", next,
				 k->max_chunk);
}

int check_ids(struct check *k)
{
	CLEANUP_BUF struct buf seed = { 0 };
	uint64_t segment = k->n_segments ? k->segments[k->n_segments - 1].id : 0;
	uint64_t ino = k->max_ino >= INO_FIRST ? k->max_ino : 0;
	check_sequence(k, META_IDS_PREFIX "next_inode", ino, "inode");
	check_sequence(k, META_IDS_PREFIX "next_staging", k->max_gen, "staging");
	check_sequence(k, META_IDS_PREFIX "segment", segment, "segment");
	check_sequence(k, META_IDS_PREFIX "pack", k->max_pack, "pack");
	check_next_chunk(k);
	int r = kv_get(k->pool->kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), &seed);
	if (r == -EUCLEAN || (r == 0 && seed.len != 8))
		check_error_safe(k, "the row with the seed of names is damaged");
	else if (r == -ENOENT && k->pool->super.dirent_seed)
		check_error_safe(k, "the row with the seed of names is missing");
	else if (r == 0 && get_le64(seed.data) != k->pool->super.dirent_seed)
		check_error(k, "the index and the superblock have different seeds for names");
	return 0;
}
