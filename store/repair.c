// SPDX-License-Identifier: MIT
/* The parts are taken in an order in which each can rely on those before it: a name is judged by the
 * inodes that are there when all that can be rebuilt have been. Each works on rows as they are, not
 * on a list of errors, so that a part that is run twice does nothing the second time.
 *
 * Chunk ids, inode numbers and the like are raised before a row that used one may go: whoever mounts
 * the pool after an interrupted repair must not give a number out that something still refers to.
 */
#include "repair_impl.h"
#include "cleanup.h"
#include "fault.h"
#include "packer.h"
#include "piece.h"
#include "pool_owner.h"
#include "rows_format.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define OPS_PER_BATCH 4096u
#define LOOK_EVERY 4096u

void repair_say(struct repair *r, const char *fmt, ...)
{
	char sentence[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	r->res.repaired++;
	r->opt->done(r->opt->arg, sentence);
}

int repair_commit(struct repair *r)
{
	int e = fault_hit("repair_commit");
	struct kv_batch *next = e == 0 ? kv_batch_new() : NULL;
	if (!next)
		return e ? e : -ENOMEM;
	kv_batch_set_reserve(r->batch);
	e = kv_commit(r->pool->kv, r->batch, NULL);
	r->batch = next;
	r->ops = 0;
	return e;
}

static bool stopped(struct repair *r)
{
	return r->opt->stopped && r->opt->stopped(r->opt->arg);
}

int repair_point(struct repair *r)
{
	if (r->ops < OPS_PER_BATCH)
		return 0;
	int e = repair_commit(r);
	return e == 0 && stopped(r) ? -EINTR : e;
}

void repair_put(struct repair *r, enum kv_table t, struct slice key, struct slice val)
{
	kv_batch_put(r->batch, t, key.at, key.len, val.at ? val.at : (const uint8_t *)"", val.len);
	r->ops++;
}

void repair_delete(struct repair *r, enum kv_table t, struct slice key)
{
	kv_batch_delete(r->batch, t, key.at, key.len);
	r->ops++;
}

void repair_put_inode(struct repair *r, const struct inode_row *row)
{
	inode_row_put(r->batch, row);
	r->ops++;
}

int repair_each(struct repair *r, enum kv_table t, const char *what, repair_row_fn *fn)
{
	struct kv_stats stats;
	struct slice key, val;
	uint64_t n = 0;
	int more, e = 0;
	kv_get_stats(r->pool->kv, &stats);
	struct kv_iter *it = kv_iter_new(r->pool->kv, t, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while ((more = kv_iter_next(it, &key, &val)) != 0) {
		if (more < 0 && (more != -EUCLEAN || !key.len)) {
			e = more;
			break;
		}
		if (n++ % LOOK_EVERY == 0) {
			if (r->opt->progress)
				r->opt->progress(r->opt->arg, what, n, stats.rows[t]);
			e = stopped(r) ? -EINTR : 0;
		}
		if (e == 0)
			e = fn(r, key, more < 0 ? slice_of(NULL, 0) : val);
		if (e == 0)
			e = repair_point(r);
		if (e < 0)
			break;
	}
	kv_iter_free(it);
	return e;
}

static void say_nothing(void *arg, const char *sentence)
{
	(void)arg;
	(void)sentence;
}

int repair_look(struct repair *r)
{
	int e = repair_commit(r);
	check_done(&r->k);
	r->k.rows_only = true;
	if (e == 0)
		e = check_chunks(&r->k);
	if (e == 0)
		e = check_segments(&r->k);
	return e < 0 ? e : check_inodes(&r->k);
}

/* ---- numbers ---- */

static uint64_t number_of(struct repair *r, const char *key)
{
	CLEANUP_BUF struct buf val = { 0 };
	int e = kv_get(r->pool->kv, KV_META, key, strlen(key), &val);
	return e == 0 && val.len == 8 ? get_le64(val.data) : 0;
}

static void put_number(struct repair *r, const char *key, uint64_t n)
{
	uint8_t val[8];
	put_le64(val, n);
	repair_put(r, KV_META, slice_of(key, strlen(key)), slice_of(val, sizeof val));
}

int repair_new_ino(struct repair *r, uint64_t *ret_ino)
{
	static const char key[] = META_IDS_PREFIX "next_inode";
	if (!r->next_ino) {
		uint64_t most = r->k.max_ino < INO_FIRST ? INO_FIRST - 1 : r->k.max_ino;
		uint64_t next = number_of(r, key);
		r->next_ino = next > most ? next : most + 1;
	}
	*ret_ino = r->next_ino++;
	put_number(r, key, r->next_ino);
	return 0;
}

int repair_new_segment(struct repair *r, uint64_t *ret_id)
{
	static const char key[] = META_IDS_PREFIX "segment";
	if (!r->next_segment) {
		uint64_t most = r->k.n_segments ? r->k.segments[r->k.n_segments - 1].id : 0;
		uint64_t next = number_of(r, key);
		r->next_segment = next > most ? next : most + 1;
	}
	*ret_id = r->next_segment++;
	put_number(r, key, r->next_segment);
	return 0;
}

void repair_mark_lost(struct repair *r, uint64_t chunk)
{
	uint8_t key[META_LOST_CHUNK_SIZE];
	memcpy(key, META_LOST_CHUNK, sizeof key - 8);
	put_be64(key + sizeof key - 8, chunk);
	repair_put(r, KV_META, slice_of(key, sizeof key), slice_of("", 0));
}

static int lost_chunk(struct repair *r, uint64_t *ret_id)
{
	if (!r->lost_chunk) {
		uint64_t next = number_of(r, PACKER_NEXT_KEY);
		next = next > r->k.chunk_end ? next : r->k.chunk_end;
		next = next > r->k.max_chunk ? next : r->k.max_chunk + 1;
		r->lost_chunk = next ? next : 1;
		put_number(r, PACKER_NEXT_KEY, r->lost_chunk + 1);
		repair_mark_lost(r, r->lost_chunk);
	}
	*ret_id = r->lost_chunk;
	return 0;
}

int repair_lost_pieces(struct repair *r, uint64_t len, struct piece v[LOST_PIECES_MAX])
{
	uint64_t id;
	int n = 0, e = lost_chunk(r, &id);
	while (e == 0 && len && n < LOST_PIECES_MAX) {
		uint64_t times = len / CHUNK_LENGTH_MAX;
		uint32_t repeat = times > UINT32_MAX ? UINT32_MAX : times ? (uint32_t)times : 1;
		uint64_t each = times ? CHUNK_LENGTH_MAX : len;
		v[n++] = (struct piece){ .chunk = id, .length = each, .repeat = repeat };
		len -= each * repeat;
	}
	return e < 0 ? e : n;
}

int repair_lose_piece(struct repair *r, struct piece *p)
{
	p->offset = 0;
	return lost_chunk(r, &p->chunk);
}

int repair_pool(struct pool *pool, const struct repair_options *opt,
		struct repair_result *ret_result)
{
	static int (*const parts[])(struct repair *
				    r) = { repair_numbers,    repair_packs,    repair_inodes,
					   repair_names,      repair_segments, repair_maps,
					   repair_references, repair_numbers,  repair_seal };
	struct repair r = {
		.pool = pool,
		.opt = opt,
		.look = { .error = say_nothing, .full = !opt->safe_only },
		.batch = kv_batch_new(),
	};
	r.k = (struct check){ .pool = pool, .opt = &r.look };
	pool_owner(pool->dirfd, &r.uid, &r.gid);
	int e = r.batch ? 0 : -ENOMEM;
	for (size_t i = 0; e == 0 && i < sizeof parts / sizeof *parts; i++) {
		e = parts[i](&r);
		if (e == 0)
			e = repair_commit(&r);
	}
	if (e == 0)
		e = kv_sync(pool->kv, UINT64_MAX);
	kv_batch_free(r.batch);
	check_done(&r.k);
	*ret_result = r.res;
	return e;
}
