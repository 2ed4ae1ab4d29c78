// SPDX-License-Identifier: MIT
#include "xattr_row.h"
#include "cleanup.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>

struct xattr_key {
	uint8_t bytes[8 + XATTR_NAME_MAX];
	size_t len;
};

static bool key_make(uint64_t ino, const char *name, struct xattr_key *ret_key)
{
	size_t len = strlen(name);
	if (len == 0 || len > XATTR_NAME_MAX)
		return false;
	put_be64(ret_key->bytes, ino);
	memcpy(ret_key->bytes + 8, name, len);
	ret_key->len = 8 + len;
	return true;
}

int xattr_get(struct kv *kv, uint64_t ino, const char *name, struct buf *ret_val)
{
	struct xattr_key key;
	size_t before = ret_val->len;
	if (!key_make(ino, name, &key))
		return -ENODATA;
	int r = kv_get(kv, KV_XATTR, key.bytes, key.len, ret_val);
	if (r == -ENOENT)
		return -ENODATA;
	if (!r && ret_val->len - before > XATTR_VALUE_MAX) {
		ret_val->len = before;
		return -EUCLEAN;
	}
	return r;
}

void xattr_put(struct kv_batch *b, uint64_t ino, const char *name, const void *val, size_t len)
{
	struct xattr_key key;
	bool ok = key_make(ino, name, &key) && len <= XATTR_VALUE_MAX;
	assert(ok);
	if (ok)
		kv_batch_put(b, KV_XATTR, key.bytes, key.len, val, len);
}

void xattr_delete(struct kv_batch *b, uint64_t ino, const char *name)
{
	struct xattr_key key;
	if (key_make(ino, name, &key))
		kv_batch_delete(b, KV_XATTR, key.bytes, key.len);
}

/* Does the key belong to ino? */
static bool key_of(struct slice key, uint64_t ino)
{
	return key.len >= 8 && get_be64(key.at) == ino;
}

int xattr_list(struct kv *kv, uint64_t ino, struct buf *ret_names)
{
	uint8_t from[8];
	put_be64(from, ino);
	struct kv_iter *it = kv_iter_new(kv, KV_XATTR, from, sizeof from, false);
	if (!it)
		return -ENOMEM;
	struct slice key = { 0 }, val;
	int r;
	while ((r = kv_iter_next(it, &key, &val)) != 0) {
		if (key.len && !key_of(key, ino))
			r = 0; /* not ours, damaged or not */
		if (r != 1)
			break;
		size_t len = key.len - 8;
		if (len == 0 || len > XATTR_NAME_MAX || memchr(key.at + 8, 0, len)) {
			r = -EUCLEAN;
			break;
		}
		buf_put(ret_names, key.at + 8, len);
		buf_put_u8(ret_names, 0);
	}
	kv_iter_free(it);
	if (r < 0)
		return r;
	return ret_names->failed ? -ENOMEM : 0;
}

int xattr_delete_all(struct kv *kv, struct kv_batch *b, uint64_t ino)
{
	uint8_t from[8];
	put_be64(from, ino);
	struct kv_iter *it = kv_iter_new(kv, KV_XATTR, from, sizeof from, false);
	if (!it)
		return -ENOMEM;
	struct slice key = { 0 }, val;
	int r;
	/* A damaged value is no reason to keep the row. */
	while (((r = kv_iter_next(it, &key, &val)) == 1 || r == -EUCLEAN) && key_of(key, ino))
		kv_batch_delete(b, KV_XATTR, key.at, key.len);
	r = r < 0 && !(r == -EUCLEAN && key.len) ? r : 0; /* the key is the iterator's */
	kv_iter_free(it);
	return r;
}
