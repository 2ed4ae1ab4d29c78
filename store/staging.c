// SPDX-License-Identifier: MIT
/* Names: creating one is not durable by itself. Each creation counts up `created`; a barrier asks
 * that the directory has been synced for the count it was made at, and barriers that wait together
 * share one fsync. A failed fsync is not forgotten: every later barrier fails too.
 */
#include "staging.h"
#include "cleanup.h"
#include "clock.h"
#include "inode_row.h"
#include "io.h"
#include "log.h"
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#define CLOSE_WAIT_MS 30000u
#define WAITING_BUCKETS 256u

struct staging_wait {
	struct kv_barrier barrier; /* first */
	struct staging *staging;
	unsigned long long created;
	int fd; /* -1: names only */
	uint64_t ino, gen;
	struct staging_wait *next, **link; /* in its bucket, with fd >= 0 */
};

struct staging {
	int dirfd;
	struct kv *kv;
	struct ids *generations;
	struct workers *removers;
	atomic_llong bytes;
	atomic_ullong
		awaited; /* removals whose batch is not durable yet: their callbacks need us */
	atomic_ullong created;
	pthread_mutex_t sync_lock;
	unsigned long long synced; /* under sync_lock: creations up to this are durable */
	int sync_err;
	pthread_mutex_t waiting_lock; /* a leaf */
	struct staging_wait *waiting[WAITING_BUCKETS];
};

int staging_open(int dirfd, struct kv *kv, struct staging **ret_s)
{
	struct staging *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->sync_lock, NULL);
	pthread_mutex_init(&s->waiting_lock, NULL);
	s->kv = kv;
	s->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	int r = s->dirfd < 0 ? -errno : ids_open(kv, "next_staging", 1, &s->generations);
	if (r == 0)
		r = workers_start("remover", 1, &s->removers);
	if (r < 0) {
		staging_close(s);
		return r;
	}
	*ret_s = s;
	return 0;
}

void staging_close(struct staging *s)
{
	if (!s)
		return;
	/* the log's waiters are called after those who sync it have been let go */
	for (unsigned ms = 0; atomic_load(&s->awaited); ms++) {
		if (ms == CLOSE_WAIT_MS) {
			log_error("staging: %llu removals were never answered by the log",
				  atomic_load(&s->awaited));
			return; /* what they lead to has to stay */
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	workers_stop(s->removers);
	if (s->generations)
		ids_close(s->generations);
	if (s->dirfd >= 0)
		close(s->dirfd);
	pthread_mutex_destroy(&s->sync_lock);
	pthread_mutex_destroy(&s->waiting_lock);
	free(s);
}

void staging_name(uint64_t ino, uint64_t gen, char name[STAGING_NAME_MAX])
{
	snprintf(name, STAGING_NAME_MAX, "%lx.%lx", ino, gen);
}

int staging_create(struct staging *s, uint64_t ino, uint64_t *ret_gen, int *ret_fd)
{
	char name[STAGING_NAME_MAX];
	uint64_t gen;
	int r = ids_next(s->generations, &gen);
	if (r < 0)
		return r;
	staging_name(ino, gen, name);
	int fd = io_create(s->dirfd, name, O_RDWR | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	atomic_fetch_add(&s->created, 1);
	*ret_gen = gen;
	*ret_fd = fd;
	return 0;
}

static void waiting_add(struct staging_wait *w)
{
	struct staging *s = w->staging;
	struct staging_wait **head = &s->waiting[w->ino % WAITING_BUCKETS];
	SCOPED_LOCK(&s->waiting_lock);
	w->next = *head;
	w->link = head;
	if (w->next)
		w->next->link = &w->next;
	*head = w;
}

static void waiting_remove(struct staging_wait *w)
{
	SCOPED_LOCK(&w->staging->waiting_lock);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
}

/* A second description open for writing would look as if somebody had the file mapped: staging_idle(). */
static int share_waiting(struct staging *s, uint64_t ino, uint64_t gen)
{
	SCOPED_LOCK(&s->waiting_lock);
	for (struct staging_wait *w = s->waiting[ino % WAITING_BUCKETS]; w; w = w->next)
		if (w->ino == ino && w->gen == gen)
			return fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	return -1;
}

int staging_file(struct staging *s, uint64_t ino, uint64_t gen, int flags)
{
	char name[STAGING_NAME_MAX];
	int fd = flags == O_RDWR ? share_waiting(s, ino, gen) : -1;
	if (fd >= 0)
		return fd;
	staging_name(ino, gen, name);
	fd = openat(s->dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int sync_names(struct staging *s, unsigned long long upto)
{
	SCOPED_LOCK(&s->sync_lock);
	if (s->sync_err || s->synced >= upto)
		return s->sync_err;
	unsigned long long now = atomic_load(&s->created);
	s->sync_err = io_fsync_dir(s->dirfd);
	if (!s->sync_err)
		s->synced = now;
	return s->sync_err;
}

static int barrier_run(struct kv_barrier *b)
{
	struct staging_wait *w = (struct staging_wait *)b;
	int r = w->fd >= 0 ? io_fdatasync(w->fd) : 0;
	return r < 0 ? r : sync_names(w->staging, w->created);
}

static void barrier_release(struct kv_barrier *b)
{
	struct staging_wait *w = (struct staging_wait *)b;
	if (w->fd >= 0) {
		waiting_remove(w);
		close(w->fd);
	}
	free(w);
}

struct kv_barrier *staging_barrier(struct staging *s)
{
	struct staging_wait *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	w->barrier.run = barrier_run;
	w->barrier.release = barrier_release;
	w->staging = s;
	w->created = atomic_load(&s->created);
	w->fd = -1;
	w->barrier.key = (uint64_t)(uintptr_t)s ^ w->created;
	return &w->barrier;
}

struct kv_barrier *staging_data_barrier(struct staging *s, uint64_t ino, uint64_t gen, int fd)
{
	struct staging_wait *w = (struct staging_wait *)staging_barrier(s);
	if (!w)
		return NULL;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0) {
		free(w);
		return NULL;
	}
	w->ino = ino;
	w->gen = gen;
	waiting_add(w);
	sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* a head start only */
	w->barrier.key = (uint64_t)(uintptr_t)w;	     /* its own file: never shared */
	return &w->barrier;
}

int staging_drop(struct staging *s, uint64_t ino, uint64_t gen)
{
	char name[STAGING_NAME_MAX];
	staging_name(ino, gen, name);
	return unlinkat(s->dirfd, name, 0) ? -errno : 0;
}

struct removal {
	struct job job; /* first */
	struct staging *staging;
	uint64_t ino, gen;
};

static void remove_now(struct job *job)
{
	struct removal *rm = (struct removal *)job;
	int r = staging_drop(rm->staging, rm->ino, rm->gen);
	if (r < 0 && r != -ENOENT)
		log_warn("staging file %lx.%lx could not be removed, the next mount does it: %s",
			 rm->ino, rm->gen, strerror(-r));
	free(rm);
}

/* Runs on the log writer's thread: unlinking a large file takes too long for that. */
static void remove_later(void *arg, int err)
{
	struct removal *rm = arg;
	struct staging *s = rm->staging;
	if (err < 0)
		free(rm); /* the batch may not be durable, and the file still be the truth */
	else
		workers_queue(s->removers, &rm->job);
	atomic_fetch_sub(&s->awaited, 1);
}

void staging_drop_after(struct staging *s, uint64_t ino, uint64_t gen, uint64_t lsn)
{
	struct removal *rm = malloc(sizeof *rm);
	if (!rm)
		return; /* swept at the next mount */
	*rm = (struct removal){ .job.run = remove_now, .staging = s, .ino = ino, .gen = gen };
	atomic_fetch_add(&s->awaited, 1);
	kv_when_durable(s->kv, lsn, remove_later, rm);
}

void staging_drain(struct staging *s)
{
	workers_drain(s->removers);
}

int staging_idle(int fd, bool writers_only)
{
	if (fcntl(fd, F_SETLEASE, writers_only ? F_RDLCK : F_WRLCK)) {
		if (errno == EAGAIN)
			return 0;
		/* EINVAL: a filesystem without leases never maps behind our back: it has no passthrough */
		return errno == EINVAL || errno == ENOLCK ? 1 : -errno;
	}
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 1;
}

uint64_t staging_bytes(struct staging *s)
{
	long long n = atomic_load(&s->bytes);
	return n > 0 ? (uint64_t)n : 0;
}

void staging_account(struct staging *s, int64_t delta)
{
	atomic_fetch_add(&s->bytes, delta);
}

/* Is this name what the inode's row says? 1, 0, or -errno when it cannot be told. */
static int named_by_row(struct staging *s, const char *name, uint64_t *ret_ino)
{
	uint64_t gen;
	char again[40];
	struct inode_row row;
	if (sscanf(name, "%lx.%lx", ret_ino, &gen) != 2)
		return 0;
	staging_name(*ret_ino, gen, again);
	if (strcmp(name, again))
		return 0;
	int r = inode_row_get(s->kv, *ret_ino, &row);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : row.staging_gen == gen;
}

static DIR *open_names(struct staging *s)
{
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? NULL : fdopendir(fd);
}

int staging_each(struct staging *s, void (*fn)(void *arg, uint64_t ino), void *arg)
{
	uint64_t ino;
	CLEANUP_CLOSEDIR DIR *d = open_names(s);
	if (!d)
		return -errno;
	for (struct dirent *e; (e = readdir(d));)
		if (named_by_row(s, e->d_name, &ino) == 1)
			fn(arg, ino);
	return 0;
}

int staging_sweep(struct staging *s)
{
	uint64_t ino;
	CLEANUP_CLOSEDIR DIR *d = open_names(s);
	if (!d)
		return -errno;
	for (struct dirent *e; (e = readdir(d));) {
		struct stat st;
		if (e->d_name[0] == '.')
			continue;
		int r = named_by_row(s, e->d_name, &ino);
		if (r < 0) /* a damaged row: keep what may be the only copy */
			log_warn("staging file %s is kept: its inode cannot be read", e->d_name);
		else if (r == 0 && unlinkat(s->dirfd, e->d_name, 0))
			log_warn("staging file %s could not be removed: %s", e->d_name,
				 strerror(errno));
		else if (r == 1 && fstatat(s->dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			staging_account(s, (int64_t)st.st_blocks * 512);
	}
	return 0;
}

int staging_probe(int dirfd)
{
	static const char zeros[8192];
	CLEANUP_CLOSE int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 &&
	    (fd = openat(dirfd, "probe", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) >= 0)
		unlinkat(dirfd, "probe", 0);
	if (fd < 0)
		return -errno;
	int r = io_write(fd, zeros, sizeof zeros, 8192);
	if (r == 0 && ftruncate(fd, 24576))
		r = -errno;
	for (int pass = 0; r == 0 && pass < 2; pass++) {
		if (lseek(fd, 0, SEEK_DATA) != 8192 || lseek(fd, 8192, SEEK_HOLE) != 16384 ||
		    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20480, 4096))
			r = -EOPNOTSUPP;
		if (r == 0)
			r = io_fdatasync(fd); /* written zeros must still be data on the device */
	}
	return r;
}
