// SPDX-License-Identifier: MIT
/* A pack comes back from a tier that cannot be written to at the time, or that is gone before its file
 * could be removed. As long as the pack has a row, the next mount knows by it that this file is a copy. Then
 * gc collects the pack, its row goes, and nothing speaks of the file any more.
 *
 *   the pack's row         the file in this place
 *   names this tier        is the pack
 *   names another one      is a copy: goes, if the pack is there as a whole, and it is not another pool's
 *   is not there           goes, if nothing refers to it
 *
 * Nothing refers to it when no row of a frame names the pack (all of them are looked at, once for all such
 * files), the index has all that it ever had (pack_stray.h), and no bytes of files are known to be lost:
 * a file that somebody has put back may hold these, and `fsck.foldfs -y -f` looks for them. Rows in memory
 * may be ahead of the log, so that is synced before anything goes.
 */
#include "pack_leftover.h"
#include "log.h"
#include "pack_copies.h"
#include "pack_stray.h"
#include "rows_format.h"
#include "tiers.h"
#include <errno.h>
#include <inttypes.h>

struct leftovers {
	struct packs *p;
	struct place *pl;
	unsigned tier;
	uint64_t *v; /* packs without a row */
	size_t n, cap;
	uint64_t *copies; /* packs whose row names another place */
	size_t n_copies, cap_copies;
};

static int add(uint64_t **v, size_t *n, size_t *cap, uint64_t pack)
{
	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		uint64_t *grown = realloc(*v, more * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		*v = grown;
		*cap = more;
	}
	(*v)[(*n)++] = pack;
	return 0;
}

static bool is_ours(struct leftovers *l, uint64_t pack)
{
	struct pack_header h;
	struct place_read rd = { .pack = pack, .len = sizeof h, .buf = &h };
	l->pl->ops->read(l->pl, &rd, 1);
	return rd.result == (ssize_t)sizeof h && h.magic == PACK_MAGIC && h.pack == pack &&
	       h.sum == checksum64(&h, offsetof(struct pack_header, sum)) &&
	       !memcmp(h.pool_uuid, l->p->opt.pool_uuid, sizeof h.pool_uuid);
}

static int take_file(void *arg, uint64_t pack, uint64_t bytes)
{
	struct leftovers *l = arg;
	struct pack_row row;
	int r = pack_get(l->p->opt.kv, pack, &row);
	(void)bytes;
	if (r == 0 && row.state == PACK_SEALED && row.tier != l->tier)
		return add(&l->copies, &l->n_copies, &l->cap_copies, pack);
	return r == -ENOENT ? add(&l->v, &l->n, &l->cap, pack) : 0;
}

static int id_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static bool any_lost(struct kv *kv)
{
	struct slice key, val;
	size_t len = strlen(META_LOST_CHUNK);
	struct kv_iter *it = kv_iter_new(kv, KV_META, META_LOST_CHUNK, len, false);
	if (!it)
		return true;
	int r = kv_iter_next(it, &key, &val);
	bool lost = r < 0 || (r > 0 && key.len >= len && !memcmp(key.at, META_LOST_CHUNK, len));
	kv_iter_free(it);
	return lost;
}

/* Takes those out of the list that a row of a frame names. */
static int spare_named(struct leftovers *l)
{
	struct slice key, val;
	struct kv_iter *it = kv_iter_new(l->p->opt.kv, KV_CHUNK, NULL, 0, false);
	int r = it ? 0 : -ENOMEM;
	while (it && (r = kv_iter_next(it, &key, &val)) > 0) {
		struct frame_row row;
		r = frame_decode_row(key, val, &row);
		if (r < 0)
			break;
		uint64_t *named = bsearch(&row.pack, l->v, l->n, sizeof *l->v, id_order);
		frame_row_done(&row);
		if (!named)
			continue;
		memmove(named, named + 1, (size_t)(l->v + --l->n - named) * sizeof *named);
	}
	kv_iter_free(it);
	return r;
}

/* NULL: what is left in the list may go. */
static const char *find_reason(struct leftovers *l)
{
	struct stray_index index;
	if (any_lost(l->p->opt.kv))
		return "bytes of files are lost, and fsck.foldfs -y -f may find them there";
	if (stray_index_init(&index, l->p) < 0)
		return "the index cannot be read";
	const char *lacks = stray_index_lacks(&index);
	return lacks ? lacks : spare_named(l) < 0 ? "rows of the index cannot be read" : NULL;
}

static bool is_whole(struct packs *p, const struct pack_row *row)
{
	struct place *pl = tiers_place(p->opt.tiers, row->tier);
	uint64_t bytes;
	return pl && pl->ops->size(pl, row->id, &bytes) == 0 && bytes >= row->bytes;
}

/* Trouble is told once, whatever the number. */
static void remove_all(struct leftovers *l)
{
	struct pack_row row;
	size_t gone = 0, stay = 0;
	int trouble = 0;
	for (size_t i = 0; i < l->n_copies + l->n; i++) {
		bool copy = i < l->n_copies;
		uint64_t pack = copy ? l->copies[i] : l->v[i - l->n_copies];
		if (copy && (pack_get(l->p->opt.kv, pack, &row) < 0 || row.tier == l->tier ||
			     !is_whole(l->p, &row)))
			continue;
		if (copy && pack_copy_is_foreign(l->pl, pack, l->p->opt.pool_uuid))
			continue;
		int r = l->pl->ops->remove(l->pl, pack);
		gone += r == 0;
		stay += r < 0;
		trouble = r < 0 ? r : trouble;
	}
	if (gone)
		log_info("%zu files of packs that are no longer in tier %u were removed there",
			 gone, l->tier);
	if (stay)
		log_warn("%zu files of packs that are no longer in tier %u could not be removed "
			 "there: %s",
			 stay, l->tier, strerror(-trouble));
}

void pack_leftover_remove(struct packs *p, unsigned tier)
{
	struct leftovers l = { .p = p, .pl = tiers_place(p->opt.tiers, tier), .tier = tier };
	size_t ours = 0;
	if (!l.pl || l.pl->keeps || tier == TIER_HOT || p->opt.read_only)
		return;
	int r = l.pl->ops->list(l.pl, take_file, &l);
	for (size_t i = 0; i < l.n; i++)
		if (is_ours(&l, l.v[i]))
			l.v[ours++] = l.v[i];
	l.n = ours;
	if (l.n)
		qsort(l.v, l.n, sizeof *l.v, id_order);
	const char *why = r == 0 && l.n ? find_reason(&l) : NULL;
	if (why)
		log_warn("tier %u has %zu packs that no row of the index knows: they stay, as %s",
			 tier, l.n, why);
	l.n = why ? 0 : l.n;
	if (r == 0 && (l.n || l.n_copies))
		r = kv_sync(p->opt.kv, UINT64_MAX);
	if (r == 0)
		remove_all(&l);
	free(l.v);
	free(l.copies);
}
