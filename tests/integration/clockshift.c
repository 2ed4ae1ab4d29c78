// SPDX-License-Identifier: MIT
/* clockshift: preloaded, it moves the wall clock by as many seconds as the file FOLDFS_TEST_CLOCK says
 * (int64, native bytes), at any moment. Time that only goes on is left alone. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*real_gettime)(clockid_t, struct timespec *);
static const volatile int64_t *shift;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FOLDFS_TEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		shift = map;
	if (fd >= 0)
		close(fd);
	*(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t id, struct timespec *ret_time);
int clock_gettime(clockid_t id, struct timespec *ret_time)
{
	int r = real_gettime(id, ret_time);
	if (r == 0 && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ret_time->tv_sec += *shift;
	return r;
}
