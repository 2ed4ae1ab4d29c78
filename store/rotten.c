// SPDX-License-Identifier: MIT
/* Healing. A frame's row covers a range of ids that no other row may enter, and a frame is read only
 * through a row that agrees with its head. So when one chunk of a damaged frame gets its bytes, the
 * row is replaced by several, one for each run of chunks that are all readable now (written as a new
 * frame) or all not: that one still names the damaged place, disagrees with its head, and so
 * cannot be read, until its chunks are healed in turn. Of raw frames most chunks are readable beside
 * the damaged one; they move with it.
 *
 * Readers see a batch row by row. The rows are put from the greatest key down: each hides, of the old
 * row, only what it brings. The old row goes with the last, which has its key.
 *
 * A chunk in parts has a row for each, with keys that do not change; all are written anew.
 *
 * Chunks are few, as a rule none: then nothing here costs more than a load. They stand in an array in
 * order of their ids; a digest is looked for only when `maybe`, one bit for each 20-bit beginning of a
 * digest that ever came, says so.
 *
 * Lock order: `rows`, then `lock`, which is a leaf. `rows` is held over reads, writes and commits, and
 * nothing that waits for the packer or for destage may be done under it.
 */
#include "rotten.h"
#include "cleanup.h"
#include "fault.h"
#include "io.h"
#include "log.h"
#include <errno.h>
#include <inttypes.h>

#define KEY_LEN (sizeof ROTTEN_KEY - 1 + 8)
#define VALUE_LEN (DIGEST_SIZE + 4 + 8 + 8)
#define MAYBE_BITS (1u << 20)

struct rotten {
	struct rotten_options opt;
	pthread_mutex_t rows;
	pthread_mutex_t lock; /* of what follows */
	struct rotten_chunk *v;
	size_t n, cap;
	uint64_t moment;
	uint8_t *maybe; /* NULL as long as there was none */
};

void rotten_lock_rows(struct rotten *r)
{
	if (r)
		pthread_mutex_lock(&r->rows);
}

void rotten_unlock_rows(struct rotten *r)
{
	if (r)
		pthread_mutex_unlock(&r->rows);
}

/* ---- the set ---- */

static uint32_t maybe_bit(const struct digest *digest)
{
	return get_le32(digest->bytes) % MAYBE_BITS;
}

/* The place of the first chunk whose id is not below. */
static size_t place_locked(const struct rotten *r, uint64_t id)
{
	size_t low = 0, high = r->n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (r->v[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int insert_locked(struct rotten *r, const struct rotten_chunk *chunk)
{
	size_t at = place_locked(r, chunk->id);
	if (!r->maybe && !(r->maybe = calloc(1, MAYBE_BITS / 8)))
		return -ENOMEM;
	if (at == r->n || r->v[at].id != chunk->id) {
		if (r->n == r->cap) {
			size_t cap = r->cap ? r->cap * 2 : 64;
			struct rotten_chunk *grown = realloc(r->v, cap * sizeof *grown);
			if (!grown)
				return -ENOMEM;
			r->v = grown;
			r->cap = cap;
		}
		memmove(&r->v[at + 1], &r->v[at], (r->n - at) * sizeof *r->v);
		__atomic_store_n(&r->n, r->n + 1, __ATOMIC_RELEASE);
	}
	r->v[at] = *chunk;
	r->v[at].noted = ++r->moment;
	uint32_t bit = maybe_bit(&chunk->digest);
	r->maybe[bit / 8] |= (uint8_t)(1u << bit % 8);
	return 0;
}

static bool find_locked(const struct rotten *r, uint64_t id, size_t *ret_at)
{
	*ret_at = place_locked(r, id);
	return *ret_at < r->n && r->v[*ret_at].id == id;
}

static void remove_locked(struct rotten *r, uint64_t id)
{
	size_t at;
	if (!find_locked(r, id, &at))
		return;
	memmove(&r->v[at], &r->v[at + 1], (r->n - at - 1) * sizeof *r->v);
	__atomic_store_n(&r->n, r->n - 1, __ATOMIC_RELEASE);
}

static void key_of(uint64_t id, uint8_t key[KEY_LEN])
{
	memcpy(key, ROTTEN_KEY, KEY_LEN - 8);
	put_be64(key + KEY_LEN - 8, id);
}

static int load(struct rotten *r)
{
	uint8_t from[KEY_LEN];
	struct slice key, val;
	int more, err = 0;
	key_of(0, from);
	struct kv_iter *it = kv_iter_new(r->opt.kv, KV_META, from, sizeof from, false);
	if (!it)
		return -ENOMEM;
	while (err == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		bool ours = key.len == KEY_LEN && !memcmp(key.at, from, KEY_LEN - 8);
		if (more < 0 && more != -EUCLEAN)
			err = more;
		if (!ours && key.len)
			break;
		if (more < 0 || val.len != VALUE_LEN)
			continue; /* the next scrub finds the chunk again */
		struct rotten_chunk c = { .id = get_be64((const uint8_t *)key.at + KEY_LEN - 8) };
		const uint8_t *at = val.at;
		memcpy(&c.digest, at, DIGEST_SIZE);
		c.length = get_le32(at + DIGEST_SIZE);
		c.pack = get_le64(at + DIGEST_SIZE + 4);
		c.offset = get_le64(at + DIGEST_SIZE + 12);
		err = insert_locked(r, &c);
	}
	kv_iter_free(it);
	return err;
}

int rotten_open(const struct rotten_options *opt, struct rotten **ret_r)
{
	struct rotten *r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	r->opt = *opt;
	pthread_mutex_init(&r->rows, NULL);
	pthread_mutex_init(&r->lock, NULL);
	int err = load(r);
	if (err < 0) {
		rotten_close(r);
		return err;
	}
	*ret_r = r;
	return 0;
}

void rotten_close(struct rotten *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->rows);
	pthread_mutex_destroy(&r->lock);
	free(r->v);
	free(r->maybe);
	free(r);
}

size_t rotten_count(struct rotten *r)
{
	return r ? __atomic_load_n(&r->n, __ATOMIC_ACQUIRE) : 0;
}

int rotten_add(struct rotten *r, const struct rotten_chunk *chunk)
{
	uint8_t key[KEY_LEN], val[VALUE_LEN];
	struct kv_batch *batch = kv_batch_new();
	if (!batch)
		return -ENOMEM;
	key_of(chunk->id, key);
	memcpy(val, &chunk->digest, DIGEST_SIZE);
	put_le32(val + DIGEST_SIZE, chunk->length);
	put_le64(val + DIGEST_SIZE + 4, chunk->pack);
	put_le64(val + DIGEST_SIZE + 12, chunk->offset);
	kv_batch_put(batch, KV_META, key, sizeof key, val, sizeof val);
	pthread_mutex_lock(&r->lock);
	int err = insert_locked(r, chunk); /* in memory first: from now on nobody trusts it */
	pthread_mutex_unlock(&r->lock);
	int committed = kv_commit(r->opt.kv, batch, NULL);
	return err ? err : committed;
}

static void forget_in_batch(struct kv_batch *batch, uint64_t id)
{
	uint8_t key[KEY_LEN];
	key_of(id, key);
	kv_batch_delete(batch, KV_META, key, sizeof key);
	kv_batch_set_reserve(batch);
}

uint64_t rotten_moment(struct rotten *r)
{
	SCOPED_LOCK(&r->lock);
	return r->moment;
}

static bool find_id(struct rotten *r, uint64_t id, struct rotten_chunk *ret_chunk)
{
	size_t at;
	if (!rotten_count(r))
		return false;
	SCOPED_LOCK(&r->lock);
	bool found = find_locked(r, id, &at);
	if (found)
		*ret_chunk = r->v[at];
	return found;
}

/* False, and the chunk, when it has been noted since. */
static bool remove_older(struct rotten *r, uint64_t id, uint64_t moment,
			 struct rotten_chunk *ret_chunk)
{
	size_t at;
	SCOPED_LOCK(&r->lock);
	if (find_locked(r, id, &at) && r->v[at].noted > moment) {
		*ret_chunk = r->v[at];
		return false;
	}
	remove_locked(r, id);
	return true;
}

int rotten_forget(struct rotten *r, uint64_t id, uint64_t moment)
{
	struct rotten_chunk chunk;
	if (!find_id(r, id, &chunk) || chunk.noted > moment)
		return 0;
	struct kv_batch *batch = kv_batch_new();
	if (!batch)
		return -ENOMEM;
	forget_in_batch(batch, id);
	int err = kv_commit(r->opt.kv, batch, NULL);
	if (err < 0)
		return err;
	if (remove_older(r, id, moment, &chunk))
		return 0;
	return rotten_add(r, &chunk); /* our batch may have come after that note */
}

bool rotten_has(struct rotten *r, uint64_t id)
{
	struct rotten_chunk chunk;
	return find_id(r, id, &chunk);
}

bool rotten_has_pack(struct rotten *r, uint64_t pack)
{
	if (!rotten_count(r))
		return false;
	SCOPED_LOCK(&r->lock);
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].pack == pack)
			return true;
	return false;
}

int rotten_list(struct rotten *r, struct rotten_chunk **ret_chunks, size_t *ret_n)
{
	SCOPED_LOCK(&r->lock);
	struct rotten_chunk *copy = malloc((r->n + 1) * sizeof *copy);
	if (!copy)
		return -ENOMEM;
	if (r->n)
		memcpy(copy, r->v, r->n * sizeof *copy);
	*ret_chunks = copy;
	*ret_n = r->n;
	return 0;
}

/* The first rotten chunk at or after `from` with this digest. */
static bool find_digest(struct rotten *r, const struct digest *digest, uint64_t from,
			struct rotten_chunk *ret_chunk)
{
	uint32_t bit = maybe_bit(digest);
	SCOPED_LOCK(&r->lock);
	if (!r->maybe || !(r->maybe[bit / 8] >> bit % 8 & 1))
		return false;
	for (size_t i = place_locked(r, from); i < r->n; i++)
		if (digest_equal(&r->v[i].digest, digest)) {
			*ret_chunk = r->v[i];
			return true;
		}
	return false;
}

/* ---- healing ---- */

struct healing {
	struct rotten *r;
	const struct rotten_chunk *chunk; /* that gets */
	const uint8_t *data;		  /* these bytes */
	uint32_t len;
	struct frame_builder *fb;
	struct kv_batch *batch;
	/* the frame it lies in: */
	struct frame_row row;
	bool good[FRAME_CHUNKS_MAX]; /* can be read, from `bytes` */
	uint8_t *bytes;
	struct frame_row new[FRAME_CHUNKS_MAX]; /* what takes the row's place */
	uint32_t n_new;
};

/* Stores what the builder holds. `chunks` is room for the row's. */
static int store_frame(struct healing *h, struct frame_chunk *chunks, struct frame_row *ret_row)
{
	int err = frame_seal(h->fb, h->r->opt.level);
	return err ? err
		   : pack_append(h->r->opt.packs, PACK_STREAM_GC, h->fb, h->batch, chunks, ret_row);
}

static int heal_parts(struct healing *h)
{
	struct frame_chunk chunk;
	struct frame_row row;
	int err = 0;
	for (uint32_t at = 0, part = 0; at < h->len && err == 0; at += FRAME_DECODED_MAX, part++) {
		uint32_t n = h->len - at < FRAME_DECODED_MAX ? h->len - at : FRAME_DECODED_MAX;
		frame_builder_reset(h->fb);
		h->fb->part = (uint16_t)part;
		h->fb->chunk_len = h->len;
		frame_add(h->fb, h->chunk->id, &h->chunk->digest, h->data + at, n);
		err = store_frame(h, &chunk, &row);
		if (err == 0)
			chunk_put_frame(h->batch, &row);
	}
	return err;
}

/* A neighbour that cannot be read either. It is noted too, while the head can still be read through
 * its row: afterwards nobody could tell what to wait for. */
static void note_neighbour(struct healing *h, const struct frame_chunk *c,
			   const struct chunk_entry *entries, uint32_t n)
{
	struct rotten_chunk chunk = {
		.id = c->id, .pack = h->row.pack, .offset = h->row.offset, .length = c->length
	};
	for (uint32_t i = 0; i < n; i++)
		if (entries[i].id == c->id)
			chunk.digest = entries[i].digest;
	int err = rotten_add(h->r, &chunk);
	if (err < 0)
		log_warn("chunk %" PRIu64 " is rotten, which could not be noted: %s", c->id,
			 strerror(-err));
}

/* Reads the chunks beside ours that are not known to be rotten. Of a compressed frame they can be read
 * all or none. */
static void read_neighbours(struct healing *h)
{
	CLEANUP_FREE struct chunk_entry *entries = NULL;
	uint32_t at = 0, n = 0;
	bool head_tried = false, lost = false;
	for (uint32_t i = 0; i < h->row.n; at += h->row.chunks[i++].length) {
		const struct frame_chunk *c = &h->row.chunks[i];
		struct mapped m = { .piece = { c->id, c->length, 0, 1 } };
		struct map_vec map = { .v = &m, .n = 1, .cap = 1 };
		h->good[i] = c->id == h->chunk->id;
		if (h->good[i])
			memcpy(h->bytes + at, h->data, h->len);
		if (h->good[i] || rotten_has(h->r, c->id))
			continue;
		h->good[i] = !lost && chunks_verify_map(h->r->opt.chunks, &map, 0, c->length,
							h->bytes + at) == 0;
		if (h->good[i])
			continue;
		lost = h->row.codec != CODEC_RAW;
		if (!head_tried)
			chunks_frame_digests(h->r->opt.chunks, c->id, &entries, &n);
		head_tried = true;
		note_neighbour(h, c, entries, n);
	}
}

/* Chunks [from, to), which begin at byte `at`, all readable or all not, get a row of their own. */
static int replace_run(struct healing *h, uint32_t from, uint32_t to, uint32_t at)
{
	struct frame_row *row = &h->new[h->n_new++];
	struct frame_chunk *chunks = &h->row.chunks[from];
	*row = h->row;
	row->chunks = chunks;
	row->n = to - from;
	row->decoded_len = 0;
	for (uint32_t i = from; i < to; i++)
		row->decoded_len += h->row.chunks[i].length;
	if (!h->good[from])
		return 0;
	frame_builder_reset(h->fb);
	for (uint32_t i = from; i < to; at += h->row.chunks[i++].length) {
		struct digest digest;
		digest_of(h->bytes + at, h->row.chunks[i].length, &digest);
		frame_add(h->fb, h->row.chunks[i].id, &digest, h->bytes + at,
			  h->row.chunks[i].length);
	}
	return store_frame(h, chunks, row);
}

static int heal_in_frame(struct healing *h)
{
	int err = 0;
	read_neighbours(h);
	for (uint32_t from = 0, to, at = 0; from < h->row.n && err == 0; from = to) {
		uint32_t begin = at;
		for (to = from; to < h->row.n && h->good[to] == h->good[from]; to++)
			at += h->row.chunks[to].length;
		err = replace_run(h, from, to, begin);
	}
	for (uint32_t i = h->n_new; i-- && err == 0;)
		chunk_put_frame(h->batch, &h->new[i]);
	return err;
}

static int frame_is_wrong(const struct frame_row *row, const uint8_t *bytes, uint8_t *out)
{
	struct frame_head head;
	size_t need;
	int err = frame_parse_head(bytes, row->stored_len, row->pack, row->offset, &head, &need);
	bool same = err == 0 && head.stored_len == row->stored_len &&
		    head.h.decoded_len == row->decoded_len && head.h.chunks == row->n;
	if (same)
		err = frame_decode(&head, bytes, out);
	return err == -ENOMEM ? err : !same || err < 0;
}

int rotten_frame_is_wrong(struct rotten *r, const struct frame_row *row)
{
	CLEANUP_FREE uint8_t *bytes = malloc((size_t)row->stored_len + FRAME_DECODED_MAX);
	if (!bytes)
		return -ENOMEM;
	int fd = pack_fd_get(r->opt.packs, row->pack);
	if (fd < 0)
		return fd == -ENOENT || fd == -EUCLEAN ? 1 : fd;
	int err = fault_hit("pack_read");
	ssize_t n = err < 0 ? err : io_read(fd, bytes, row->stored_len, (off_t)row->offset);
	pack_fd_put(r->opt.packs, row->pack, fd);
	if (n < 0)
		return (int)n;
	return n < (ssize_t)row->stored_len ? 1
					    : frame_is_wrong(row, bytes, bytes + row->stored_len);
}

/* What stays unread beside the chunk is given up by healing it, though its bytes might come back. A sector
 * of the pool's own disk that has failed twice does not. */
static int may_split(struct healing *h)
{
	struct pack_row pack;
	int err = h->row.n > 1 ? rotten_frame_is_wrong(h->r, &h->row) : 0;
	if (err == -EIO && pack_get(h->r->opt.kv, h->row.pack, &pack) == 0 && !pack.tier)
		return 0;
	return err < 0 ? err : 0;
}

static int find_and_heal(struct healing *h)
{
	uint32_t at, left, i = 0;
	int err = chunk_find(h->r->opt.kv, h->chunk->id, 0, &h->row, &at, &left);
	if (err < 0)
		return err;
	while (h->row.chunks[i].id != h->chunk->id)
		i++;
	if (h->len > FRAME_DECODED_MAX)
		return h->row.n == 1 && h->chunk->length == h->len ? heal_parts(h) : -EUCLEAN;
	if (h->row.part || h->row.chunks[i].length != h->len)
		return -EUCLEAN;
	err = may_split(h);
	if (err < 0)
		return err;
	h->bytes = malloc(FRAME_DECODED_MAX);
	return h->bytes ? heal_in_frame(h) : -ENOMEM;
}

/* Under `rows`, so that neither gc nor another healing changes them meanwhile. */
static int heal_one_locked(struct rotten *r, const struct rotten_chunk *chunk, const void *data,
			   uint32_t len)
{
	CLEANUP_FREE struct healing *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->r = r;
	h->chunk = chunk;
	h->data = data;
	h->len = len;
	h->batch = kv_batch_new();
	int err = h->batch ? frame_builder_new(&h->fb) : -ENOMEM;
	if (err == 0)
		err = find_and_heal(h);
	if (err == 0) {
		forget_in_batch(h->batch, chunk->id);
		err = kv_commit(r->opt.kv, TAKE_PTR(h->batch), NULL);
	}
	kv_batch_free(h->batch);
	frame_builder_free(h->fb);
	frame_row_done(&h->row);
	free(h->bytes);
	if (err)
		return err;
	SCOPED_LOCK(&r->lock);
	remove_locked(r, chunk->id);
	return 0;
}

unsigned rotten_heal(struct rotten *r, const struct digest *digest, const void *data, uint32_t len)
{
	struct rotten_chunk chunk;
	unsigned healed = 0;
	uint64_t from = 0;
	if (!rotten_count(r) || !find_digest(r, digest, from, &chunk))
		return 0;
	SCOPED_LOCK(&r->rows);
	for (; find_digest(r, digest, from, &chunk); from = chunk.id + 1) {
		int err = heal_one_locked(r, &chunk, data, len);
		if (err == -ENOENT) {
			rotten_forget(r, chunk.id, ROTTEN_EVER); /* gc has taken it */
			continue;
		}
		if (err < 0) {
			log_warn("chunk %" PRIu64 " is rotten and could not be given its bytes: %s",
				 chunk.id, strerror(-err));
			continue;
		}
		log_debug("chunk %" PRIu64 " was rotten (pack %016" PRIx64 ", frame at %" PRIu64
			  ") and has its bytes again",
			  chunk.id, chunk.pack, chunk.offset);
		healed++;
	}
	return healed;
}
