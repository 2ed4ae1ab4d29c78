// SPDX-License-Identifier: MIT
/* A table of slots with chained hashing; the victim is found by a clock hand, since exact LRU order
 * buys nothing among some hundred descriptors. When every slot is in use a descriptor is opened
 * beside the table and closed by its put. The lock is never held across open() or close().
 */
#include "pack_fds.h"
#include "cleanup.h"
#include "pack_scan.h"
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#define NONE UINT32_MAX

struct slot {
	uint64_t pack; /* 0: free */
	int fd;
	uint32_t users, next; /* in the chain */
	bool recent, forgotten;
};

struct pack_fds {
	pthread_mutex_t lock;
	struct pack_fds_options opt;
	uint64_t forgets; /* so far: what was opened before the last one may be out of date */
	uint32_t n, hand, mask;
	uint32_t *heads;
	struct slot *slots;
};

void pack_name(uint64_t pack, char name[PACK_NAME_MAX])
{
	snprintf(name, PACK_NAME_MAX, "%016" PRIx64 ".pack", pack);
}

uint64_t pack_of_name(const char *name)
{
	char *end, again[PACK_NAME_MAX];
	uint64_t pack = strtoull(name, &end, 16);
	pack_name(pack, again);
	return strcmp(name, again) ? 0 : pack;
}

int pack_fds_new(const struct pack_fds_options *opt, struct pack_fds **ret_f)
{
	struct pack_fds *f = calloc(1, sizeof *f);
	uint32_t buckets = 1;
	while (buckets < opt->max_open)
		buckets *= 2;
	if (f) {
		f->heads = malloc(buckets * sizeof *f->heads);
		f->slots = calloc(opt->max_open, sizeof *f->slots);
	}
	if (!f || !f->heads || !f->slots) {
		if (f) {
			free(f->heads);
			free(f->slots);
		}
		free(f);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < buckets; i++)
		f->heads[i] = NONE;
	f->opt = *opt;
	f->n = opt->max_open;
	f->mask = buckets - 1;
	pthread_mutex_init(&f->lock, NULL);
	*ret_f = f;
	return 0;
}

void pack_fds_free(struct pack_fds *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i < f->n; i++)
		if (f->slots[i].pack)
			close(f->slots[i].fd);
	pthread_mutex_destroy(&f->lock);
	free(f->heads);
	free(f->slots);
	free(f);
}

static uint32_t *head_of(struct pack_fds *f, uint64_t pack)
{
	return &f->heads[pack & f->mask];
}

static struct slot *find_locked(struct pack_fds *f, uint64_t pack)
{
	for (uint32_t i = *head_of(f, pack); i != NONE; i = f->slots[i].next)
		if (f->slots[i].pack == pack)
			return &f->slots[i];
	return NULL;
}

/* Takes the slot out of the table; the caller closes what is returned, without the lock. */
static int drop_locked(struct pack_fds *f, struct slot *s)
{
	uint32_t *link = head_of(f, s->pack);
	while (&f->slots[*link] != s)
		link = &f->slots[*link].next;
	*link = s->next;
	s->pack = 0;
	return s->fd;
}

/* A free slot, or one whose descriptor nobody uses (then *ret_close gets it); NULL: all in use. */
static struct slot *make_room_locked(struct pack_fds *f, int *ret_close)
{
	for (uint32_t step = 0; step < 2 * f->n; step++) {
		struct slot *s = &f->slots[f->hand];
		f->hand = (f->hand + 1) % f->n;
		if (!s->pack)
			return s;
		if (s->users)
			continue;
		if (!s->recent) {
			*ret_close = drop_locked(f, s);
			return s;
		}
		s->recent = false;
	}
	return NULL;
}

static int use_locked(struct slot *s)
{
	s->users++;
	s->recent = true;
	return s->fd;
}

/* The descriptor that is open, or -EAGAIN. */
static int get_locked(struct pack_fds *f, uint64_t pack)
{
	struct slot *s = find_locked(f, pack);
	return s && !s->forgotten ? use_locked(s) : -EAGAIN;
}

int pack_fds_try_get(struct pack_fds *f, uint64_t pack)
{
	SCOPED_LOCK(&f->lock);
	return get_locked(f, pack);
}

int pack_fds_get(struct pack_fds *f, uint64_t pack)
{
	CLEANUP_CLOSE int fd = -1, unused = -1;
	uint64_t forgets;
	{
		SCOPED_LOCK(&f->lock);
		int open = get_locked(f, pack);
		if (open >= 0)
			return open;
		forgets = f->forgets;
	}
	fd = f->opt.open(f->opt.arg, pack);
	if (fd < 0)
		return fd;
	if (pack_is_foreign(fd, f->opt.pool_uuid))
		return -EUCLEAN;
	SCOPED_LOCK(&f->lock);
	if (forgets != f->forgets)
		return take_fd(&fd); /* good for this once */
	struct slot *s = find_locked(f, pack);
	if (s && !s->forgotten)
		return use_locked(s); /* somebody was faster; ours is closed */
	s = s ? NULL : make_room_locked(f, &unused);
	if (!s)
		return take_fd(&fd);
	*s = (struct slot){ .pack = pack, .fd = take_fd(&fd), .next = *head_of(f, pack) };
	*head_of(f, pack) = (uint32_t)(s - f->slots);
	return use_locked(s);
}

void pack_fds_put(struct pack_fds *f, uint64_t pack, int fd)
{
	CLEANUP_CLOSE int unused = -1;
	SCOPED_LOCK(&f->lock);
	struct slot *s = find_locked(f, pack);
	if (!s || s->fd != fd)
		unused = fd;
	else if (--s->users == 0 && s->forgotten)
		unused = drop_locked(f, s);
}

void pack_fds_forget(struct pack_fds *f, uint64_t pack)
{
	CLEANUP_CLOSE int unused = -1;
	SCOPED_LOCK(&f->lock);
	f->forgets++;
	struct slot *s = find_locked(f, pack);
	if (!s)
		return;
	s->forgotten = true;
	if (!s->users)
		unused = drop_locked(f, s);
}
