// SPDX-License-Identifier: MIT
#include "replica_held.h"
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct held {
	uint64_t bytes, seq;
	uint64_t idle_ms; /* since when it is of no use; 0: it is of use, or nobody has looked */
	char name[];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct held *)a)->name, ((const struct held *)b)->name);
}

static struct held *held_new(const char *name)
{
	size_t len = strlen(name) + 1;
	struct held *e = calloc(1, sizeof *e + len);
	if (e)
		memcpy(e->name, name, len);
	return e;
}

static struct held *find(const struct replica_held *h, const char *name)
{
	struct held *key = held_new(name), **at;
	if (!key)
		return NULL;
	at = tfind(key, &h->tree, by_name);
	free(key);
	return at ? *at : NULL;
}

bool replica_held_has(const struct replica_held *h, const char *name, uint64_t *ret_bytes)
{
	struct held *e = find(h, name);
	if (e && ret_bytes)
		*ret_bytes = e->bytes;
	return e;
}

int replica_held_add(struct replica_held *h, const char *name, uint64_t bytes)
{
	struct held *e = held_new(name);
	struct held **at = e ? tsearch(e, &h->tree, by_name) : NULL;
	if (!at) {
		free(e);
		return -ENOMEM;
	}
	if (*at != e)
		free(e);
	else
		h->n++;
	(*at)->bytes = bytes;
	return 0;
}

void replica_held_need(struct replica_held *h, const char *name, uint64_t seq)
{
	struct held *e = find(h, name);
	if (e)
		e->seq = seq;
}

struct walk {
	uint64_t seq, now_ms, grace_ms;
	struct held **due;
	size_t n;
};

static void look(const void *node, VISIT which, void *arg)
{
	struct walk *w = arg;
	struct held *e = *(struct held *const *)node;
	if (which != postorder && which != leaf)
		return;
	if (e->seq >= w->seq)
		e->idle_ms = 0;
	else if (!e->idle_ms)
		e->idle_ms = w->now_ms ? w->now_ms : 1;
	else if (w->now_ms - e->idle_ms >= w->grace_ms)
		w->due[w->n++] = e;
}

int replica_held_sweep(struct replica_held *h, uint64_t seq, uint64_t now_ms, uint64_t grace_ms,
		       int (*remove)(void *arg, const char *name), void *arg)
{
	struct walk w = { .seq = seq, .now_ms = now_ms, .grace_ms = grace_ms };
	int r = 0;
	w.due = calloc(h->n + 1, sizeof *w.due);
	if (!w.due)
		return -ENOMEM;
	twalk_r(h->tree, look, &w);
	for (size_t i = 0; i < w.n && r == 0; i++) {
		r = remove(arg, w.due[i]->name);
		if (r < 0)
			break;
		tdelete(w.due[i], &h->tree, by_name);
		h->n--;
		free(w.due[i]);
	}
	free(w.due);
	return r;
}

void replica_held_done(struct replica_held *h)
{
	tdestroy(h->tree, free);
	*h = (struct replica_held){ 0 };
}
