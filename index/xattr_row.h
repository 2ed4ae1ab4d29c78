// SPDX-License-Identifier: MIT
/* xattr_row: extended attributes (KV_XATTR). Names up to 255 bytes, values up to 64 KiB. */
#ifndef FOLDFS_XATTR_ROW_H
#define FOLDFS_XATTR_ROW_H
#include "kv.h"

#define XATTR_VALUE_MAX 65536u

int xattr_get(struct kv *kv, uint64_t ino, const char *name, struct buf *ret_val); /* -ENODATA */
void xattr_put(struct kv_batch *b, uint64_t ino, const char *name, const void *val, size_t len);
void xattr_delete(struct kv_batch *b, uint64_t ino, const char *name);
/* Appends every name with its NUL, as listxattr(2) does. */
int xattr_list(struct kv *kv, uint64_t ino, struct buf *ret_names);
int xattr_delete_all(struct kv *kv, struct kv_batch *b, uint64_t ino);
#endif
