// SPDX-License-Identifier: MIT
/* A reader and the read-ahead before it, or many readers of one hot frame, meet here: the first
 * loads it into the cache, the others wait and then find it there. If it failed, or the cache had no
 * room, each of them tries for itself. Bucket locks are leaves.
 */
#include "loading.h"
#include "cleanup.h"

void loading_init(struct loading *l)
{
	for (unsigned i = 0; i < LOADING_BUCKETS; i++) {
		pthread_mutex_init(&l->buckets[i].lock, NULL);
		pthread_cond_init(&l->buckets[i].ended, NULL);
		l->buckets[i].first = NULL;
	}
}

void loading_done(struct loading *l)
{
	for (unsigned i = 0; i < LOADING_BUCKETS; i++) {
		pthread_cond_destroy(&l->buckets[i].ended);
		pthread_mutex_destroy(&l->buckets[i].lock);
	}
}

static struct loading_bucket *bucket_of(struct loading *l, struct cache_key key)
{
	uint64_t x = (key.pack * 0x9e3779b97f4a7c15u ^ key.offset) * 0xd6e8feb86659fd93u;
	return &l->buckets[x >> 32 & (LOADING_BUCKETS - 1)];
}

static bool listed_locked(const struct loading_bucket *b, struct cache_key key)
{
	for (const struct loading_frame *f = b->first; f; f = f->next)
		if (f->key.offset == key.offset && f->key.pack == key.pack)
			return true;
	return false;
}

bool loading_begin(struct loading *l, struct loading_frame *frame)
{
	struct loading_bucket *b = bucket_of(l, frame->key);
	SCOPED_LOCK(&b->lock);
	if (listed_locked(b, frame->key))
		return false;
	frame->next = b->first;
	b->first = frame;
	return true;
}

void loading_end(struct loading *l, struct loading_frame *frame)
{
	struct loading_bucket *b = bucket_of(l, frame->key);
	SCOPED_LOCK(&b->lock);
	struct loading_frame **link = &b->first;
	while (*link != frame)
		link = &(*link)->next;
	*link = frame->next;
	pthread_cond_broadcast(&b->ended);
}

void loading_wait(struct loading *l, struct cache_key key)
{
	struct loading_bucket *b = bucket_of(l, key);
	SCOPED_LOCK(&b->lock);
	while (listed_locked(b, key))
		pthread_cond_wait(&b->ended, &b->lock);
}
