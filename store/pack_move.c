// SPDX-License-Identifier: MIT
/* Four steps, after each of which a crash leaves something else for the next mount (pack_recover.c):
 *
 *   1  the copy is put, durably             the row names the old place: the copy goes
 *   2  it is read back and compared         likewise
 *   3  the row, in a batch of its own       before it is durable likewise; then the old one goes
 *   4  when that is durable the old one goes
 *
 * Readers look the row up when they open the pack. Who opened it before reads on from what is being
 * removed, as with any file; who comes between its row and its file finds nothing, and looks again
 * (-ESTALE, chunk_fetch.c). Offsets stay, so rows of frames and what is cached do too.
 *
 * What moves to a tier with a level goes by pack_recode.c, if it gets smaller there.
 *
 * What is read is proved by the sums that frames, header and footer carry (pack_proof.c). Compared are sums
 * of the bytes as they were read and as they are read back; an object store compares what it gets with its
 * sum itself. Meanwhile gc may give back dead frames in place: the copy then has them or zeros, and nobody
 * asks. It may doom the pack: the row is looked at again, under the lock that gc holds, before it changes;
 * the lock is kept until the old one is gone, so that nothing of a pack is left when its row goes.
 */
#include "pack_move.h"
#include "cleanup.h"
#include "digest.h"
#include "fault.h"
#include "io.h"
#include "log.h"
#include "pack_proof.h"
#include "pack_recode.h"
#include "pack_set.h"
#include "pack_source.h"
#include "tiers.h"
#include <errno.h>
#include <inttypes.h>

struct source {
	struct place_source s; /* first */
	const struct pack_move *m;
	struct pack_source from;
	struct pack_proof *proof;
	uint64_t sum;
};

static int source_read(struct place_source *from, void *buf, size_t len, uint64_t at)
{
	struct source *s = (struct source *)from;
	const struct pack_move *m = s->m;
	int r = pack_source_read(&s->from, buf, len, at);
	if (r == 0)
		r = pack_proof_feed(s->proof, buf, len);
	if (r == 0)
		s->sum = checksum64_seeded(buf, len, s->sum + at);
	return r == 0 && m->pace ? m->pace(m->arg, len) : r;
}

/* An object store has compared what it got with its sum: its length tells that it is there. */
static int ask_length(struct place *pl, const struct source *s)
{
	uint64_t bytes = 0;
	int r = fault_hit("move_read_back");
	if (r == 0)
		r = pl->ops->size(pl, s->from.pack, &bytes);
	if (r == -ENOENT || (r == 0 && bytes != s->s.bytes))
		r = -EUCLEAN;
	return r;
}

/* In the steps that it was put in. */
static int compare(struct place *pl, const struct source *s)
{
	CLEANUP_FREE uint8_t *data = malloc(PLACE_STEP);
	CLEANUP_CLOSE int fd = pl->ops->open_pack(pl, s->from.pack);
	uint64_t sum = 0;
	int r = data ? fault_hit("move_read_back") : -ENOMEM;
	if (r == 0 && fd < 0)
		r = fd;
	for (uint64_t at = 0; at < s->s.bytes && r == 0; at += PLACE_STEP) {
		uint64_t left = s->s.bytes - at;
		size_t n = left < PLACE_STEP ? (size_t)left : PLACE_STEP;
		r = io_read_exact(fd, data, n, (off_t)at);
		if (r == 0)
			sum = checksum64_seeded(data, n, sum + at);
	}
	return r == 0 && sum != s->sum ? -EUCLEAN : r;
}

static int read_back(struct place *pl, const struct source *s)
{
	int r = pl->ops->open_pack ? compare(pl, s) : ask_length(pl, s);
	if (r < 0)
		log_error("pack %016" PRIx64 ": its copy does not read back: %s", s->from.pack,
			  r == -EUCLEAN ? "it has other bytes" : strerror(-r));
	return r == -EUCLEAN ? -EIO : r;
}

/* What is being filled is not durable yet; what is sealed may not be. */
static int look(struct packs *p, uint64_t pack, struct pack_row *ret_row)
{
	int r = pack_sync(p);
	if (r == 0)
		r = pack_get(p->opt.kv, pack, ret_row);
	return r ? r : ret_row->state == PACK_SEALED ? 0 : -EBUSY;
}

/* *ret_put: there is a copy, whatever it is worth. */
static int copy(const struct pack_move *m, const struct pack_row *row, struct place *from,
		struct place *to, bool *ret_put)
{
	struct source s = { .s = { .read = source_read }, .m = m };
	int r = pack_source_open(&s.from, from, row->id);
	s.s.bytes = s.from.bytes;
	if (r == 0 && s.s.bytes < row->bytes)
		r = -EUCLEAN;
	if (r == 0)
		r = pack_proof_new(&s.from, m->packs->opt.pool_uuid, &s.proof);
	if (r == 0)
		r = to->ops->put(to, row->id, &s.s);
	*ret_put = r == 0;
	pack_proof_free(s.proof);
	pack_source_close(&s.from);
	if (r == 0)
		r = read_back(to, &s);
	if (r == 0)
		r = fault_hit("move_compared");
	return r;
}

static int switch_row_locked(const struct pack_move *m, const struct pack_row *was, uint8_t tier,
			     uint64_t *ret_lsn)
{
	struct pack_row row;
	struct kv *kv = m->packs->opt.kv;
	struct kv_batch *batch = NULL;
	int r = pack_get(kv, was->id, &row);
	if (r == 0 && (row.state != PACK_SEALED || row.tier != was->tier))
		r = -EBUSY;
	if (r == 0) {
		row.tier = tier;
		batch = kv_batch_new();
		if (batch)
			pack_put(batch, &row);
		r = kv_commit(kv, batch, ret_lsn);
	}
	return r;
}

static void count_move(struct packs *p, const struct pack_row *row, uint8_t tier)
{
	SCOPED_LOCK(&p->lock);
	if (!row->tier) {
		packs_note_holes_locked(p, row->id, 0);
		p->bytes -= row->bytes;
		p->count--;
	} else if (!tier) {
		p->bytes += row->bytes;
		p->count++;
	}
}

/* From its row on: it has been copied. */
static int finish_locked(const struct pack_move *m, const struct pack_row *row, uint8_t tier,
			 struct place *from)
{
	struct packs *p = m->packs;
	uint64_t lsn = 0;
	int r = switch_row_locked(m, row, tier, &lsn);
	if (r < 0)
		return r;
	count_move(p, row, tier);
	pack_fds_forget(p->fds, row->id);
	r = fault_hit("move_switched");
	if (r == 0)
		r = kv_sync(p->opt.kv, lsn);
	if (r == 0)
		r = from->ops->remove(from, row->id);
	if (r == 0)
		r = fault_hit("move_removed");
	if (r < 0) /* the next mount does it */
		log_warn("pack %016" PRIx64
			 " has moved, and could not be removed from where it was: %s",
			 row->id, strerror(-r));
	return 0;
}

int pack_squeeze(const struct pack_move *m, uint64_t pack, struct pack_row *ret_was,
		 struct pack_row *ret_row)
{
	struct packs *p = m->packs;
	int r = p->opt.read_only ? -EROFS : look(p, pack, ret_was);
	if (r == 0 && ret_was->tier != TIER_HOT)
		r = -EBUSY;
	return r ? r : pack_recode(m, ret_was, TIER_HOT, ret_row);
}

int pack_move(const struct pack_move *m, uint64_t pack, uint8_t tier)
{
	struct packs *p = m->packs;
	struct pack_row row;
	int r = p->opt.read_only ? -EROFS : look(p, pack, &row);
	if (r < 0 || row.tier == tier)
		return r;
	struct place *from = tiers_place(p->opt.tiers, row.tier);
	struct place *to = tiers_place(p->opt.tiers, tier);
	if (!from || !to)
		return -ENOMEDIUM;
	r = m->level ? pack_recode(m, &row, tier, NULL) : PACK_AS_IS;
	if (r != PACK_AS_IS)
		return r;
	bool put = false;
	r = copy(m, &row, from, to, &put);
	rotten_lock_rows(m->rotten);
	if (r == 0)
		r = finish_locked(m, &row, tier, from);
	rotten_unlock_rows(m->rotten);
	if (r < 0 && put) {
		int gone = to->ops->remove(to, pack);
		if (gone < 0)
			log_warn("pack %016" PRIx64 ": a copy of it could not be removed: %s", pack,
				 strerror(-gone));
	}
	return r;
}
