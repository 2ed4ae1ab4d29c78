// SPDX-License-Identifier: MIT
/* What has descriptors is read by one, and the kernel reads ahead. Of other places the next steps are always
 * asked for while one is used: asking for one after the other would wait for the place each time, and so would
 * asking for several, using them, and asking again.
 */
#include "pack_source.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP (2u << 20)

int pack_source_open(struct pack_source *s, struct place *pl, uint64_t pack)
{
	*s = (struct pack_source){ .pl = pl, .pack = pack, .fd = -1 };
	int r = pl->ops->size(pl, pack, &s->bytes);
	if (r == 0 && pl->ops->open_pack)
		r = s->fd = pl->ops->open_pack(pl, pack);
	return r < 0 ? r : 0;
}

static void drop_first(struct pack_source *s)
{
	struct pack_source_step *step = &s->steps[s->first];
	if (step->under_way)
		s->pl->ops->end(TAKE_PTR(step->under_way), true);
	s->at += step->v.len;
	s->first = (s->first + 1) % PACK_SOURCE_STEPS;
	s->n--;
}

void pack_source_close(struct pack_source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	while (s->n)
		drop_first(s);
	free(s->ahead);
	s->ahead = NULL;
}

static int ask_for_next(struct pack_source *s)
{
	unsigned nth = (s->first + s->n) % PACK_SOURCE_STEPS;
	struct pack_source_step *step = &s->steps[nth];
	uint64_t left = s->bytes - s->end;
	step->v = (struct place_read){ .pack = s->pack,
				       .at = s->end,
				       .len = left < STEP ? (size_t)left : STEP,
				       .buf = s->ahead + (size_t)nth * STEP };
	step->under_way = s->pl->ops->begin(s->pl, &step->v);
	if (!step->under_way)
		return -ENOMEM;
	s->n++;
	s->end += step->v.len;
	return 0;
}

/* The step with these bytes is the first one then, and the next ones are asked for. */
static int go_to(struct pack_source *s, uint64_t at)
{
	int r = 0;
	s->ahead = s->ahead ? s->ahead : malloc((size_t)STEP * PACK_SOURCE_STEPS);
	if (!s->ahead)
		return -ENOMEM;
	while (s->n && (at < s->at || at >= s->at + s->steps[s->first].v.len))
		drop_first(s);
	if (!s->n)
		s->at = s->end = at;
	while (s->n < PACK_SOURCE_STEPS && s->end < s->bytes && r == 0)
		r = ask_for_next(s);
	return s->n ? 0 : r ? r : -EUCLEAN;
}

/* The bytes of the first step. */
static int wait_for_first(struct pack_source *s)
{
	struct pack_source_step *step = &s->steps[s->first];
	if (step->under_way)
		s->pl->ops->end(TAKE_PTR(step->under_way), false);
	return step->v.result == (ssize_t)step->v.len ? 0
	       : step->v.result < 0		      ? (int)step->v.result
						      : -EUCLEAN;
}

static int read_far(struct pack_source *s, uint8_t *out, size_t len, uint64_t at)
{
	while (len) {
		int r = go_to(s, at);
		if (r == 0)
			r = wait_for_first(s);
		if (r < 0)
			return r;
		const struct place_read *v = &s->steps[s->first].v;
		size_t skip = (size_t)(at - s->at), n = v->len - skip;
		n = n < len ? n : len;
		memcpy(out, (const uint8_t *)v->buf + skip, n);
		out += n;
		at += n;
		len -= n;
	}
	return 0;
}

int pack_source_read(struct pack_source *s, void *buf, size_t len, uint64_t at)
{
	return s->fd >= 0 ? io_read_exact(s->fd, buf, len, (off_t)at) : read_far(s, buf, len, at);
}

int pack_source_peek(struct pack_source *s, void *buf, size_t len, uint64_t at)
{
	struct place_read v = { .pack = s->pack, .at = at, .len = len, .buf = buf };
	if (s->fd >= 0)
		return io_read_exact(s->fd, buf, len, (off_t)at);
	s->pl->ops->read(s->pl, &v, 1);
	return v.result == (ssize_t)len ? 0 : v.result < 0 ? (int)v.result : -EUCLEAN;
}

int pack_source_again(struct pack_source *s, void *buf, size_t len, uint64_t at)
{
	if (s->fd >= 0) { /* whole pages */
		uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = at / page * page;
		posix_fadvise(s->fd, (off_t)from, (off_t)(at + len - from + page),
			      POSIX_FADV_DONTNEED);
	}
	return pack_source_peek(s, buf, len, at);
}
