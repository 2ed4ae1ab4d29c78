// SPDX-License-Identifier: MIT
#include "notices.h"
#include "cleanup.h"
#include "cond.h"
#include "requests.h"
#include <errno.h>
#include <fuse_lowlevel.h>

struct notices {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned under_way;
	bool ended;
};

int notices_new(struct notices **ret_notices)
{
	struct notices *n = calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->lock, NULL);
	cond_init(&n->idle);
	*ret_notices = n;
	return 0;
}

void notices_free(struct notices *n)
{
	if (!n)
		return;
	pthread_cond_destroy(&n->idle);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static bool begin(struct notices *n)
{
	SCOPED_LOCK(&n->lock);
	n->under_way += !n->ended;
	return !n->ended;
}

static void done(struct notices *n)
{
	SCOPED_LOCK(&n->lock);
	if (--n->under_way == 0)
		pthread_cond_broadcast(&n->idle);
}

int notice_pages(struct notices *n, struct fuse_session *se, uint64_t ino, uint64_t from,
		 uint64_t to)
{
	if (!begin(n))
		return -ESHUTDOWN;
	fuse_lowlevel_notify_inval_inode(se, ino, (off_t)from, to > from ? (off_t)(to - from) : 0);
	done(n);
	return 0;
}

int notice_name(struct notices *n, struct fuse_session *se, uint64_t parent, const char *name)
{
	if (!begin(n))
		return -ESHUTDOWN;
	fuse_lowlevel_notify_inval_entry(se, parent, name, strlen(name));
	done(n);
	return 0;
}

void notices_end(struct notices *n)
{
	SCOPED_LOCK(&n->lock);
	n->ended = true;
}

bool notices_wait(struct notices *n, unsigned ms)
{
	uint64_t until = clock_mono_ns() + ms * 1000000ull;
	SCOPED_LOCK(&n->lock);
	while (n->under_way && cond_wait_until(&n->idle, &n->lock, until) == 0)
		;
	return n->under_way == 0;
}
