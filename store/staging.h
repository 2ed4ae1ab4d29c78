// SPDX-License-Identifier: MIT
/* staging: sparse native files that hold written data until it is destaged (POOL/staging).
 *
 * A staging file is named by inode and generation, "INO.GEN" in hex, and used by no other inode ever.
 * It holds the file's bytes at the file's offsets; a hole in it shows what the inode's map has
 * there. It keeps no descriptor open by itself.
 */
#ifndef FOLDFS_STAGING_H
#define FOLDFS_STAGING_H
#include "ids.h"
#include "kv.h"
#include <sys/stat.h>

struct staging;

#define STAGING_NAME_MAX 40u
void staging_name(uint64_t ino, uint64_t gen, char name[STAGING_NAME_MAX]); /* in POOL/staging */

int staging_open(int dirfd, struct kv *kv, struct staging **ret_s); /* dups dirfd */
void staging_close(struct staging *s);

/* Creates a new file for the inode. *ret_fd is open read-write. The name is not durable until a
 * batch with staging_barrier() is. */
int staging_create(struct staging *s, uint64_t ino, uint64_t *ret_gen, int *ret_fd);
/* Opens it again; flags O_RDONLY/O_RDWR. -ENOENT: damage or a crash before the name was durable. To
 * write, it shares the open file description of a barrier that waits for it, if there is one. */
int staging_file(struct staging *s, uint64_t ino, uint64_t gen, int flags);
/* A barrier that makes names durable (fsync of the directory, shared). */
struct kv_barrier *staging_barrier(struct staging *s);
/* The same, and the data of this file, open read-write as fd. The barrier dups it; writeback is started
 * at once. */
struct kv_barrier *staging_data_barrier(struct staging *s, uint64_t ino, uint64_t gen, int fd);
/* Removes the file now. Call it only once the batch that replaces it is durable. */
int staging_drop(struct staging *s, uint64_t ino, uint64_t gen);
/* The same, when `lsn` is durable. */
void staging_drop_after(struct staging *s, uint64_t ino, uint64_t gen, uint64_t lsn);
/* Waits for removals whose batch is durable. */
void staging_drain(struct staging *s);
/* 1 when no other open file description or mapping holds the file behind fd (the caller's only
 * one): F_SETLEASE F_WRLCK is granted, and given back. 0 when busy. `writers_only`: F_RDLCK. */
int staging_idle(int fd, bool writers_only);
/* Bytes allocated by all staging files, kept by staging_account(); for limits and df. */
uint64_t staging_bytes(struct staging *s);
void staging_account(struct staging *s, int64_t delta);
/* After replay: removes files that no inode names with this generation, counts the rest. */
int staging_sweep(struct staging *s);
/* Calls fn for each inode whose row names a staging file that is there. 0 or -errno. */
int staging_each(struct staging *s, void (*fn)(void *arg, uint64_t ino), void *arg);
/* Does the backing filesystem keep holes apart from written zeros, at 4 KiB? 0, -EOPNOTSUPP. */
int staging_probe(int dirfd);
#endif
