// SPDX-License-Identifier: MIT
/* Reading through the mount fills what reading uses: the kernel's page cache, and on the way there the block
 * cache, with its read-ahead. What lies in cold tiers is fetched by it, and counted as read. Twice
 * through the trees: first for the sum of the sizes, for the progress.
 */
#include "warm.h"
#include "cleanup.h"
#include "progress.h"
#include "say.h"
#include "show.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define PORTION (1u << 20)
#define DESCRIPTORS 32
#define COMPLAINTS_MAX 20u

static struct {
	uint64_t files, bytes, done, read, failed;
	uint8_t *data;
} warm; /* nftw has no argument for its callback */

static void fail(const char *path, int err)
{
	if (++warm.failed <= COMPLAINTS_MAX)
		complain("%s: %s", path, strerror(err));
}

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_DNR || type == FTW_NS)
		fail(path, EACCES);
	if (type == FTW_F && S_ISREG(st->st_mode))
		warm.bytes += (uint64_t)st->st_size;
	return 0;
}

static void tell(void)
{
	json_t *report = json_pack("{s:I, s:I}", "bytes_read", (json_int_t)warm.done, "bytes",
				   (json_int_t)warm.bytes);
	progress_warm(report);
	json_decref(report);
}

static int read_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : 1;
	int err = errno; /* what tells may change it */
	uint64_t before = warm.done;
	while (n > 0) {
		n = read(fd, warm.data, PORTION);
		err = errno;
		warm.read += n > 0 ? (uint64_t)n : 0;
		warm.done += n > 0 ? (uint64_t)n : 0;
		tell();
	}
	if (n < 0)
		fail(path, err);
	warm.files += n == 0;
	warm.done = before + (uint64_t)st->st_size;
	return 0;
}

json_t *warm_paths(char **paths, int n)
{
	warm.data = malloc(PORTION);
	for (int i = 0; warm.data && i < n; i++)
		if (nftw(paths[i], add_size, DESCRIPTORS, FTW_PHYS | FTW_MOUNT))
			fail(paths[i], errno);
	for (int i = 0; warm.data && i < n; i++)
		nftw(paths[i], read_one, DESCRIPTORS, FTW_PHYS | FTW_MOUNT);
	progress_end();
	if (!warm.data)
		complain("there is not enough memory");
	else if (warm.failed > COMPLAINTS_MAX)
		complain("and %" PRIu64 " more", warm.failed - COMPLAINTS_MAX);
	free(TAKE_PTR(warm.data));
	return json_pack("{s:I, s:I, s:I}", "files", (json_int_t)warm.files, "bytes_read",
			 (json_int_t)warm.read, "files_failed", (json_int_t)warm.failed);
}

void warm_show(const json_t *r)
{
	char size[SHOW_SIZE];
	printf("Read %s in %" PRIu64 " files\n", show_size(show_number(r, "bytes_read"), size),
	       show_number(r, "files"));
}
