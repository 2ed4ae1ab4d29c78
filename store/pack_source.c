// SPDX-License-Identifier: MIT
/* What has descriptors is read by one, and the kernel reads ahead. Of other places ranges side by side are
 * asked for: one after the other would wait for the place each time.
 */
#include "pack_source.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP (1u << 20)
#define AHEAD (16 * STEP)

int pack_source_open(struct pack_source *s, struct place *pl, uint64_t pack)
{
	*s = (struct pack_source){ .pl = pl, .pack = pack, .fd = -1 };
	int r = pl->ops->size(pl, pack, &s->bytes);
	if (r == 0 && pl->ops->open_pack)
		r = s->fd = pl->ops->open_pack(pl, pack);
	return r < 0 ? r : 0;
}

void pack_source_close(struct pack_source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->ahead);
	s->ahead = NULL;
	s->have = 0;
}

static int fill_ahead(struct pack_source *s, uint64_t at)
{
	struct place_read v[AHEAD / STEP];
	size_t n = 0, len = 0;
	s->ahead = s->ahead ? s->ahead : malloc(AHEAD);
	s->have = 0;
	if (!s->ahead)
		return -ENOMEM;
	while (n < AHEAD / STEP && at + len < s->bytes) {
		uint64_t left = s->bytes - at - len;
		v[n] = (struct place_read){
			.pack = s->pack, .at = at + len, .len = STEP, .buf = s->ahead + len
		};
		v[n].len = left < STEP ? (size_t)left : STEP;
		len += v[n++].len;
	}
	s->pl->ops->read(s->pl, v, n);
	for (size_t i = 0; i < n; i++)
		if (v[i].result != (ssize_t)v[i].len)
			return v[i].result < 0 ? (int)v[i].result : -EUCLEAN;
	s->at = at;
	s->have = len;
	return 0;
}

static int read_far(struct pack_source *s, uint8_t *out, size_t len, uint64_t at)
{
	while (len) {
		int r = at >= s->at && at < s->at + s->have ? 0 : fill_ahead(s, at);
		size_t n = r == 0 ? (size_t)(s->at + s->have - at) : 0;
		n = n < len ? n : len;
		if (!n)
			return r ? r : -EUCLEAN;
		memcpy(out, s->ahead + (at - s->at), n);
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
