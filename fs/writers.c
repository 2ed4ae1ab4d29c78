// SPDX-License-Identifier: MIT
/* A log that gets a line now and then is no reason to stop anything: a writer counts when its file has
 * changed each of the last STEADY times somebody looked, shortly after each other. Of many files some are looked at each time, in
 * turns.
 *
 * Lock order: inodes, then `lock`; who looks comes the other way and only tries.
 */
#include "writers.h"
#include "cleanup.h"
#include "clock.h"
#include <sys/stat.h>

#define LOOK_NS 10000000u
#define PAUSE_NS 200000000u /* so long without a look tells nothing */
#define LOOKS 32u	    /* files at once */
#define STEADY 4u

struct writers {
	pthread_mutex_t lock;
	struct inode *head, *tail; /* who was looked at longest ago comes first */
	atomic_ullong looked_ns;
	atomic_bool at_work; /* by then */
};

int writers_new(struct writers **ret_w)
{
	struct writers *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	*ret_w = w;
	return 0;
}

void writers_free(struct writers *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void append_locked(struct writers *w, struct inode *in)
{
	in->writing.prev = w->tail;
	in->writing.next = NULL;
	*(w->tail ? &w->tail->writing.next : &w->head) = in;
	w->tail = in;
}

static void take_out_locked(struct writers *w, struct inode *in)
{
	struct writing *at = &in->writing;
	*(at->prev ? &at->prev->writing.next : &w->head) = at->next;
	*(at->next ? &at->next->writing.prev : &w->tail) = at->prev;
}

void writers_add(struct writers *w, struct inode *in)
{
	SCOPED_LOCK(&w->lock);
	if (in->writing.listed)
		return;
	in->writing = (struct writing){ .listed = true };
	append_locked(w, in);
}

void writers_remove(struct writers *w, struct inode *in)
{
	SCOPED_LOCK(&w->lock);
	if (!in->writing.listed)
		return;
	in->writing.listed = false;
	take_out_locked(w, in);
}

static bool is_steady_locked(struct inode *in, uint64_t now)
{
	struct writing *at = &in->writing;
	struct stat st;
	if (pthread_rwlock_tryrdlock(&in->lock))
		return at->changes >= STEADY;
	int r = in->fd < 0 ? -1 : fstat(in->fd, &st);
	pthread_rwlock_unlock(&in->lock);
	int64_t mtime = r ? at->mtime : clock_ns_of(&st.st_mtim);
	bool lately = now - at->looked_ns < PAUSE_NS;
	at->changes = mtime != at->mtime && lately ? at->changes + (at->changes < STEADY) : 0;
	at->mtime = mtime;
	at->looked_ns = now;
	return at->changes >= STEADY;
}

static bool look_locked(struct writers *w, uint64_t now)
{
	struct inode *last = w->tail;
	for (unsigned i = 0; i < LOOKS && w->head; i++) {
		struct inode *in = w->head;
		if (is_steady_locked(in, now))
			return true;
		take_out_locked(w, in);
		append_locked(w, in);
		if (in == last)
			break;
	}
	return false;
}

bool writers_at_work(struct writers *w)
{
	uint64_t now = clock_mono_ns();
	unsigned long long before = atomic_load(&w->looked_ns);
	if (now - before < LOOK_NS || !atomic_compare_exchange_strong(&w->looked_ns, &before, now))
		return atomic_load(&w->at_work);
	SCOPED_LOCK(&w->lock);
	bool at_work = look_locked(w, now);
	atomic_store(&w->at_work, at_work);
	return at_work;
}
