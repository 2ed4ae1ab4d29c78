// SPDX-License-Identifier: MIT
/* A name's cookies are the 128 numbers that share its hash, so a lookup is one short walk from the
 * first of them. A name keeps its cookie when others of the same hash go, so the walk never relies
 * on the first being taken. But as long as no two names of a pool have ever collided (a row in
 * KV_META says when they have), the first cookie alone decides, and no walk is needed.
 */
#include "dirent_row.h"
#include "cleanup.h"
#include "digest.h"
#include "rows_format.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

#define COOKIE_SLOTS 128u
#define COOKIE_MAX ((uint64_t)INT64_MAX)
static_assert(DIRENT_FIRST_COOKIE == COOKIE_SLOTS, "what a hash of 0 is moved to");

struct dirent_iter {
	struct kv_iter *it;
	uint64_t parent;
};

/* Of any pool open in this process: only ever set, and then lookups walk. */
static atomic_bool names_collided;

int dirent_look_again(struct kv *kv)
{
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(kv, KV_META, META_DIRENT_COLLIDED, strlen(META_DIRENT_COLLIDED), &val);
	if (r == 0)
		atomic_store(&names_collided, true);
	return r == -ENOENT ? 0 : r;
}

/* The seed never changes once it is there, so each thread keeps the one it read last. */
static int seed_get(struct kv *kv, uint64_t *ret_seed)
{
	static _Thread_local struct {
		uint64_t id, seed;
		bool valid;
	} known;
	if (known.valid && known.id == kv_id(kv)) {
		*ret_seed = known.seed;
		return 0;
	}
	CLEANUP_BUF struct buf val = { 0 };
	int r = kv_get(kv, KV_META, META_DIRENT_SEED, strlen(META_DIRENT_SEED), &val);
	if (r == -ENOENT) {
		*ret_seed = 0; /* not kept: mkfs may be about to write it */
		return 0;
	}
	if (r)
		return r;
	if (val.len != 8)
		return -EUCLEAN;
	r = dirent_look_again(kv);
	if (r)
		return r;
	known.id = kv_id(kv);
	known.seed = *ret_seed = get_le64(val.data);
	known.valid = true;
	return 0;
}

static int first_cookie(struct kv *kv, const char *name, size_t len, uint64_t *ret_cookie)
{
	uint64_t seed;
	int r = seed_get(kv, &seed);
	if (r)
		return r;
	uint64_t hash =
		checksum64_seeded(name, len, seed) & COOKIE_MAX & ~(uint64_t)(COOKIE_SLOTS - 1);
	*ret_cookie = hash ? hash : DIRENT_FIRST_COOKIE;
	return 0;
}

static void key_make(uint64_t parent, uint64_t cookie, uint8_t key[16])
{
	put_be64(key, parent);
	put_be64(key + 8, cookie);
}

static bool type_known(uint8_t type)
{
	return type == DT_FIFO || type == DT_CHR || type == DT_DIR || type == DT_BLK ||
	       type == DT_REG || type == DT_LNK || type == DT_SOCK;
}

static bool name_possible(const uint8_t *name, size_t len)
{
	if (len < 1 || len > DIRENT_NAME_MAX || memchr(name, 0, len) || memchr(name, '/', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

int dirent_decode(struct slice key, struct slice val, struct dirent_row *ret_row)
{
	if (key.len != 16)
		return -EUCLEAN;
	uint64_t cookie = get_be64(key.at + 8);
	uint8_t type = take_u8(&val);
	uint64_t ino = take_varint(&val);
	if (val.bad || ino == 0 || !type_known(type) || !name_possible(val.at, val.len) ||
	    cookie < DIRENT_FIRST_COOKIE || cookie > COOKIE_MAX)
		return -EUCLEAN;
	ret_row->ino = ino;
	ret_row->cookie = cookie;
	ret_row->type = type;
	ret_row->name_len = (uint8_t)val.len;
	memcpy(ret_row->name, val.at, val.len);
	ret_row->name[val.len] = 0;
	return 0;
}

/* Looks at the first cookie. 1: that settles it, *ret_found; 0: the others have to be looked at. */
static int try_first(struct kv *kv, uint64_t parent, uint64_t first, const char *name, size_t len,
		     struct dirent_row *ret_row, bool *ret_found)
{
	uint8_t key[16];
	CLEANUP_BUF struct buf val = { 0 };
	key_make(parent, first, key);
	*ret_found = false;
	int r = kv_get(kv, KV_DIRENT, key, sizeof key, &val);
	if (r == -ENOENT)
		return !atomic_load(&names_collided);
	if (r == 0)
		r = dirent_decode(slice_of(key, sizeof key), slice_of(val.data, val.len), ret_row);
	if (r)
		return r;
	*ret_found = ret_row->name_len == len && memcmp(ret_row->name, name, len) == 0;
	return *ret_found;
}

/* Looks for the name among its cookies. 0, or -ENOENT and the lowest cookie no entry has (0 if they
 * are all taken). *ret_row is written in any case. */
static int walk_slots(struct kv *kv, uint64_t parent, const char *name, struct dirent_row *ret_row,
		      uint64_t *ret_free)
{
	size_t len = strlen(name);
	uint64_t first = 0;
	if (len > DIRENT_NAME_MAX)
		return -ENAMETOOLONG;
	bool found = false;
	int r = first_cookie(kv, name, len, &first);
	if (!r)
		r = try_first(kv, parent, first, name, len, ret_row, &found);
	if (r) {
		*ret_free = first;
		return r < 0 ? r : found ? 0 : -ENOENT;
	}
	struct dirent_iter *it = dirent_iter_new(kv, parent, first - 1);
	if (!it)
		return -ENOMEM;
	uint64_t unused = first;
	while ((r = dirent_iter_next(it, ret_row)) == 1 && ret_row->cookie - first < COOKIE_SLOTS) {
		if (ret_row->name_len == len && memcmp(ret_row->name, name, len) == 0) {
			dirent_iter_free(it);
			return 0;
		}
		if (ret_row->cookie == unused)
			unused++;
	}
	dirent_iter_free(it);
	*ret_free = unused - first < COOKIE_SLOTS ? unused : 0;
	return r < 0 ? r : -ENOENT;
}

int dirent_find_place(struct kv *kv, uint64_t parent, const char *name, struct dirent_row *ret_row,
		      uint64_t *ret_cookie)
{
	struct dirent_row row;
	uint64_t unused = 0;
	int r = walk_slots(kv, parent, name, &row, &unused);
	if (!r)
		*ret_row = row;
	else if (r == -ENOENT)
		*ret_cookie = unused;
	return r;
}

int dirent_get(struct kv *kv, uint64_t parent, const char *name, struct dirent_row *ret_row)
{
	uint64_t unused;
	return dirent_find_place(kv, parent, name, ret_row, &unused);
}

int dirent_put_at(struct kv_batch *b, uint64_t parent, uint64_t cookie, const char *name,
		  const struct dirent_target *to)
{
	size_t len = strlen(name);
	if (!name_possible((const uint8_t *)name, len))
		return len > DIRENT_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
	if (cookie == 0)
		return -ENOSPC;
	uint8_t key[16], room[1 + 10 + DIRENT_NAME_MAX];
	struct buf val = { .data = room, .cap = sizeof room };
	key_make(parent, cookie, key);
	buf_put_u8(&val, to->type);
	buf_put_varint(&val, to->ino);
	buf_put(&val, name, len);
	kv_batch_put(b, KV_DIRENT, key, sizeof key, val.data, val.len);
	if (cookie % COOKIE_SLOTS) {
		atomic_store(&names_collided, true);
		kv_batch_put(b, KV_META, META_DIRENT_COLLIDED, strlen(META_DIRENT_COLLIDED), "", 0);
	}
	return 0;
}

int dirent_put(struct kv *kv, struct kv_batch *b, uint64_t parent, const char *name, uint64_t ino,
	       uint8_t type)
{
	struct dirent_row row;
	uint64_t cookie = 0;
	size_t len = strlen(name);
	if (!name_possible((const uint8_t *)name, len))
		return len > DIRENT_NAME_MAX ? -ENAMETOOLONG : -EINVAL;
	int r = walk_slots(kv, parent, name, &row, &cookie);
	if (r == 0)
		cookie = row.cookie;
	else if (r != -ENOENT)
		return r;
	return dirent_put_at(b, parent, cookie, name,
			     &(struct dirent_target){ .ino = ino, .type = type });
}

void dirent_delete(struct kv_batch *b, uint64_t parent, uint64_t cookie)
{
	uint8_t key[16];
	key_make(parent, cookie, key);
	kv_batch_delete(b, KV_DIRENT, key, sizeof key);
}

struct dirent_iter *dirent_iter_new(struct kv *kv, uint64_t parent, uint64_t after)
{
	struct dirent_iter *it = calloc(1, sizeof *it);
	if (!it)
		return NULL;
	it->parent = parent;
	if (after >= COOKIE_MAX)
		return it; /* nothing can follow */
	uint8_t from[16];
	key_make(parent, after + 1, from);
	it->it = kv_iter_new(kv, KV_DIRENT, from, sizeof from, false);
	if (!it->it) {
		free(it);
		return NULL;
	}
	return it;
}

int dirent_iter_next(struct dirent_iter *it, struct dirent_row *ret_row)
{
	struct slice key = { 0 }, val = { 0 };
	int r = it->it ? kv_iter_next(it->it, &key, &val) : 0;
	if (r == 0 || (key.len >= 8 && get_be64(key.at) != it->parent))
		return 0; /* damage in the next directory is not this one's */
	if (r > 0)
		r = dirent_decode(key, val, ret_row);
	return r ? r : 1;
}

void dirent_iter_free(struct dirent_iter *it)
{
	if (it)
		kv_iter_free(it->it);
	free(it);
}

int dirent_any(struct kv *kv, uint64_t parent)
{
	struct dirent_iter *it = dirent_iter_new(kv, parent, 0);
	if (!it)
		return -ENOMEM;
	struct dirent_row row;
	int r = dirent_iter_next(it, &row);
	dirent_iter_free(it);
	return r;
}
