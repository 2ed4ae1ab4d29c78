// SPDX-License-Identifier: MIT
/* A window is filled in small steps for who jumps about in a file (headers of boxes), and twice as far
 * each time for who goes on where it ended: so the headers before large payloads cost a page each, a
 * header that happens to lie across the end of a window little more, and tables come in few reads. Who
 * jumps only a little all the time, over pictures of some KB, gets those with them.
 */
#include "film_source.h"
#include "io.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP 4096u
#define NEAR 8192u /* to read as many bytes costs no more than a call */
#define NEAR_MOST (128u << 10)
#define NEAR_ROW 8u /* so often one after another */

static ssize_t read_fd(void *arg, void *buf, size_t len, uint64_t at)
{
	return io_read(*(const int *)arg, buf, len, (off_t)at);
}

int film_source_open(struct film_source *s, const int *fd, uint64_t size)
{
	*s = (struct film_source){
		.read = read_fd,
		.arg = (void *)fd,
		.size = size,
		.budget = size < UINT64_MAX / 8 ? 4 * size + (64u << 20) : UINT64_MAX,
		.window = malloc(FILM_WINDOW),
	};
	return s->window ? 0 : -ENOMEM;
}

void film_source_done(struct film_source *s)
{
	free(s->window);
	s->window = NULL;
}

/* How much to read at `at`, where `len` bytes are needed and the file has them. */
static size_t fill_size(struct film_source *s, uint64_t at, size_t len)
{
	bool goes_on = s->len && at >= s->at && at <= s->at + s->len;
	bool near = s->len && at > s->at + s->len && at <= s->at + s->len + NEAR;
	size_t most = near ? NEAR_MOST : FILM_WINDOW;
	s->near = near ? s->near + 1 : 0;
	size_t want = goes_on || s->near > NEAR_ROW ? 2 * s->len : STEP;
	if (want > most)
		want = most;
	if (want > s->size - at)
		want = (size_t)(s->size - at);
	if (want > s->budget)
		want = (size_t)s->budget;
	return want < len ? len : want;
}

static int fill(struct film_source *s, uint64_t at, size_t len)
{
	size_t want = fill_size(s, at, len);
	s->len = 0;
	if (want > s->budget)
		return -EDQUOT;
	ssize_t n = s->read(s->arg, s->window, want, at);
	if (n < 0)
		return (int)n;
	s->budget -= want;
	s->at = at;
	s->len = (size_t)n;
	return s->len < len ? -ENODATA : 0;
}

int film_source_get(struct film_source *s, uint64_t at, size_t len, const uint8_t **ret)
{
	if (len > FILM_WINDOW || at > s->size || len > s->size - at)
		return -ENODATA;
	if (at < s->at || at + len > s->at + s->len) {
		int r = fill(s, at, len);
		if (r < 0)
			return r;
	}
	*ret = s->window + (at - s->at);
	return 0;
}

int film_source_copy(struct film_source *s, uint64_t at, size_t len, void *buf)
{
	if (at > s->size || len > s->size - at)
		return -ENODATA;
	if (at >= s->at && at + len <= s->at + s->len) {
		memcpy(buf, s->window + (at - s->at), len);
		return 0;
	}
	if (len > s->budget)
		return -EDQUOT;
	ssize_t n = s->read(s->arg, buf, len, at);
	if (n < 0)
		return (int)n;
	s->budget -= len;
	return (size_t)n < len ? -ENODATA : 0;
}

ssize_t film_source_some(struct film_source *s, uint64_t at, size_t len, const uint8_t **ret)
{
	if (at >= s->size)
		return 0;
	if (len > s->size - at)
		len = (size_t)(s->size - at);
	if (len > FILM_WINDOW)
		len = FILM_WINDOW;
	int r = film_source_get(s, at, len, ret);
	if (r ==
	    -ENODATA) { /* the file has become shorter: what was read is at the window's start */
		*ret = s->window;
		return (ssize_t)s->len;
	}
	return r < 0 ? r : (ssize_t)len;
}

ssize_t film_source_window(struct film_source *s, uint64_t at, size_t need, const uint8_t **ret)
{
	ssize_t n = film_source_some(s, at, need, ret);
	return n <= 0 ? n : (ssize_t)(s->at + s->len - at);
}
