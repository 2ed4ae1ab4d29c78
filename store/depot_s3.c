// SPDX-License-Identifier: MIT
/* In a bucket an object is an object. What the server said of a failure is logged, at most once in ten seconds. */
#include "cleanup.h"
#include "clock.h"
#include "depot.h"
#include "fault.h"
#include "log.h"
#include "s3.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#define SAY_MS 10000u

struct depot_s3 {
	struct depot depot; /* first */
	struct s3 *s3;
	_Atomic uint64_t said_ms;
};

static struct depot_s3 *s3_of(struct depot *d)
{
	return (struct depot_s3 *)d;
}

static int run(struct depot *d, struct s3_request *rq)
{
	struct depot_s3 *s = s3_of(d);
	int r = s3_run(s->s3, rq);
	uint64_t now = clock_mono_ms(), last = atomic_load(&s->said_ms);
	bool usual = r == 0 || r == -ENOENT || r == -EEXIST || r == -ECANCELED;
	if (!usual && (!last || now - last > SAY_MS) &&
	    atomic_compare_exchange_strong(&s->said_ms, &last, now))
		log_warn("%s", rq->answer.text);
	return r;
}

static int bucket_make(struct depot *d, const char *name, struct slice data, bool anew)
{
	struct s3_request rq = { .op = S3_PUT,
				 .key = name,
				 .source = { .data = data.at, .len = data.len },
				 .if_none_match = !anew };
	int r = fault_hit("depot_write");
	if (r == 0)
		r = run(d, &rq);
	return r == 0 ? fault_hit("depot_written") : r;
}

/* The first try of a request may have succeeded without an answer: then it is ours that is in its way. */
static int bucket_create(struct depot *d, const char *name, struct slice data)
{
	CLEANUP_BUF struct buf there = { 0 };
	int r = bucket_make(d, name, data, false);
	if (r != -EEXIST)
		return r;
	bool ours = d->ops->get(d, name, data.len, &there) == 0 && there.len == data.len &&
		    !memcmp(there.data, data.at, data.len);
	return ours ? 0 : r;
}

static int bucket_put(struct depot *d, const char *name, struct slice data)
{
	return bucket_make(d, name, data, true);
}

static int bucket_get(struct depot *d, const char *name, size_t most, struct buf *data)
{
	CLEANUP_BUF struct buf whole = { 0 };
	struct s3_request rq = { .op = S3_READ, .key = name, .len = most, .whole = &whole };
	int r = run(d, &rq);
	if (r == 0 && whole.len)
		buf_put(data, whole.data, whole.len);
	return r < 0 ? r : data->failed ? -ENOMEM : 0;
}

/* On the client's thread; told on the caller's. */
static int take_entry(struct s3_request *rq, const struct s3_entry *e)
{
	struct buf *names = rq->arg;
	buf_put(names, e->key, strlen(e->key) + 1);
	return names->failed ? -ENOMEM : 0;
}

static int bucket_list(struct depot *d, const char *prefix, int (*fn)(void *arg, const char *name),
		       void *arg)
{
	CLEANUP_BUF struct buf names = { 0 };
	struct s3_request rq = { .op = S3_LIST, .key = prefix, .each = take_entry, .arg = &names };
	int r = run(d, &rq);
	for (size_t at = 0; r == 0 && at < names.len; at += strlen((char *)names.data + at) + 1)
		r = fn(arg, (char *)names.data + at);
	return r;
}

static int bucket_remove(struct depot *d, const char *name)
{
	struct s3_request rq = { .op = S3_DELETE, .key = name };
	int r = fault_hit("depot_remove");
	return r ? r : run(d, &rq);
}

static void bucket_quit(struct depot *d)
{
	s3_quit(s3_of(d)->s3);
}

static void bucket_close(struct depot *d)
{
	s3_close(s3_of(d)->s3);
	free(d);
}

static const struct depot_ops bucket_ops = {
	.create = bucket_create,
	.put = bucket_put,
	.get = bucket_get,
	.list = bucket_list,
	.remove = bucket_remove,
	.quit = bucket_quit,
	.close = bucket_close,
};

int depot_s3_open(const struct s3_options *opt, struct depot **ret_d, char *why, size_t size)
{
	char said[S3_TEXT_MAX] = "";
	struct depot_s3 *d = calloc(1, sizeof *d);
	if (!d) {
		snprintf(why, size, "there is not enough memory");
		return -ENOMEM;
	}
	d->depot.ops = &bucket_ops;
	int r = s3_open(opt, said, &d->s3);
	if (r < 0) {
		snprintf(why, size, "%s", said);
		free(d);
		return r;
	}
	*ret_d = &d->depot;
	return 0;
}
