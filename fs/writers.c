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
#include <errno.h>
#include <sys/stat.h>

#define LOOK_NS 10000000u
#define PAUSE_NS 200000000u /* so long without a look tells nothing */
#define LOOKS 32u	    /* files at once */
#define STEADY 4u

/* What is known of a file that is open for native writing; or through the page cache, the kernel allows but one. */
struct writing {
	struct inode *inode;
	struct list *list; /* that it is on */
	struct writing *prev, *next;
	uint64_t looked_ns;
	int64_t mtime;	  /* by then */
	unsigned changes; /* so many looks in a row had found it moved on */
};

struct list {
	struct writing *head, *tail;
};

struct writers {
	pthread_mutex_t lock;
	struct list native; /* who was looked at longest ago comes first */
	struct list cached;
	size_t n_cached;
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

static void free_list(struct list *l)
{
	for (struct writing *at = l->head, *next; at; at = next) {
		next = at->next;
		free(at);
	}
}

void writers_free(struct writers *w)
{
	if (!w)
		return;
	free_list(&w->native);
	free_list(&w->cached);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void append_locked(struct list *l, struct writing *at)
{
	at->list = l;
	at->prev = l->tail;
	at->next = NULL;
	*(l->tail ? &l->tail->next : &l->head) = at;
	l->tail = at;
}

static void take_out_locked(struct writing *at)
{
	struct list *l = at->list;
	*(at->prev ? &at->prev->next : &l->head) = at->next;
	*(at->next ? &at->next->prev : &l->tail) = at->prev;
}

static bool add_locked(struct list *l, struct inode *in)
{
	if (in->writing || !(in->writing = calloc(1, sizeof *in->writing)))
		return false;
	in->writing->inode = in;
	append_locked(l, in->writing);
	return true;
}

void writers_add(struct writers *w, struct inode *in)
{
	SCOPED_LOCK(&w->lock);
	add_locked(&w->native, in);
}

int writers_add_cached(struct writers *w, struct inode *in)
{
	SCOPED_LOCK(&w->lock);
	w->n_cached += add_locked(&w->cached, in);
	return in->writing ? 0 : -ENOMEM;
}

void writers_remove(struct writers *w, struct inode *in)
{
	SCOPED_LOCK(&w->lock);
	if (!in->writing)
		return;
	w->n_cached -= in->writing->list == &w->cached;
	take_out_locked(in->writing);
	free(TAKE_PTR(in->writing));
}

int writers_cached(struct writers *w, uint64_t **ret_inos, size_t *ret_n)
{
	SCOPED_LOCK(&w->lock);
	uint64_t *inos = malloc((w->n_cached + 1) * sizeof *inos);
	size_t n = 0;
	if (!inos)
		return -ENOMEM;
	for (struct writing *at = w->cached.head; at; at = at->next)
		inos[n++] = at->inode->ino;
	*ret_inos = inos;
	*ret_n = n;
	return 0;
}

static bool is_steady_locked(struct writing *at, uint64_t now)
{
	struct inode *in = at->inode;
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
	struct list *l = &w->native;
	struct writing *last = l->tail;
	for (unsigned i = 0; i < LOOKS && l->head; i++) {
		struct writing *at = l->head;
		if (is_steady_locked(at, now))
			return true;
		take_out_locked(at);
		append_locked(l, at);
		if (at == last)
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
