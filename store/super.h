// SPDX-License-Identifier: MIT
/* super: the pool's identity and unchangeable choices (POOL/super), two checksummed copies. */
#ifndef FOLDFS_SUPER_H
#define FOLDFS_SUPER_H
#include "bytes.h"
#include "chunker.h"
#include <stdint.h>

#define SUPER_MAGIC 0x0a6c6f6f70646c66ull /* "fldpool\n" */
#define SUPER_VERSION 1u
#define SUPER_COPY_SIZE 4096u /* copies at 0 and at SUPER_COPY_SIZE */

/* Incompatible features. */
#define SUPER_STRANDS 1u /* segments may be in strands (rows_format.h) */
#define SUPER_TIERS 2u	 /* packs may lie in other places */
#define SUPER_FOLLOWER                                                                             \
	4u /* it is what another machine's pool was, as its replica tells (follower.h) */
#define SUPER_INCOMPAT (SUPER_STRANDS | SUPER_TIERS | SUPER_FOLLOWER)

struct super {
	uint8_t uuid[16];
	uint32_t version;
	uint64_t compat, ro_compat, incompat; /* feature bits */
	int64_t created;		      /* seconds since 1970 */
	struct chunker_params chunker;
	uint64_t dirent_seed;
	char label[64];
};

/* Reads both copies, takes a valid one. -ENOENT: no pool here; -EUCLEAN: both copies damaged;
 * -EPROTONOSUPPORT: newer version, unknown incompat bits, digest or chunker. `ret_damaged` (may be NULL):
 * one copy is bad. */
int super_read(int pool_dirfd, struct super *ret_super, bool *ret_damaged);
/* The same of the file's bytes. */
int super_parse(struct slice bytes, struct super *ret_super);
int super_write(int pool_dirfd, const struct super *super); /* durable on return */
#endif
