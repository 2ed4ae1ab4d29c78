// SPDX-License-Identifier: MIT
/* A pass: all frame rows below the first id not given out when it began (later ones have just been
 * written), then the packs' own ends, the dumps of the index, and the rows of all tables. The position is a chunk id: gc may move
 * chunks, but not change their order, so what lies before it has been seen wherever it is now.
 *
 * A pack counts as verified, as of the beginning, when the pass is over, and nothing in it is rotten.
 * That is when every frame it had then has been seen; those it may have got since are younger.
 *
 * Damage is named with its files as soon as the position is saved, so a long pass tells early.
 *
 * Lock order: `lock` is innermost and never held while working. All but `status`, `running` and the
 * wishes belong to the thread in scrub_run().
 */
#include "scrub.h"
#include "cleanup.h"
#include "clock.h"
#include "dump_impl.h"
#include "inspect.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#define SAVE_MS 5000
#define PROGRESS_MS 500
#define NAMED_MAX 1000u /* files that one line each of the log is spent on, at a time */
#define SAVED_NUMBERS 14
#define SAVED_LEN (2 + SAVED_NUMBERS * 8)

struct ids {
	uint64_t *v;
	size_t n, cap;
};

struct scrub {
	struct scrub_options opt;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool running, stop, by_user, closing;
	struct scrub_status status;

	struct inspect *inspect;
	uint64_t next, limit; /* chunk ids */
	struct ids unnamed;   /* rotten chunks whose files were not told yet */
	struct ids bad_inos;  /* damaged rows belong to them; guarded by the lock */
	uint64_t started_ns, paced_bytes, saved_ms, told_ms;
	pthread_mutex_t suspecting; /* one at a time; before the lock */
	void (*progress)(void *arg, const struct scrub_status *so_far);
	void *arg;
};

static void ids_add(struct ids *l, uint64_t id)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		uint64_t *grown = realloc(l->v, cap * sizeof *grown);
		if (!grown)
			return; /* a name less in the log */
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n++] = id;
}

/* ---- where it is ---- */

static int save(struct scrub *s)
{
	uint8_t val[SAVED_LEN], *at = val + 2;
	struct kv_batch *batch = kv_batch_new();
	if (!batch)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	const struct scrub_status *st = &s->status;
	const uint64_t numbers[SAVED_NUMBERS] = {
		s->next,	s->limit,	 (uint64_t)st->began, (uint64_t)st->ended,
		st->bytes_done, st->bytes_total, st->frames,	      st->chunks,
		st->bad_frames, st->bad_chunks,	 st->repaired,	      st->bad_rows,
		st->bad_packs,	st->bad_dumps
	};
	val[0] = 1;
	val[1] = (uint8_t)st->state;
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < SAVED_NUMBERS; i++, at += 8)
		put_le64(at, numbers[i]);
	kv_batch_put(batch, KV_META, SCRUB_KEY, strlen(SCRUB_KEY), val, sizeof val);
	s->saved_ms = clock_mono_ms();
	return kv_commit(s->opt.kv, batch, NULL);
}

/* What cannot be read is as good as no pass at all. */
static int load(struct scrub *s)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct scrub_status *st = &s->status;
	uint64_t n[SAVED_NUMBERS];
	int r = kv_get(s->opt.kv, KV_META, SCRUB_KEY, strlen(SCRUB_KEY), &val);
	if (r == -ENOENT || r == -EUCLEAN)
		return 0;
	if (r < 0)
		return r;
	if (val.len != SAVED_LEN || val.data[0] != 1 || val.data[1] > SCRUB_FINISHED)
		return 0;
	for (size_t i = 0; i < SAVED_NUMBERS; i++)
		n[i] = get_le64(val.data + 2 + i * 8);
	s->next = n[0];
	s->limit = n[1];
	*st = (struct scrub_status){
		.state = val.data[1],
		.began = (int64_t)n[2],
		.ended = (int64_t)n[3],
		.bytes_done = n[4],
		.bytes_total = n[5],
		.frames = n[6],
		.chunks = n[7],
		.bad_frames = n[8],
		.bad_chunks = n[9],
		.repaired = n[10],
		.bad_rows = n[11],
		.bad_packs = n[12],
		.bad_dumps = n[13],
	};
	if (st->state == SCRUB_RUNNING)
		st->state = SCRUB_INTERRUPTED;
	return 0;
}

int scrub_open(const struct scrub_options *opt, struct scrub **ret_s)
{
	struct scrub *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->opt = *opt;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->suspecting, NULL);
	int r = load(s);
	if (r < 0) {
		scrub_close(s);
		return r;
	}
	*ret_s = s;
	return 0;
}

void scrub_stop(struct scrub *s, bool by_user)
{
	SCOPED_LOCK(&s->lock);
	s->closing = s->closing || !by_user;
	s->stop = s->running;
	s->by_user = by_user;
	pthread_cond_broadcast(&s->changed);
}

void scrub_close(struct scrub *s)
{
	if (!s)
		return;
	scrub_stop(s, false);
	pthread_mutex_lock(&s->lock);
	while (s->running)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->suspecting);
	free(s->unnamed.v);
	free(s->bad_inos.v);
	free(s);
}

void scrub_get_status(struct scrub *s, struct scrub_status *ret_status)
{
	pthread_mutex_lock(&s->lock);
	*ret_status = s->status;
	pthread_mutex_unlock(&s->lock);
	ret_status->rotten = rotten_count(s->opt.rotten);
}

/* ---- between frames ---- */

/* Sleeps until the bytes read so far are no more than the rate allows. */
static void pace(struct scrub *s, uint64_t bytes)
{
	s->paced_bytes += bytes;
	if (!s->opt.rate_bytes_per_s)
		return;
	uint64_t due = s->started_ns +
		       (uint64_t)((double)s->paced_bytes * 1e9 / (double)s->opt.rate_bytes_per_s);
	struct timespec until = { .tv_sec = (time_t)(due / 1000000000u),
				  .tv_nsec = (long)(due % 1000000000u) };
	SCOPED_LOCK(&s->lock);
	while (!s->stop && clock_mono_ns() < due)
		pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static void name_files(struct scrub *s, const struct ids *chunks, const struct ids *inos)
{
	struct owner *files = NULL;
	size_t n = 0;
	int r = owners_find(s->opt.kv, chunks->v, chunks->n, inos->v, inos->n, &files, &n);
	if (r < 0)
		log_warn("scrub: the damaged files could not be found: %s", strerror(-r));
	for (size_t i = 0; i < n && i < NAMED_MAX; i++)
		log_error("scrub: damaged file: %s (inode %" PRIu64 ")",
			  files[i].path ? files[i].path : "without a name", files[i].ino);
	if (n > NAMED_MAX)
		log_error("scrub: and %zu more damaged files", n - NAMED_MAX);
	owners_free(files, n);
}

static int settle(struct scrub *s)
{
	static const struct ids none;
	if (s->unnamed.n)
		name_files(s, &s->unnamed, &none);
	s->unnamed.n = 0;
	return save(s);
}

/* -ECANCELED: it shall stop. */
static int breathe(struct scrub *s)
{
	uint64_t now = clock_mono_ms();
	if (s->progress && now - s->told_ms >= PROGRESS_MS) {
		struct scrub_status status;
		scrub_get_status(s, &status);
		s->told_ms = now;
		s->progress(s->arg, &status);
	}
	int r = now - s->saved_ms >= SAVE_MS ? settle(s) : 0;
	SCOPED_LOCK(&s->lock);
	return r < 0 ? r : s->stop ? -ECANCELED : 0;
}

static void found(void *arg, uint64_t chunk)
{
	struct scrub *s = arg;
	ids_add(&s->unnamed, chunk);
}

/* ---- the parts of a pass ---- */

static int check_row(struct scrub *s, const struct frame_row *row)
{
	struct findings f;
	int r = inspect_row(s->inspect, row, &f);
	if (r == -ENOMEDIUM) {
		pthread_mutex_lock(&s->lock);
		s->status.absent_bytes += row->stored_len;
		s->status.bytes_done += row->stored_len;
		pthread_mutex_unlock(&s->lock);
		return breathe(s);
	}
	if (r < 0)
		return r;
	if (f.bad_chunks)
		packer_distrust(s->opt.packer);
	pthread_mutex_lock(&s->lock);
	s->status.frames++;
	s->status.chunks += row->part ? 0 : row->n;
	s->status.bytes_done += row->stored_len;
	s->status.bad_chunks += f.bad_chunks;
	s->status.repaired += f.repaired;
	s->status.bad_frames += f.bad_chunks > 0;
	pthread_mutex_unlock(&s->lock);
	s->next = row->chunks[row->n - 1].id + (row->n > 1 || row->decoded_len < FRAME_DECODED_MAX);
	pace(s, row->stored_len);
	return breathe(s);
}

/* Calls fn for each frame row of chunks in [from, limit). Damaged ones are counted elsewhere. */
static int each_frame(struct scrub *s, uint64_t from,
		      int (*fn)(struct scrub *s, const struct frame_row *row))
{
	uint8_t key[10];
	struct slice k, v;
	int r = 0, more;
	put_be64(key, from);
	put_be16(key + 8, 0);
	struct kv_iter *it = kv_iter_new(s->opt.kv, KV_CHUNK, key, sizeof key, false);
	if (!it)
		return -ENOMEM;
	while (r == 0 && (more = kv_iter_next(it, &k, &v)) != 0) {
		struct frame_row row = { 0 };
		if (more == 1)
			more = frame_decode_row(k, v, &row);
		if (more == 0 && row.chunks[0].id >= s->limit) {
			frame_row_done(&row);
			break;
		}
		if (more == 0)
			r = fn(s, &row);
		else if (more != -EUCLEAN)
			r = more;
		frame_row_done(&row);
	}
	kv_iter_free(it);
	return r;
}

static int add_bytes(struct scrub *s, const struct frame_row *row)
{
	SCOPED_LOCK(&s->lock);
	s->status.bytes_total += row->stored_len;
	return 0;
}

struct pack_list {
	struct pack_row *v;
	size_t n, cap;
};

static int list_pack(void *arg, const struct pack_row *row)
{
	struct pack_list *l = arg;
	if (row->state != PACK_SEALED)
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct pack_row *grown = realloc(l->v, cap * sizeof *grown);
		if (!grown)
			return -ENOMEM;
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n++] = *row;
	return 0;
}

/* gc may have doomed the pack: a row of old would call it back to life. */
static int set_verified(struct scrub *s, uint64_t pack)
{
	struct pack_row row;
	struct kv_batch *batch = NULL;
	rotten_lock_rows(s->opt.rotten);
	int r = pack_get(s->opt.kv, pack, &row);
	if (r == 0 && row.state == PACK_SEALED && row.verified < s->status.began) {
		row.verified = s->status.began;
		batch = kv_batch_new();
		if (batch)
			pack_put(batch, &row);
		r = kv_commit(s->opt.kv, batch, NULL);
	}
	rotten_unlock_rows(s->opt.rotten);
	return r == -ENOENT ? 0 : r;
}

static int check_pack(struct scrub *s, const struct pack_row *row)
{
	int r = inspect_pack(s->inspect, row->id);
	if (r == -EUCLEAN || r == -EIO) {
		log_error("scrub: pack %016" PRIx64 ": its header or footer is damaged; the frames "
			  "are found without it",
			  row->id);
		SCOPED_LOCK(&s->lock);
		s->status.bad_packs++;
		return 0;
	}
	if (r < 0)
		return r == -ENOENT || r == -ENOMEDIUM ? 0 : r;
	bool whole = row->created < s->status.began && !rotten_has_pack(s->opt.rotten, row->id);
	return whole ? set_verified(s, row->id) : 0;
}

static int check_packs(struct scrub *s)
{
	struct pack_list l = { 0 };
	int r = packs_each(s->opt.packs, list_pack, &l);
	r = r == -EUCLEAN ? 0 : r;
	for (size_t i = 0; i < l.n && r == 0; i++) {
		r = check_pack(s, &l.v[i]);
		if (r == 0)
			r = breathe(s);
	}
	free(l.v);
	return r;
}

static int pass_row(void *arg, enum kv_table t, struct slice key, struct slice val)
{
	(void)t;
	(void)key;
	(void)val;
	return breathe(arg);
}

static void drop_pages(int dirfd, uint64_t generation)
{
	char name[DUMP_NAME_SIZE];
	dump_name(generation, name);
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Those whose ends are right: others are no dumps to anybody. */
static int check_dumps(struct scrub *s)
{
	struct dump_place place = { .dirfd = s->opt.packs_dirfd };
	struct dump_info dumps[DUMPS_KEPT];
	memcpy(place.pool_uuid, s->opt.pool_uuid, sizeof place.pool_uuid);
	int unread, n = dump_list(&place, dumps, DUMPS_KEPT, &unread);
	for (int i = 0; i < n; i++) {
		drop_pages(place.dirfd, dumps[i].generation);
		int r = dump_read(&place, dumps[i].generation, pass_row, s);
		if (r != -EUCLEAN && r != -EIO) {
			if (r < 0 && r != -ENOENT) /* it has been replaced */
				return r;
			continue;
		}
		log_error("scrub: the dump of the index of generation %" PRIu64
			  " is damaged; later "
			  "ones take its place",
			  dumps[i].generation);
		SCOPED_LOCK(&s->lock);
		s->status.bad_dumps++;
	}
	if (n >= 0 && unread) {
		log_error(
			"scrub: a dump of the index cannot be read: %s; later ones take its place",
			strerror(-unread));
		SCOPED_LOCK(&s->lock);
		s->status.bad_dumps++;
	}
	return n < 0 && n != -ENOENT ? n : 0;
}

static int check_table(struct scrub *s, enum kv_table t)
{
	struct kv_iter *it = kv_iter_new(s->opt.kv, t, NULL, 0, false);
	struct slice key, val;
	uint64_t rows = 0;
	int r = 0, more;
	if (!it)
		return -ENOMEM;
	bool of_files = t == KV_INODE || t == KV_INLINE || t == KV_EXTENT || t == KV_XATTR;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		if (++rows % 4096 == 0)
			r = breathe(s);
		if (more > 0)
			continue;
		if (more != -EUCLEAN || !key.len) {
			r = more;
			break;
		}
		log_error("scrub: table %u of the index: a row is damaged; run fsck.foldfs", t);
		SCOPED_LOCK(&s->lock);
		if (of_files && key.len >= 8)
			ids_add(&s->bad_inos, get_be64(key.at));
		s->status.bad_rows++;
	}
	kv_iter_free(it);
	return r;
}

/* Digests are left out: a damaged one costs a second copy of some new data. */
static int check_tables(struct scrub *s)
{
	static const struct ids none;
	int r = 0;
	pthread_mutex_lock(&s->lock);
	s->bad_inos.n = 0;
	pthread_mutex_unlock(&s->lock);
	for (int t = 0; t < KV_TABLES && r == 0; t++)
		if (t != KV_DIGEST)
			r = check_table(s, (enum kv_table)t);
	if (s->bad_inos.n)
		name_files(s, &none, &s->bad_inos);
	return r;
}

/* What gc took away, or was rewritten, is no damage any more. */
static int forget_gone(struct scrub *s)
{
	struct rotten_chunk *v;
	size_t n;
	int r = rotten_list(s->opt.rotten, &v, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		struct frame_row row = { 0 };
		uint32_t at, left;
		if (chunk_find(s->opt.kv, v[i].id, 0, &row, &at, &left) == -ENOENT)
			r = rotten_forget(s->opt.rotten, v[i].id, ROTTEN_EVER);
		frame_row_done(&row);
	}
	free(v);
	return r;
}

/* ---- a pass ---- */

static int begin(struct scrub *s)
{
	bool again = s->status.state == SCRUB_STOPPED || s->status.state == SCRUB_INTERRUPTED;
	int r = 0;
	if (!again) {
		pthread_mutex_lock(&s->lock);
		s->status = (struct scrub_status){
			.state = SCRUB_RUNNING,
			.began = clock_wall_ns() / 1000000000,
		};
		s->bad_inos.n = 0;
		pthread_mutex_unlock(&s->lock);
		s->next = 1;
		s->limit = packer_next_id(s->opt.packer);
		r = each_frame(s, 1, add_bytes);
	}
	pthread_mutex_lock(&s->lock);
	s->status.state = SCRUB_RUNNING;
	pthread_mutex_unlock(&s->lock);
	s->started_ns = clock_mono_ns();
	s->paced_bytes = 0;
	s->unnamed.n = 0;
	s->told_ms = 0;
	return r ? r : save(s);
}

static int open_inspect(struct scrub *s, void (*tell)(void *arg, uint64_t chunk),
			struct inspect **ret_in)
{
	struct inspect_options io = {
		.kv = s->opt.kv,
		.packs = s->opt.packs,
		.rotten = s->opt.rotten,
		.found = tell,
		.arg = s,
	};
	memcpy(io.pool_uuid, s->opt.pool_uuid, sizeof io.pool_uuid);
	return inspect_new(&io, ret_in);
}

static int run_pass(struct scrub *s)
{
	int r = open_inspect(s, found, &s->inspect);
	if (r == 0)
		r = begin(s);
	if (r == 0)
		r = breathe(s);
	if (r == 0)
		r = each_frame(s, s->next, check_row);
	if (r == 0)
		r = check_packs(s);
	if (r == 0)
		r = check_dumps(s);
	if (r == 0)
		r = check_tables(s);
	if (r == 0)
		r = forget_gone(s);
	inspect_free(TAKE_PTR(s->inspect));
	return r;
}

/* A pass that failed goes on later, too. */
static int end(struct scrub *s, int r)
{
	pthread_mutex_lock(&s->lock);
	s->status.state = r == 0			  ? SCRUB_FINISHED
			  : r == -ECANCELED && s->by_user ? SCRUB_STOPPED
							  : SCRUB_INTERRUPTED;
	s->status.ended = r == 0 ? clock_wall_ns() / 1000000000 : 0;
	pthread_mutex_unlock(&s->lock);
	int saved = settle(s);
	return r ? r : saved;
}

int scrub_run(struct scrub *s, void (*progress)(void *arg, const struct scrub_status *so_far),
	      void *arg)
{
	pthread_mutex_lock(&s->lock);
	bool busy = s->running || s->closing;
	s->running = s->running || !busy;
	s->stop = s->stop && busy;
	pthread_mutex_unlock(&s->lock);
	if (busy)
		return -EBUSY;
	s->progress = progress;
	s->arg = arg;
	int r = end(s, run_pass(s));
	pthread_mutex_lock(&s->lock);
	s->running = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Of a part of a long chunk, its neighbours are not known here: only its own sums are looked at. */
static int suspect_locked(struct scrub *s, uint64_t chunk, uint32_t offset)
{
	struct inspect *in = NULL;
	struct frame_row row = { 0 };
	struct findings f = { 0 };
	uint32_t at, left;
	int r = chunk_find(s->opt.kv, chunk, offset, &row, &at, &left);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = open_inspect(s, NULL, &in);
	if (r == 0)
		r = inspect_row(in, &row, &f);
	if (f.bad_chunks)
		packer_distrust(s->opt.packer);
	inspect_free(in);
	frame_row_done(&row);
	return r;
}

void scrub_suspect(void *scrub, uint64_t chunk, uint32_t offset)
{
	struct scrub *s = scrub;
	if (rotten_has(s->opt.rotten, chunk))
		return;
	SCOPED_LOCK(&s->suspecting);
	int r = rotten_has(s->opt.rotten, chunk) ? 0 : suspect_locked(s, chunk, offset);
	if (r < 0)
		log_warn("chunk %" PRIu64 " does not read, which could not be noted: %s", chunk,
			 strerror(-r));
}

int scrub_damage(struct scrub *s, struct rotten_chunk **ret_chunks, size_t *ret_n_chunks,
		 struct owner **ret_files, size_t *ret_n_files)
{
	struct rotten_chunk *v;
	size_t n, kept = 0;
	int r = rotten_list(s->opt.rotten, &v, &n);
	if (r < 0)
		return r;
	CLEANUP_FREE uint64_t *ids = malloc((n + 1) * sizeof *ids);
	for (size_t i = 0; ids && i < n; i++) {
		struct frame_row row = { 0 };
		uint32_t at, left;
		bool there = chunk_find(s->opt.kv, v[i].id, 0, &row, &at, &left) == 0;
		frame_row_done(&row);
		if (there) {
			ids[kept] = v[i].id;
			v[kept++] = v[i];
		}
	}
	pthread_mutex_lock(&s->lock);
	size_t n_inos = s->bad_inos.n;
	CLEANUP_FREE uint64_t *inos = malloc((n_inos + 1) * sizeof *inos);
	if (inos && n_inos)
		memcpy(inos, s->bad_inos.v, n_inos * sizeof *inos);
	pthread_mutex_unlock(&s->lock);
	r = ids && inos ? owners_find(s->opt.kv, ids, kept, inos, n_inos, ret_files, ret_n_files)
			: -ENOMEM;
	if (r < 0) {
		free(v);
		return r;
	}
	*ret_chunks = v;
	*ret_n_chunks = kept;
	return 0;
}
