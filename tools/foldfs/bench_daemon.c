// SPDX-License-Identifier: MIT
/* Has it come into packs? The kernel tells the daemon of a close when it pleases, so a sync --destage that comes
 * right after it may pass the file over: it is asked for again until as many bytes have been destaged as the file has.
 * How many went through while it was waited for, of a part of a file too, only the packer knows.
 */
#include "bench_daemon.h"
#include "cleanup.h"
#include "client.h"
#include "clock.h"
#include "io.h"
#include "pack_fds.h"
#include "say.h"
#include "show.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define AGAIN_US 20000
#define COUNT_NS 2000000000ull

static bool enough(void *arg)
{
	struct bench_daemon *d = arg;
	return *d->stop || clock_mono_ns() >= d->until_ns;
}

/* 1, 0: enough, -EREMOTEIO. */
static int ask(struct bench_daemon *d, json_t *request, json_t **ret_result)
{
	switch (client_ask_unless(d->pool, request, enough, d, ret_result)) {
	case CLIENT_OK:
		return 1;
	case CLIENT_LEFT:
		return 0;
	case CLIENT_NOBODY:
		complain("%s is not mounted any more", d->pool);
		return -EREMOTEIO;
	default:
		return -EREMOTEIO;
	}
}

struct counts {
	uint64_t files, packer; /* bytes */
};

static int count(struct bench_daemon *d, struct counts *ret)
{
	json_t *stats = NULL;
	d->until_ns = clock_mono_ns() + COUNT_NS;
	int r = ask(d, json_pack("{s:s}", "command", "stats"), &stats);
	if (r == 1) {
		ret->files = show_number(json_object_get(stats, "destage"), "bytes");
		ret->packer = show_number(json_object_get(stats, "packer"), "bytes_in");
	}
	json_decref(stats);
	return r;
}

static int begin(void *arg)
{
	struct bench_daemon *d = arg;
	struct counts c = { 0 };
	d->began = time(NULL);
	int r = count(d, &c);
	d->files_bytes = c.files;
	return r < 0 ? r : 0;
}

static int destage_all(struct bench_daemon *d, uint64_t until_ns)
{
	json_t *result = NULL;
	d->until_ns = until_ns;
	int r = ask(d, json_pack("{s:s, s:b}", "command", "sync", "destage", 1), &result);
	json_decref(result);
	return r;
}

static int destage(void *arg, uint64_t bytes, uint64_t until_ns, uint64_t *ret_bytes)
{
	struct bench_daemon *d = arg;
	struct counts before, now = { 0 };
	bool done = false;
	int r = count(d, &before);
	while (r > 0 && !done && !*d->stop && clock_mono_ns() < until_ns) {
		bool all = (r = destage_all(d, until_ns)) > 0;
		if (r >= 0)
			r = count(d, &now);
		done = all && r > 0 && now.files - d->files_bytes >= bytes;
		if (r > 0 && !done)
			usleep(AGAIN_US);
	}
	*ret_bytes = now.packer > before.packer ? now.packer - before.packer : 0;
	return r < 0 ? r : done;
}

static void drop(void *arg)
{
	struct bench_daemon *d = arg;
	struct dirent *e;
	CLEANUP_CLOSE int dirfd = open(d->pool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int packs = dirfd < 0 ? -1 : openat(dirfd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSEDIR DIR *dir = packs < 0 ? NULL : fdopendir(packs);
	if (!dir && packs >= 0)
		close(packs);
	while (dir && !*d->stop && io_next_entry(dir, &e) == 1) {
		struct stat st;
		if (!pack_of_name(e->d_name) || fstatat(packs, e->d_name, &st, 0) ||
		    st.st_mtime < d->began)
			continue;
		CLEANUP_CLOSE int fd = openat(packs, e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

struct speed_daemon bench_daemon(struct bench_daemon *d, const char *pool,
				 const volatile sig_atomic_t *stop)
{
	*d = (struct bench_daemon){ .pool = pool, .stop = stop };
	return (struct speed_daemon){ begin, destage, drop, d };
}
