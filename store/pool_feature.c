// SPDX-License-Identifier: MIT
/* What older programs can't read is marked in the superblock before the first of it is written, and not
 * earlier: a pool without films is theirs as well. */
#include "cleanup.h"
#include "pool.h"
#include <pthread.h>

int pool_use_strands(struct pool *pool)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	SCOPED_LOCK(&lock);
	if (!(pool->super.incompat & SUPER_STRANDS)) {
		struct super super = pool->super;
		super.incompat |= SUPER_STRANDS;
		int r = super_write(pool->dirfd, &super);
		if (r < 0)
			return r;
		pool->super.incompat = super.incompat;
	}
	extents_use_strands(pool->extents);
	return 0;
}
