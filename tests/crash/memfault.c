// SPDX-License-Identifier: MIT
/* memfault: preloaded into a daemon, makes one allocation fail. Allocations are told apart by their
 * *site*, the return addresses of the callers, so that each path to an allocation can be tried once,
 * however often the daemon takes it and in whatever order its threads do.
 *
 *   MEMFAULT_LOG   a file that gets a line "SITE TRACE" for each site when it is first seen (without
 *                  MEMFAULT_SITE), or "FAULT SITE TRACE" for the allocation that failed. A trace is a
 *                  list of MODULE+OFFSET, innermost first.
 *   MEMFAULT_SITE  which site fails; without it all succeed
 *   MEMFAULT_NTH   which of its allocations, from 1 (the default)
 *
 * What happens before main() is not counted: the daemon cannot do anything about it. Nor are its children,
 * of which it expects that they die.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH 7 /* callers that make a site */
#define OURS 2	/* frames of this file on top of them */
#define SITES (1u << 14)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

struct place {
	const char *module;
	uint64_t offset;
};

static struct {
	bool on;
	int log;
	uint64_t site;
	long nth, seen;
	pthread_mutex_t lock;
	uint64_t sites[SITES];
} fault = { .log = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

static _Thread_local bool inside; /* what the unwinder allocates is not looked at */

/* A jail of parsers may not even write to the log. */
static void not_in_children(void)
{
	fault.on = false;
}

static void __attribute__((constructor)) fault_init(void)
{
	const char *log = getenv("MEMFAULT_LOG"), *site = getenv("MEMFAULT_SITE");
	const char *nth = getenv("MEMFAULT_NTH");
	void *warm[4];
	inside = true;
	backtrace(warm, 4); /* loads its library */
	inside = false;
	if (!log)
		return;
	fault.log = (int)syscall(SYS_openat, AT_FDCWD, log,
				 O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	fault.site = site ? strtoull(site, NULL, 16) : 0;
	fault.nth = nth ? atol(nth) : 1;
	unsetenv("LD_PRELOAD"); /* programs that the daemon starts are not meant */
	fault.on = !pthread_atfork(NULL, NULL, not_in_children);
}

static struct place place_of(void *address)
{
	struct dl_find_object found;
	if (_dl_find_object(address, &found))
		return (struct place){ "?", 0 };
	const char *path = found.dlfo_link_map->l_name, *slash = strrchr(path, '/');
	return (struct place){ slash ? slash + 1 : path,
			       (uint64_t)((uintptr_t)address - found.dlfo_link_map->l_addr) };
}

static uint64_t hash_of(const struct place *at, int n)
{
	uint64_t h = 0xcbf29ce484222325; /* FNV-1a */
	for (int i = 0; i < n; i++) {
		for (const char *c = at[i].module; *c; c++)
			h = (h ^ (uint8_t)*c) * 0x100000001b3;
		for (int b = 0; b < 64; b += 8)
			h = (h ^ (uint8_t)(at[i].offset >> b)) * 0x100000001b3;
	}
	return h | 1; /* never 0 */
}

static void tell(const char *what, uint64_t site, const struct place *at, int n)
{
	char line[2048];
	int len = snprintf(line, sizeof line, "%s%016" PRIx64, what, site);
	for (int i = 0; i < n && len < (int)sizeof line - 128; i++)
		len += snprintf(line + len, sizeof line - (size_t)len, " %.64s+%#" PRIx64,
				*at[i].module ? at[i].module : "daemon", at[i].offset);
	line[len++] = '\n';
	syscall(SYS_write, fault.log, line, (size_t)len);
}

/* The table has room for far more sites than there are. */
static bool is_new_locked(uint64_t site)
{
	for (uint32_t i = (uint32_t)(site >> 32);; i++) {
		uint64_t *slot = &fault.sites[i % SITES];
		if (*slot == site)
			return false;
		if (!*slot) {
			*slot = site;
			return true;
		}
	}
}

static bool judge(const struct place *at, int n)
{
	uint64_t site = hash_of(at, n);
	bool hit = false;
	pthread_mutex_lock(&fault.lock);
	if (!fault.site && is_new_locked(site))
		tell("", site, at, n);
	if (site == fault.site && ++fault.seen == fault.nth) {
		hit = true;
		tell("FAULT ", site, at, n);
	}
	pthread_mutex_unlock(&fault.lock);
	return hit;
}

/* Does this allocation fail? Then errno says so. */
static bool __attribute__((noinline)) fails(void)
{
	void *frames[OURS + DEPTH];
	struct place at[DEPTH];
	int saved = errno, n = 0;
	if (!fault.on || inside)
		return false;
	inside = true;
	int all = backtrace(frames, OURS + DEPTH);
	for (int i = OURS; i < all; i++)
		at[n++] = place_of(frames[i]);
	bool hit = n && judge(at, n);
	inside = false;
	errno = hit ? ENOMEM : saved;
	return hit;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return fails() ? NULL : __libc_realloc(p, bytes);
}

void *aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : __libc_memalign(align, size);
}

void *memalign(size_t align, size_t size)
{
	return fails() ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	void *p = fails() ? NULL : __libc_memalign(align, size);
	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}
