// SPDX-License-Identifier: MIT
/* A pack is one object, which is there as a whole or not at all; interrupted uploads are no objects. What lies
 * under a pack's name is removed before the pack is put, with If-None-Match: so what somebody else
 * has put there meanwhile is not overwritten. Ranges of several packs are asked for at once.
 *
 * A reader waits as long as the client's time limit says. Those who come within DOWN_NS of one who waited in
 * vain are told at once: a server that is down shall not cost each of a thousand frames that time.
 *
 * Functions of a place return numbers; what the server said is logged, at most once a second.
 */
#include "place_s3.h"
#include "cleanup.h"
#include "clock.h"
#include "fault.h"
#include "log.h"
#include "pack_fds.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#define LABEL PLACE_LABEL_NAME
#define FOLDER "packs/"
#define KEY_MAX (sizeof FOLDER + PACK_NAME_MAX)
#define SAY_NS 1000000000u
#define DOWN_NS 2000000000u

struct place_s3 {
	struct place place; /* first */
	struct s3 *s3;
	char *storage_class;
	_Atomic uint64_t said_ns, down_until_ns;
};

static struct place_s3 *s3_of(struct place *pl)
{
	return (struct place_s3 *)pl;
}

static void pack_key(uint64_t pack, char key[KEY_MAX])
{
	memcpy(key, FOLDER, sizeof FOLDER);
	pack_name(pack, key + sizeof FOLDER - 1);
}

static void say(struct place_s3 *p, const struct s3_answer *a)
{
	uint64_t now = clock_mono_ns(), last = atomic_load(&p->said_ns);
	if (a->err != -ECANCELED && (!last || now - last > SAY_NS) &&
	    atomic_compare_exchange_strong(&p->said_ns, &last, now))
		log_error("%s", a->text);
}

/* Absence is no trouble; everything else is said. */
static int run(struct place_s3 *p, struct s3_request *rq)
{
	int r = s3_run(p->s3, rq);
	if (r < 0 && r != -ENOENT)
		say(p, &rq->answer);
	return r;
}

/* ---- reading ---- */

struct place_fetch {
	struct s3_request rq; /* first */
	char key[KEY_MAX];
	struct place_s3 *place;
	struct place_read *v;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool asked, ended;
};

static void range_done(struct s3_request *rq)
{
	struct place_fetch *f = (struct place_fetch *)rq;
	SCOPED_LOCK(&f->lock);
	f->ended = true;
	pthread_cond_signal(&f->changed);
}

static void range_submit(struct place_fetch *f, struct place_s3 *p, struct place_read *v)
{
	f->place = p;
	f->v = v;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	pack_key(v->pack, f->key);
	f->rq = (struct s3_request){ .op = S3_GET,
				     .key = f->key,
				     .at = v->at,
				     .len = v->len,
				     .into = v->buf,
				     .may_be_short = true,
				     .done = range_done };
	f->asked = clock_mono_ns() >= atomic_load(&p->down_until_ns);
	if (!f->asked)
		f->rq.answer.err = -EHOSTUNREACH;
	if (!f->asked || s3_submit(p->s3, &f->rq) < 0)
		f->ended = true;
}

static bool is_silence(int err)
{
	return err == -ETIMEDOUT || err == -ECONNREFUSED || err == -ECONNRESET ||
	       err == -EHOSTUNREACH || err == -EAGAIN;
}

static void range_wait(struct place_fetch *f)
{
	pthread_mutex_lock(&f->lock);
	while (!f->ended)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	const struct s3_answer *a = &f->rq.answer;
	f->v->result = a->err ? a->err : (ssize_t)a->count;
	if (!f->asked)
		return;
	if (a->err && a->err != -ENOENT)
		say(f->place, a);
	if (is_silence(a->err))
		atomic_store(&f->place->down_until_ns, clock_mono_ns() + DOWN_NS);
}

static void bucket_read(struct place *pl, struct place_read *v, size_t n)
{
	CLEANUP_FREE struct place_fetch *fetches = calloc(n, sizeof *fetches);
	for (size_t i = 0; i < n; i++)
		if (fetches)
			range_submit(&fetches[i], s3_of(pl), &v[i]);
		else
			v[i].result = -ENOMEM;
	for (size_t i = 0; fetches && i < n; i++)
		range_wait(&fetches[i]);
}

static struct place_fetch *bucket_begin(struct place *pl, struct place_read *v)
{
	struct place_fetch *f = calloc(1, sizeof *f);
	if (f)
		range_submit(f, s3_of(pl), v);
	return f;
}

static void bucket_end(struct place_fetch *f, bool drop)
{
	if (drop)
		s3_cancel(f->place->s3, &f->rq);
	range_wait(f);
	free(f);
}

/* ---- packs ---- */

static int bucket_size(struct place *pl, uint64_t pack, uint64_t *ret_bytes)
{
	char key[KEY_MAX];
	pack_key(pack, key);
	struct s3_request rq = { .op = S3_HEAD, .key = key };
	int r = run(s3_of(pl), &rq);
	if (r == 0)
		*ret_bytes = rq.answer.size;
	return r;
}

static int delete_pack(struct place_s3 *p, uint64_t pack)
{
	char key[KEY_MAX];
	pack_key(pack, key);
	struct s3_request rq = { .op = S3_DELETE, .key = key };
	return run(p, &rq);
}

static int bucket_remove(struct place *pl, uint64_t pack)
{
	int r = pl->keeps ? 0 : fault_hit("place_remove");
	return r || pl->keeps ? r : delete_pack(s3_of(pl), pack);
}

static int bring(void *arg, void *buf, size_t len, uint64_t at)
{
	struct place_source *from = arg;
	return from->read(from, buf, len, at);
}

static int bucket_put(struct place *pl, uint64_t pack, struct place_source *from)
{
	struct place_s3 *p = s3_of(pl);
	char key[KEY_MAX];
	uint64_t bytes;
	pack_key(pack, key);
	int r = fault_hit("place_write");
	if (r == 0)
		r = bucket_size(pl, pack, &bytes);
	if (r == 0)
		r = delete_pack(p, pack);
	if (r < 0 && r != -ENOENT)
		return r;
	struct s3_request rq = { .op = S3_PUT,
				 .key = key,
				 .source = { .read = bring, .arg = from, .len = from->bytes },
				 .storage_class = p->storage_class,
				 .if_none_match = true };
	r = run(p, &rq);
	if (r == 0)
		r = fault_hit("place_copied");
	if (r < 0 && r != -EEXIST) /* it may be there all the same */
		delete_pack(p, pack);
	return r;
}

struct found {
	uint64_t pack, bytes;
};

/* Keys are gathered on the client's thread and told on the caller's, who may take his time. */
static int take_entry(struct s3_request *rq, const struct s3_entry *e)
{
	struct buf *found = rq->arg;
	struct found f = { pack_of_name(e->key + sizeof FOLDER - 1), e->size };
	if (f.pack)
		buf_put(found, &f, sizeof f);
	return found->failed ? -ENOMEM : 0;
}

static int bucket_list(struct place *pl, int (*fn)(void *arg, uint64_t pack, uint64_t bytes),
		       void *arg)
{
	CLEANUP_BUF struct buf found = { 0 };
	struct s3_request rq = { .op = S3_LIST, .key = FOLDER, .each = take_entry, .arg = &found };
	int r = run(s3_of(pl), &rq);
	for (size_t at = 0; r == 0 && at < found.len; at += sizeof(struct found)) {
		struct found f;
		memcpy(&f, found.data + at, sizeof f);
		r = fn(arg, f.pack, f.bytes);
	}
	return r;
}

static int bucket_tidy(struct place *pl)
{
	struct s3_request rq = { .op = S3_ABORT_OLD, .key = FOLDER };
	return run(s3_of(pl), &rq);
}

static int bucket_room(struct place *pl, uint64_t *ret_total, uint64_t *ret_avail)
{
	(void)pl;
	*ret_total = *ret_avail = PLACE_NO_LIMIT;
	return 0;
}

/* ---- the label ---- */

static int stop_at_first(struct s3_request *rq, const struct s3_entry *e)
{
	(void)rq;
	(void)e;
	return -ENOTEMPTY;
}

static int bucket_read_label(struct place *pl, struct place_label *ret_label)
{
	CLEANUP_BUF struct buf text = { 0 };
	struct s3_request rq = {
		.op = S3_READ, .key = LABEL, .len = PLACE_LABEL_MAX, .whole = &text
	};
	int r = s3_run(s3_of(pl)->s3, &rq);
	if (r == 0)
		return place_label_parse((const char *)text.data, text.len, ret_label);
	if (r != -ENOENT) {
		say(s3_of(pl), &rq.answer);
		return r == -EFBIG ? -ESTALE : r;
	}
	rq = (struct s3_request){ .op = S3_LIST, .key = "", .each = stop_at_first };
	r = s3_run(s3_of(pl)->s3, &rq);
	return r ? r : -ENOENT;
}

static int put_label(struct place *pl, const struct place_label *label, bool anew)
{
	char text[PLACE_LABEL_MAX];
	size_t len = place_label_print(label, text);
	struct s3_request rq = { .op = S3_PUT,
				 .key = LABEL,
				 .source = { .data = text, .len = len },
				 .if_none_match = !anew };
	return run(s3_of(pl), &rq);
}

static int bucket_claim(struct place *pl, const struct place_label *label)
{
	return put_label(pl, label, false);
}

static int bucket_relabel(struct place *pl, const struct place_label *label)
{
	return put_label(pl, label, true);
}

static int bucket_lock(struct place *pl)
{
	(void)pl;
	return 0;
}

static void bucket_quit(struct place *pl)
{
	s3_quit(s3_of(pl)->s3);
}

static void bucket_close(struct place *pl)
{
	struct place_s3 *p = s3_of(pl);
	s3_close(p->s3);
	free(p->storage_class);
	free(p);
}

static const struct place_ops bucket_ops = {
	.read = bucket_read,
	.begin = bucket_begin,
	.end = bucket_end,
	.put = bucket_put,
	.size = bucket_size,
	.remove = bucket_remove,
	.list = bucket_list,
	.tidy = bucket_tidy,
	.room = bucket_room,
	.read_label = bucket_read_label,
	.claim = bucket_claim,
	.relabel = bucket_relabel,
	.lock = bucket_lock,
	.quit = bucket_quit,
	.close = bucket_close,
};

int place_s3_open(const struct s3_options *opt, const char *storage_class, char why[S3_TEXT_MAX],
		  struct place **ret_place)
{
	struct place_s3 *p = calloc(1, sizeof *p);
	int r = p ? 0 : -ENOMEM;
	if (r == 0 && storage_class && !(p->storage_class = strdup(storage_class)))
		r = -ENOMEM;
	if (r < 0)
		snprintf(why, S3_TEXT_MAX, "%.200s: there is no memory left.", opt->place);
	else
		r = s3_open(opt, why, &p->s3);
	if (r < 0) {
		if (p)
			bucket_close(&p->place);
		return r;
	}
	p->place.ops = &bucket_ops;
	*ret_place = &p->place;
	return 0;
}
