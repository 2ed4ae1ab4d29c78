// SPDX-License-Identifier: MIT
/* cleanup: scope-bound release of memory, descriptors and locks. */
#ifndef FOLDFS_CLEANUP_H
#define FOLDFS_CLEANUP_H
#include "bytes.h"
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void cleanup_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}
static inline void cleanup_unlock(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}
static inline pthread_mutex_t *scope_lock(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return m;
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close)))
#define CLEANUP_CLOSEDIR __attribute__((cleanup(cleanup_closedir)))
#define CLEANUP_BUF __attribute__((cleanup(buf_done)))

#define CLEANUP_CAT2(a, b) a##b
#define CLEANUP_CAT(a, b) CLEANUP_CAT2(a, b)
/* Holds the mutex until the end of the enclosing scope. */
#define SCOPED_LOCK(mutex)                                                                         \
	__attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *CLEANUP_CAT(             \
		scoped_lock_, __LINE__) = scope_lock(mutex)

/* Moves a pointer out of a variable that a cleanup watches. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})
static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}
#endif
