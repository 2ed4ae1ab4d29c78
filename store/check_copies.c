// SPDX-License-Identifier: MIT
/* A pack's file that lies in another place than its row says, as when somebody has moved it by hand, is not
 * lost: a mount finds it, too. One that lies twice was left by a move that was interrupted: which copy is
 * sound can only be told by reading both. */
#include "check_impl.h"
#include "cleanup.h"
#include "pack_copy.h"
#include "pack_scan.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int check_find_copy(struct check *k, uint64_t pack, unsigned not_tier, unsigned *ret_tier)
{
	struct tiers *t = k->pool->tiers;
	for (unsigned i = 0; i < TIERS_MAX; i++) {
		struct place *pl = i == not_tier ? NULL : tiers_place(t, i);
		CLEANUP_CLOSE int fd =
			pl && pl->ops->open_pack ? pl->ops->open_pack(pl, pack) : -ENOENT;
		if (fd < 0 || pack_is_foreign(fd, k->pool->super.uuid))
			continue;
		*ret_tier = i;
		return take_fd(&fd);
	}
	return -ENOENT;
}

void check_say_moved(struct check *k, const struct pack_row *row, unsigned tier)
{
	char from[TIER_CALLED_MAX], to[TIER_CALLED_MAX];
	tiers_called(k->pool->tiers, row->tier, from);
	tiers_called(k->pool->tiers, tier, to);
	check_error_safe(k, "pack %lu is not in %s, but in %s: its row is to say so", row->id, from,
			 to);
}

/* What is still in the pool itself is the rest of a move; copies in tiers that could not be written to
 * when packs came back may be many. */
void check_compare_copies(struct check *k, const struct pack_row *row)
{
	char there[TIER_CALLED_MAX], here[TIER_CALLED_MAX];
	uint64_t own = 0, others = 0;
	unsigned tier = 0;
	struct tiers *t = k->pool->tiers;
	if (row->tier == TIER_HOT || row->state != PACK_SEALED)
		return;
	CLEANUP_CLOSE int other = check_find_copy(k, row->id, row->tier, &tier);
	if (other < 0)
		return;
	CLEANUP_CLOSE int fd = pack_copy_open(t, row->tier, row->id, k->pool->packs_fd);
	int r = fd < 0 ? fd : pack_copy_weigh(k->pool, fd, row->id, &own);
	if (r == 0)
		r = pack_copy_weigh(k->pool, other, row->id, &others);
	tiers_called(t, row->tier, there);
	tiers_called(t, tier, here);
	if (r == 0 && others > own)
		check_error(k, "pack %lu in %s is damaged, and its copy in %s is sounder", row->id,
			    there, here);
	else if (r < 0 && r != -ENOENT)
		check_note(k, "pack %lu lies in %s and in %s, and these could not be compared: %s",
			   row->id, there, here, strerror(-r));
}

/* What cannot be mended by writing rows is no error that is left: somebody has to let it be mended. */
void check_file_error(struct check *k, unsigned tier, const char *fmt, ...)
{
	char sentence[256];
	struct tier_info info;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	if (!tier || tiers_writable(k->pool->tiers, tier) ||
	    !tiers_get(k->pool->tiers, tier, &info))
		check_error(k, "%s", sentence);
	else
		check_absent(k,
			     "%s, and %s cannot be written to: make it writable, and run "
			     "fsck.foldfs -y -f",
			     sentence, info.where);
}
