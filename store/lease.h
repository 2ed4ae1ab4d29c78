// SPDX-License-Identifier: MIT
/* lease: who may write a replica, one machine at a time (ARCHITECTURE.md, "Other machines").
 *
 * Epochs are numbered. Whoever makes the object epochs/N owns epoch N, and nobody owns an earlier one any more. The
 * owner renews a small object, the beat. Others wait by their own clock until it has not changed for the owner's lease,
 * and then try to make epochs/N+1: no two machines compare clocks.
 */
#ifndef FOLDFS_LEASE_H
#define FOLDFS_LEASE_H
#include "depot.h"

#define LEASE_HOST_MAX 65u
#define LEASE_BEAT_MAX 128u

struct lease_record { /* of an epoch, for good */
	uint8_t pool[16];
	uint8_t owner[16]; /* the pool directory that began it; survives its mounts */
	char host[LEASE_HOST_MAX];
	uint64_t lease_ms;
	uint64_t base_epoch, base_seq; /* the root that it goes on from; 0: none */
};

struct lease_seen {
	uint64_t epoch; /* the newest */
	struct lease_record record;
	char beat[LEASE_BEAT_MAX]; /* as it was; empty: none yet */
	bool closed;		   /* its owner has ended it: nobody has to wait */
};

/* The newest epoch. -ENOENT: there is none; -EUCLEAN: its object is not to be understood. */
int lease_look(struct depot *d, struct lease_seen *ret_seen);
/* Begins an epoch. -EEXIST: somebody else has. */
int lease_begin(struct depot *d, uint64_t epoch, const struct lease_record *record);
/* Renews it, or (closed) ends it; `count` is another one each time. */
int lease_beat(struct depot *d, uint64_t epoch, uint64_t count, bool closed);
/* 1: a later epoch has begun; *ret_by (may be NULL) tells whose. 0: none; -errno: not to be told. */
int lease_is_lost(struct depot *d, uint64_t epoch, struct lease_record *ret_by);
/* Waits until the epoch that was seen is no longer renewed. `go_on` (may be NULL) is called often with the time left,
 * and ends the waiting with what it gives other than 0. -EBUSY: its owner is alive; -ESTALE: a later one has begun. */
int lease_wait(struct depot *d, const struct lease_seen *seen,
	       int (*go_on)(void *arg, uint64_t left_ms), void *arg);
/* Text of an epoch's object; *ret_record stays as it was on -EUCLEAN. */
int lease_parse(const char *text, size_t len, struct lease_record *ret_record);
#endif
