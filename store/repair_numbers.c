// SPDX-License-Identifier: MIT
/* KV_META: numbers that will be given out next must be beyond all that are in use, and the seed of
 * names is the superblock's. A number that is damaged is set some way beyond what is in use, in case
 * rows that used it are gone, too.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "digests_format.h"
#include "pack_fds.h"
#include "packer.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define MARGIN (1u << 20)

static bool is_key(struct slice key, const char *name)
{
	return key.len == strlen(name) && !memcmp(key.at, name, key.len);
}

static bool begins(struct slice key, const char *name)
{
	return key.len >= strlen(name) && !memcmp(key.at, name, strlen(name));
}

/* Rows with numbers are looked at by name. */
static int mend_meta(struct repair *r, struct slice key, struct slice val)
{
	if (val.at || is_key(key, META_DIRENT_SEED) || is_key(key, PACKER_NEXT_KEY) ||
	    begins(key, META_IDS_PREFIX))
		return 0;
	if (is_key(key, META_DIRENT_COLLIDED) || is_key(key, META_LOG_LOST) ||
	    begins(key, META_LOST_CHUNK)) {
		repair_put(r, KV_META, key, slice_of("", 0));
		return 0;
	}
	repair_delete(r, KV_META, key);
	repair_say(r, "the row '%.*s' of the index's own facts was damaged, and is removed%s",
		   (int)key.len, (const char *)key.at,
		   is_key(key, DIGESTS_ROW) ? ": the next mount reads the heads of all frames"
					    : "");
	return 0;
}

static void raise_number(struct repair *r, const char *key, uint64_t used, const char *what)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t next[8];
	int e = kv_get(r->pool->kv, KV_META, key, strlen(key), &val);
	bool damaged = e == -EUCLEAN || (e == 0 && val.len != 8);
	uint64_t now = e == 0 && val.len == 8 ? get_le64(val.data) : 0;
	if (!damaged && (now > used || !used))
		return;
	put_le64(next, damaged ? used + MARGIN : used + 1);
	repair_put(r, KV_META, slice_of(key, strlen(key)), slice_of(next, sizeof next));
	repair_say(r, "the next %s number is %lu", what, get_le64(next));
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Raises *ret_most to the greatest number of a table's rows. */
static int last_number(struct repair *r, enum kv_table t, uint64_t *ret_most)
{
	struct slice key, val;
	struct kv_iter *it = kv_iter_new(r->pool->kv, t, NULL, 0, true);
	int e = it ? kv_iter_next(it, &key, &val) : -ENOMEM;
	uint64_t n = (e == 1 || e == -EUCLEAN) && key.len >= 8 ? get_be64(key.at) : 0;
	kv_iter_free(it);
	*ret_most = most(*ret_most, n);
	return e < 0 && e != -EUCLEAN ? e : 0;
}

/* The same of the numbers in the names of a directory. */
static int greatest_name(struct repair *r, const char *dir, uint64_t (*number)(const char *),
			 uint64_t *ret_most)
{
	int fd = openat(r->pool->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int e = d ? 0 : -errno;
	while (d && (e = io_next_entry(d, &entry)) > 0)
		*ret_most = most(*ret_most, number(entry->d_name));
	return e == -ENOENT ? 0 : e;
}

static uint64_t generation_of_name(const char *name)
{
	uint64_t ino, gen;
	return sscanf(name, "%" SCNx64 ".%" SCNx64, &ino, &gen) == 2 ? gen : 0;
}

static void mend_seed(struct repair *r)
{
	CLEANUP_BUF struct buf val = { 0 };
	uint8_t seed[8];
	int e = kv_get(r->pool->kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), &val);
	uint64_t now = e == 0 && val.len == 8 ? get_le64(val.data) : 0;
	if (now == r->pool->super.dirent_seed && e != -EUCLEAN)
		return;
	put_le64(seed, r->pool->super.dirent_seed);
	repair_put(r, KV_META, slice_of(META_DIRENT_SEED, strlen(META_DIRENT_SEED)),
		   slice_of(seed, sizeof seed));
	repair_say(r, "the seed of names is taken from the superblock");
}

static void raise_next_chunk(struct repair *r)
{
	CLEANUP_BUF struct buf val = { 0 };
	int e = kv_get(r->pool->kv, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), &val);
	bool damaged = e == -EUCLEAN || (e == 0 && val.len != 8);
	if (damaged || r->k.max_chunk >= r->k.chunk_end)
		raise_number(r, PACKER_NEXT_KEY, most(r->k.max_chunk, r->k.chunk_end), "chunk");
}

int repair_numbers(struct repair *r)
{
	int e = repair_look(r);
	if (e == 0)
		e = repair_each(r, KV_META, "facts", mend_meta);
	if (e < 0)
		return e;
	uint64_t ino = r->k.max_ino, gen = r->k.max_gen, pack = 0, segment = 0;
	e = last_number(r, KV_INODE, &ino);
	if (e == 0)
		e = greatest_name(r, "staging", generation_of_name, &gen);
	if (e == 0)
		e = last_number(r, KV_PACK, &pack);
	if (e == 0)
		e = greatest_name(r, "packs", pack_of_name, &pack);
	if (e == 0)
		e = last_number(r, KV_SEGMENT, &segment);
	if (e < 0)
		return e;
	mend_seed(r);
	raise_number(r, META_IDS_PREFIX "next_inode", ino < INO_FIRST ? 0 : ino, "inode");
	raise_number(r, META_IDS_PREFIX "next_staging", gen, "staging");
	raise_number(r, META_IDS_PREFIX "segment", segment, "segment");
	raise_number(r, META_IDS_PREFIX "pack", pack, "pack");
	raise_next_chunk(r);
	return 0;
}
