// SPDX-License-Identifier: MIT
/* stack: every module from kv to gc over throw-away directories, and files made through destage.
 *
 * Files are inode rows without names; their bytes are compared with what the test remembers.
 */
#ifndef FOLDFS_TEST_STACK_H
#define FOLDFS_TEST_STACK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cleanup.h"
#include "clock.h"
#include "fault.h"
#include "gc.h"
#include "prng.h"
#include "scrub.h"
#include <errno.h>
#include <stdio.h>

#define STACK_LOCKS 64

struct stack {
	char dir[64];
	int index_fd, wal_fd, packs_fd;
	/* set between stack_make() and stack_open() */
	unsigned verify_age_s, workers, sync_interval_ms, min_live_percent;
	int level;
	uint64_t pack_bytes, gc_rate, gc_short, scrub_rate;
	struct chunker_params chunker;
	bool no_cache;

	struct kv *kv;
	struct extents *x;
	struct digests *digests;
	struct packs *packs;
	struct cache *cache;
	struct chunks *chunks;
	struct packer *packer;
	struct destage *destage;
	struct gc *gc;
	struct rotten *rotten;
	struct scrub *scrub;
	pthread_mutex_t ino_locks[STACK_LOCKS];
	int failures; /* of the engine */
};

void stack_make(struct stack *st);
void stack_open(struct stack *st);
int stack_try_open(struct stack *st);
int stack_close(struct stack *st); /* the first error */
void stack_remove(struct stack *st);
/* A second pool as a crash at this moment would leave the first; to be opened. */
void stack_copy(const struct stack *from, struct stack *to);

/* A file's content on its way in; may be reused after upload_wait(). */
struct upload {
	struct destage_source s; /* first */
	struct stack *st;
	uint64_t ino, pieces, windows;
	const uint8_t *data;
	int read_error, commit_error; /* to be returned */
	uint64_t fail_at;	      /* from this offset on */
	int (*read)(struct destage_source *s, void *buf, size_t len, uint64_t at); /* or NULL */
	int result;
	unsigned done; /* how often */
};
void upload_start(struct upload *u, struct stack *st, uint64_t ino, const void *data, size_t len);
/* Stores the whole file and waits for it. */
int file_store(struct stack *st, uint64_t ino, const void *data, size_t len);
void file_delete(struct stack *st, uint64_t ino);
/* 0 when the file reads as these bytes; 1 when it is something else; -errno. */
int file_compare(struct stack *st, uint64_t ino, const void *data, size_t len);
/* The chunk that holds the file's byte `at`, 0 for a hole. */
uint64_t file_chunk(struct stack *st, uint64_t ino, uint64_t at);

uint64_t count_rows(struct stack *st, enum kv_table t);
/* Overwrites the stored payload of the frame that holds this chunk, in its pack file. */
void damage_chunk(struct stack *st, uint64_t id);
/* Makes every pack look as if verified this long ago. */
void age_packs(struct stack *st, int64_t seconds);
/* Fails the test unless frame ranges are disjoint, in order, and every row can be read. */
void check_rows(struct stack *st);
#endif
