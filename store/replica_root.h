// SPDX-License-Identifier: MIT
/* replica_root: one state of a pool as it lies in a replica: which objects make it up. */
#ifndef FOLDFS_REPLICA_ROOT_H
#define FOLDFS_REPLICA_ROOT_H
#include "depot.h"
#include "digest.h"
#include "replica_format.h"

struct replica_block {
	uint64_t at;
	uint32_t len;
	struct digest digest;
};

struct replica_item {
	enum replica_kind kind;
	uint64_t a, b, size;
	int64_t mtime;
	size_t first, n; /* of the root's blocks */
};

struct replica_root { /* zero-initialise */
	uint8_t pool_uuid[16];
	uint64_t epoch, seq, lsn;
	int64_t time;
	struct replica_item *items;
	size_t n_items, cap_items;
	struct replica_block *blocks;
	size_t n_blocks, cap_blocks;
};

/* Blocks that are added then are the item's. -ENOMEM. */
int replica_root_add(struct replica_root *root, const struct replica_item *item);
int replica_root_add_block(struct replica_root *root, const struct replica_block *block);
/* An item of another root with its blocks. */
int replica_root_copy(struct replica_root *to, const struct replica_root *from, size_t item);
/* Puts the items in order, by kind and numbers, for replica_root_find(). */
void replica_root_sort(struct replica_root *root);
/* NULL: it has none of that kind and numbers. */
const struct replica_item *replica_root_find(const struct replica_root *root,
					     enum replica_kind kind, uint64_t a, uint64_t b);
void replica_root_print(const struct replica_root *root, struct buf *out);
/* -EUCLEAN: it is not what was written; -EPROTONOSUPPORT: of a later version. */
int replica_root_parse(struct slice bytes, struct replica_root *ret_root);
void replica_root_done(struct replica_root *root);

void replica_root_name(uint64_t epoch, uint64_t seq, char name[DEPOT_NAME_MAX]);
void replica_object_name(uint64_t epoch, const struct digest *digest, char name[DEPOT_NAME_MAX]);
/* The newest root of the epoch. -ENOENT: it has none; otherwise as replica_root_parse(). */
int replica_root_newest(struct depot *d, uint64_t epoch, uint64_t *ret_seq);
int replica_root_read(struct depot *d, uint64_t epoch, uint64_t seq, struct replica_root *ret_root);
/* Appends the block's bytes, which are compared with its digest. -EUCLEAN: they are others. */
int replica_block_read(struct depot *d, uint64_t epoch, const struct replica_block *block,
		       struct buf *out);
#endif
