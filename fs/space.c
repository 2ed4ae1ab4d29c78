// SPDX-License-Identifier: MIT
#include "space.h"
#include "collector.h"
#include "hot.h"
#include "log.h"
#include "settle.h"
#include <sys/statvfs.h>

#define ROOM_TIGHT (512u << 20) /* less than this free: destage at once */

void space_init(struct fs *fs)
{
	struct statvfs vfs;
	fs->staging_limit = fs->pool->config.staging_limit;
	if (!fs->staging_limit && fstatvfs(fs->pool->dirfd, &vfs) == 0)
		fs->staging_limit = (uint64_t)vfs.f_blocks * vfs.f_frsize / 4;
	pthread_mutex_init(&fs->space_lock, NULL);
	/* a disk that never had room for it is used all the same */
	fs->reserve_held = !fs->pool->reserve_lent || pool_reserve_held(fs->pool);
	space_tick(fs);
}

static enum space_level level_of(struct fs *fs, uint64_t avail)
{
	uint64_t staged = staging_bytes(fs->pool->staging), limit = fs->staging_limit;
	if (avail < POOL_ROOM_FULL || (!fs->reserve_held && avail < pool_short_of_room(fs->pool)))
		return SPACE_FULL;
	if (limit && staged > limit)
		return SPACE_SHORT;
	if ((limit && staged > limit / 2) || (staged && avail < ROOM_TIGHT))
		return SPACE_TIGHT;
	return SPACE_EASY;
}

static void keep_reserve(struct fs *fs, enum space_level level)
{
	if (level == SPACE_FULL && fs->reserve_held) {
		log_warn("%s: no space left on its disk: writes are refused until something is "
			 "deleted",
			 fs->pool->path);
		pool_reserve_release(fs->pool);
		fs->reserve_held = false;
		collector_wake(fs);
	} else if (level != SPACE_FULL && !fs->reserve_held && pool_reserve_make(fs->pool) == 0) {
		fs->reserve_held = true;
		log_info("%s: there is space again", fs->pool->path);
	}
}

void space_tick(struct fs *fs)
{
	struct statvfs vfs;
	if (fs->read_only || fstatvfs(fs->pool->dirfd, &vfs))
		return;
	pthread_mutex_lock(&fs->space_lock);
	uint64_t avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	enum space_level level = level_of(fs, avail);
	atomic_store(&fs->space_low, avail < ROOM_TIGHT);
	keep_reserve(fs, level);
	hot_press(fs, avail, (uint64_t)vfs.f_blocks * vfs.f_frsize);
	pthread_mutex_unlock(&fs->space_lock);
	enum space_level before = (enum space_level)atomic_exchange(&fs->space, (int)level);
	if (level >= SPACE_TIGHT && (before < SPACE_TIGHT || level >= SPACE_SHORT))
		settle_all(fs, false);
}

bool space_is_full(struct fs *fs)
{
	if (space_level(fs) != SPACE_FULL)
		return false;
	space_tick(fs);
	if (space_level(fs) != SPACE_FULL)
		return false;
	hot_drop_all(fs); /* copies are the first to go */
	space_tick(fs);
	return space_level(fs) == SPACE_FULL;
}

void space_was_short(struct fs *fs)
{
	settle_all(fs, false);
	collector_wake(fs);
}
