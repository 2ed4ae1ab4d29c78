// SPDX-License-Identifier: MIT
/* access: when packs were last read, and how much of late: what tiers are for.
 *
 * Kept in memory, without locks, and written to the index now and then: a crash loses some minutes of
 * it, which costs nothing but a pack that moves sooner. Any thread.
 */
#ifndef FOLDFS_ACCESS_H
#define FOLDFS_ACCESS_H
#include "kv.h"

/* KV_META: this and be64 pack id / ACCESS_PER_ROW -> ACCESS_PER_ROW times le32 seconds since 1970, 0: never. */
#define ACCESS_KEY "access."
#define ACCESS_PER_ROW 256u

struct access;

int access_open(struct kv *kv, struct access **ret_a); /* reads all rows */
void access_close(struct access *a);		       /* NULL is fine */
void access_note(struct access *a, uint64_t pack, uint32_t bytes);
int64_t access_time(struct access *a, uint64_t pack); /* seconds since 1970; 0: never */
/* Only forward: what takes over another's content was read when that was. */
void access_set(struct access *a, uint64_t pack, int64_t when);
uint64_t access_bytes(struct access *a, uint64_t pack); /* read of late */
void access_fade(struct access *a);			/* halves that of all packs */
int access_save(struct access *a); /* what has changed; durable with the next group commit */
#endif
