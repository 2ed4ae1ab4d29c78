// SPDX-License-Identifier: MIT
/* Two walks go over the source. One gathers: it jumps about, as the streams lead it. The other goes through the
 * file from beginning to end and sees nothing of the plan: what is there is compared with the bytes of the
 * chunk from which the file is going to be read at that place. So a plan that was made from lies, or
 * wrongly, is found out before anything refers to it.
 *
 * Both take bytes out of blocks of the file, which are read once and kept for a while, so that what lies between
 * two pictures does not cost a call each. What is gathered from farther ahead is read where it lies.
 *
 * A chunk of pictures is gathered whole into its stream's buffer. Of the other streams the buffer
 * holds what the chunker has to see; what is left behind the chunk stays for the next one.
 */
#include "weaver.h"
#include "bytes.h"
#include "cleanup.h"
#include <errno.h>
#include <stdatomic.h>

#define BLOCK (256u * 1024)
/* Kept: one after another, from the one being woven on. No more than a processor's cache holds, nor less
 * than a SECTION of film_plan.c. */
#define BLOCKS 16u
#define AHEAD (64u * 1024) /* beyond what the chunker has to see */

struct yarn {
	uint8_t *buf;
	size_t cap;
};

struct loom {
	uint8_t *blocks; /* BLOCKS of them, when the first is wanted */
	struct yarn yarns[PLAN_STREAMS];
};

struct thread {
	const struct plan_stream *s;
	struct yarn *yarn;
	size_t start;  /* the chunk begins at yarn->buf[start] */
	size_t fill;   /* and so many bytes of it, and of what follows it, are there */
	uint32_t len;  /* of the chunk */
	uint32_t used; /* of it, woven */
	uint64_t id;   /* 0: zeros */
	/* the next byte to be gathered, and to be woven: stretch, bytes of it that are done */
	size_t gather, weave;
	uint32_t gather_skip, weave_skip;
	struct cutter cutter;
};

struct weaver {
	struct weaver_options opt;
	uint64_t pos;
	struct thread threads[PLAN_STREAMS];
	uint64_t tags[BLOCKS]; /* number of the block + 1 */
	struct loom *loom;
};

/* ---- reading ---- */

static int read_block(struct weaver *w, uint64_t number, const uint8_t **ret_block)
{
	unsigned slot = number % BLOCKS;
	uint64_t at = number * BLOCK, left = w->opt.plan->size - at;
	struct loom *loom = w->loom;
	if (!loom->blocks && !(loom->blocks = malloc((size_t)BLOCKS * BLOCK)))
		return -ENOMEM;
	uint8_t *block = loom->blocks + (size_t)slot * BLOCK;
	if (w->tags[slot] != number + 1) {
		w->tags[slot] = 0;
		int r = w->opt.read(w->opt.arg, block, left < BLOCK ? left : BLOCK, at);
		if (r < 0)
			return r;
		w->tags[slot] = number + 1;
	}
	*ret_block = block;
	return 0;
}

static int gather_bytes(struct weaver *w, uint8_t *out, size_t len, uint64_t at)
{
	uint64_t now = w->pos / BLOCK;
	const uint8_t *block;
	while (len) {
		uint64_t number = at / BLOCK;
		size_t skip = at % BLOCK, n = BLOCK - skip < len ? BLOCK - skip : len;
		bool near = number >= now && number < now + BLOCKS;
		if (!near)
			return w->opt.read(w->opt.arg, out, len, at);
		int r = read_block(w, number, &block);
		if (r < 0)
			return r;
		memcpy(out, block + skip, n);
		out += n;
		at += n;
		len -= n;
	}
	return 0;
}

/* Are these the file's bytes at w->pos? 0, -EBADMSG, -errno. */
static int compare(struct weaver *w, const uint8_t *data, size_t len)
{
	uint64_t at = w->pos;
	const uint8_t *block;
	while (len) {
		size_t skip = at % BLOCK, n = BLOCK - skip < len ? BLOCK - skip : len;
		int r = read_block(w, at / BLOCK, &block);
		if (r < 0)
			return r;
		if (memcmp(block + skip, data, n))
			return -EBADMSG;
		data += n;
		at += n;
		len -= n;
	}
	return 0;
}

/* ---- a stream's next chunk ---- */

static int make_room(struct yarn *y, size_t len)
{
	if (len <= y->cap)
		return 0;
	size_t cap = len > 2 * y->cap ? len : 2 * y->cap;
	uint8_t *buf = realloc(y->buf, cap);
	if (!buf)
		return -ENOMEM;
	y->buf = buf;
	y->cap = cap;
	return 0;
}

/* Gathers up to `want` bytes in all, not over a cut. *ret_last: the chunk can't go on beyond them. */
static int gather(struct weaver *w, struct thread *t, size_t want, bool *ret_last)
{
	*ret_last = true;
	while (t->gather < t->s->n) {
		const struct plan_stretch *v = &t->s->v[t->gather];
		if (v->cut && t->gather_skip == 0 && t->fill)
			return 0;
		size_t n = v->len - t->gather_skip;
		size_t lead = v->lead && !t->gather_skip ? PLAN_LEAD : 0;
		if (want - t->fill <= lead) {
			*ret_last = false;
			return 0;
		}
		n = n < want - t->fill - lead ? n : want - t->fill - lead;
		int r = make_room(t->yarn, t->start + t->fill + lead + n);
		if (r == 0 && lead)
			put_be32(t->yarn->buf + t->start + t->fill, v->len);
		t->fill += lead;
		if (r == 0)
			r = gather_bytes(w, t->yarn->buf + t->start + t->fill, n,
					 v->at + t->gather_skip);
		if (r < 0)
			return r;
		t->fill += n;
		t->gather_skip += (uint32_t)n;
		if (t->gather_skip == v->len) {
			t->gather++;
			t->gather_skip = 0;
		}
	}
	return 0;
}

static int store(struct weaver *w, struct thread *t, struct woven *woven)
{
	struct digest digest;
	struct packed packed = { 0 };
	const uint8_t *data = t->yarn->buf + t->start;
	digest_of(data, t->len, &digest);
	int r = packer_add(w->opt.packer, &digest, data, t->len, &packed);
	if (r < 0)
		return r;
	t->id = packed.id;
	woven->first_frame = woven->last_frame = packed.frame;
	return 0;
}

static int next_pictures(struct weaver *w, struct thread *t, struct woven *woven)
{
	bool last;
	t->fill = 0;
	int r = gather(w, t, CHUNK_LENGTH_MAX, &last);
	if (r < 0)
		return r;
	if (!last || !t->fill)
		return -EBADMSG;
	t->len = (uint32_t)t->fill;
	return store(w, t, woven);
}

static int next_by_content(struct weaver *w, struct thread *t, struct woven *woven)
{
	bool last;
	size_t n;
	size_t want = cutter_lookahead(&t->cutter) + AHEAD;
	t->fill -= t->len;
	t->start += t->len;
	if (t->start > want) { /* seldom enough not to move what is left for each chunk */
		memmove(t->yarn->buf, t->yarn->buf + t->start, t->fill);
		t->start = 0;
	}
	t->len = 0;
	t->id = 0;
	int r = gather(w, t, want, &last);
	if (r < 0)
		return r;
	enum cut cut = cutter_next(&t->cutter, t->yarn->buf + t->start, t->fill, last, &n);
	if (cut == CUT_MORE)
		return -EBADMSG;
	if (last && n == t->fill)
		t->cutter.in_zeros = false;
	t->len = (uint32_t)n;
	return cut == CUT_ZEROS ? 0 : store(w, t, woven);
}

/* ---- weaving ---- */

/* The stream that has the file's next byte, NULL: none. */
static struct thread *thread_here(struct weaver *w)
{
	for (unsigned i = 0; i < w->opt.plan->n; i++) {
		struct thread *t = &w->threads[i];
		if (t->weave < t->s->n && t->s->v[t->weave].at + t->weave_skip == w->pos)
			return t;
	}
	return NULL;
}

static void advance(struct weaver *w, struct thread *t, uint32_t n)
{
	w->pos += n;
	t->used += n;
	t->weave_skip += n;
	if (t->weave_skip == t->s->v[t->weave].len) {
		t->weave++;
		t->weave_skip = 0;
	}
}

int weaver_next(struct weaver *w, uint64_t room, struct woven *ret_woven)
{
	struct woven woven = { 0 };
	int r = 0;
	if (w->pos == w->opt.plan->size)
		return 0;
	struct thread *t = thread_here(w);
	if (!t)
		return -EBADMSG;
	if (t->used == t->len) {
		r = t->s->by_content ? next_by_content(w, t, &woven) : next_pictures(w, t, &woven);
		t->used = 0;
	}
	if (r < 0)
		return r;
	if (t->s->v[t->weave].lead && !t->weave_skip)
		t->used += PLAN_LEAD;
	if (t->used >= t->len)
		return -EBADMSG;
	uint32_t n = t->s->v[t->weave].len - t->weave_skip;
	n = n < t->len - t->used ? n : t->len - t->used;
	n = n < room ? n : (uint32_t)room;
	r = compare(w, t->yarn->buf + t->start + t->used, n);
	if (r < 0)
		return r;
	woven.piece = (struct piece){
		.chunk = t->id,
		.length = n,
		.offset = t->id ? t->used : 0,
		.repeat = 1,
	};
	advance(w, t, n);
	*ret_woven = woven;
	return 1;
}

/* ---- the rest ---- */

void loom_free(struct loom *loom)
{
	if (!loom)
		return;
	for (unsigned i = 0; i < PLAN_STREAMS; i++)
		free(loom->yarns[i].buf);
	free(loom->blocks);
	free(loom);
}

int weaver_new(const struct weaver_options *opt, struct weaver **ret_w)
{
	struct weaver *w = calloc(1, sizeof *w);
	if (!w) {
		film_plan_free(opt->plan);
		return -ENOMEM;
	}
	w->opt = *opt;
	w->loom = atomic_exchange(opt->spare, NULL);
	if (!w->loom)
		w->loom = calloc(1, sizeof *w->loom);
	if (!w->loom) {
		weaver_free(w);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < opt->plan->n; i++) {
		w->threads[i].s = &opt->plan->streams[i];
		w->threads[i].yarn = &w->loom->yarns[i];
		w->threads[i].cutter.chunker = opt->chunker;
	}
	*ret_w = w;
	return 0;
}

void weaver_free(struct weaver *w)
{
	if (!w)
		return;
	if (w->loom)
		loom_free(atomic_exchange(w->opt.spare, w->loom));
	film_plan_free(w->opt.plan);
	free(w);
}
