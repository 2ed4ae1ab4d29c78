// SPDX-License-Identifier: MIT
/* dirent_row: names in directories (KV_DIRENT).
 *
 * The key is (parent, cookie). A cookie is the 63-bit seeded hash of the name with its low 7 bits
 * used to tell collisions apart, so it finds a name without a second table, stays the same while
 * the entry lives, and is what readdir hands out (telldir/seekdir, NFS). Cookies 0..2 are free for
 * ".", ".." and the start. The seed is the pool's own, so that nobody can choose names that
 * collide: mkfs puts it (KV_META, META_DIRENT_SEED) before the first name; without it, it is 0.
 */
#ifndef FOLDFS_DIRENT_ROW_H
#define FOLDFS_DIRENT_ROW_H
#include "kv.h"

#define DIRENT_NAME_MAX 255
#define DIRENT_FIRST_COOKIE 128u

struct dirent_row {
	uint64_t ino;
	uint64_t cookie;
	uint8_t type; /* DT_* */
	uint8_t name_len;
	char name[DIRENT_NAME_MAX + 1]; /* NUL-terminated */
};

struct dirent_target {
	uint64_t ino;
	uint8_t type;
};

/* Finds a name. 0, -ENOENT, -ENAMETOOLONG, -EUCLEAN. */
int dirent_get(struct kv *kv, uint64_t parent, const char *name, struct dirent_row *ret_row);
/* Adds a name that dirent_get() did not find (the caller holds the directory's lock from there to
 * commit), or replaces what an existing name leads to. Picks the cookie. -ENOSPC when 128 names
 * collide. */
int dirent_put(struct kv *kv, struct kv_batch *b, uint64_t parent, const char *name, uint64_t ino,
	       uint8_t type);
/* The same in two steps, with one walk. dirent_find_place() is dirent_get(), but with -ENOENT it also says
 * at which cookie the name may be put (0: nowhere), until a name is added to the directory. */
int dirent_find_place(struct kv *kv, uint64_t parent, const char *name, struct dirent_row *ret_row,
		      uint64_t *ret_cookie);
/* -ENOSPC when the cookie is 0. */
int dirent_put_at(struct kv_batch *b, uint64_t parent, uint64_t cookie, const char *name,
		  const struct dirent_target *to);
void dirent_delete(struct kv_batch *b, uint64_t parent, uint64_t cookie);

/* Walks a directory upwards from the first cookie > after. */
struct dirent_iter;
struct dirent_iter *dirent_iter_new(struct kv *kv, uint64_t parent, uint64_t after);
/* 1, 0 at the end, -errno. */
int dirent_iter_next(struct dirent_iter *it, struct dirent_row *ret_row);
void dirent_iter_free(struct dirent_iter *it);
int dirent_decode(struct slice key, struct slice val, struct dirent_row *ret_row); /* or -EUCLEAN */
/* For who has put rows made elsewhere: what is known of all names is read again. 0, -errno. */
int dirent_look_again(struct kv *kv);
int dirent_any(struct kv *kv, uint64_t parent); /* 1 if the directory has an entry, 0, -errno */
#endif
