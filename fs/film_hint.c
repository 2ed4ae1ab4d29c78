// SPDX-License-Identifier: MIT
/* Advice that fails to come is no error: the file is then cut by its bytes, as all others are. */
#include "film_hint.h"
#include "cleanup.h"
#include "config.h"
#include "films.h"
#include "io.h"
#include "log.h"
#include <fcntl.h>

bool film_hint_wanted(const struct fs *fs, const struct inode *inode)
{
	return fs->films && fs->pool->config.media != MEDIA_OFF && inode->staging_whole &&
	       inode->row.size >= FILMS_LEAST;
}

static int open_staged(struct fs *fs, struct inode *inode, uint64_t *ret_size)
{
	pthread_rwlock_rdlock(&inode->lock);
	*ret_size = inode->row.size;
	int fd = inode->row.staging_gen ? staging_file(fs->pool->staging, inode->ino,
						       inode->row.staging_gen, O_RDONLY)
					: -ENOENT;
	pthread_rwlock_unlock(&inode->lock);
	return fd;
}

static uint64_t at_most(uint64_t v, uint64_t most)
{
	return v < most ? v : most;
}

static struct film_plan *make_plan(const struct fs *fs, const struct film *film, uint64_t size)
{
	const struct config *c = &fs->pool->config;
	struct film_plan *plan = NULL;
	struct plan_limits limits = { .min = at_most(c->media_min, c->media_max),
				      .target = at_most(c->media_target, c->media_max),
				      .max = c->media_max,
				      .gather = c->media == MEDIA_ON };
	int r = film_plan_make(film, size, &limits, &plan);
	return r < 0 ? NULL : plan;
}

struct film_plan *film_hint(struct fs *fs, struct inode *inode, bool (*over)(void *arg), void *arg)
{
	uint8_t head[FILMS_HEAD];
	struct film film = { 0 };
	uint64_t size;
	CLEANUP_CLOSE int fd = open_staged(fs, inode, &size);
	ssize_t n = fd < 0 ? fd : io_read(fd, head, sizeof head, 0);
	if (n < 0 || !films_may_be(head, (size_t)n))
		return NULL;
	int r = films_find(fs->films, fd, size, over, arg, &film);
	static atomic_bool told;
	if (r == -ESHUTDOWN && !atomic_exchange(&told, true))
		log_warn("the process that looks at films (foldfs-films) is gone: until the next "
			 "mount "
			 "they are stored as other files are");
	else if (r < 0 && r != -ECANCELED)
		log_debug("inode %lu is stored without regard to what film it may be: %s",
			  inode->ino, strerror(-r));
	struct film_plan *plan = r < 0 ? NULL : make_plan(fs, &film, size);
	if (plan && plan->gathered && pool_use_strands(fs->pool) < 0)
		log_debug("the superblock cannot be written: maps of films take more room");
	if (plan)
		log_debug("inode %lu: %s, %zu samples, %s", inode->ino,
			  film_container_name(film.container), film.n,
			  plan->gathered ? "gathered" : "cut at key pictures");
	film_done(&film);
	return plan;
}
