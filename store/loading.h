// SPDX-License-Identifier: MIT
/* loading: frames that somebody is reading and decoding now, so that nobody does it twice at once. */
#ifndef FOLDFS_LOADING_H
#define FOLDFS_LOADING_H
#include "cache.h"
#include <pthread.h>

#define LOADING_BUCKETS 64u

/* One frame; the owner's memory, from loading_begin() to loading_end(). */
struct loading_frame {
	struct cache_key key;
	struct loading_frame *next;
};

struct loading {
	struct loading_bucket {
		pthread_mutex_t lock;
		pthread_cond_t ended;
		struct loading_frame *first;
	} buckets[LOADING_BUCKETS];
};

void loading_init(struct loading *l);
void loading_done(struct loading *l);
/* False: somebody else is at it. */
bool loading_begin(struct loading *l, struct loading_frame *frame);
void loading_end(struct loading *l, struct loading_frame *frame);
/* Returns when nobody is at it. Not while having begun one oneself: two could wait for each other. */
void loading_wait(struct loading *l, struct cache_key key);
#endif
