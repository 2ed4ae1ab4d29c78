// SPDX-License-Identifier: MIT
/* film_source: the bytes of a file as a container's parser reads them: through one window, within a
 * budget, so that no file, whatever it claims, costs more than its size allows.
 */
#ifndef FOLDFS_FILM_SOURCE_H
#define FOLDFS_FILM_SOURCE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FILM_WINDOW (1u << 20) /* most bytes that one call gives */

struct film_source {
	/* Reads up to len bytes at `at`; the count, fewer at the end of the file only, or -errno. */
	ssize_t (*read)(void *arg, void *buf, size_t len, uint64_t at);
	void *arg;
	uint64_t size;	 /* of the file, bytes */
	uint64_t budget; /* bytes that may still be read */
	uint64_t at;	 /* of the window in the file */
	size_t len;	 /* of the window */
	unsigned near;	 /* small jumps, one after another, that led to the window */
	uint8_t *window; /* FILM_WINDOW bytes; the source's own */
};

/* Reads from fd with pread. The budget is four times the size plus 64 MiB. -ENOMEM. */
int film_source_open(struct film_source *s, const int *fd, uint64_t size);
void film_source_done(struct film_source *s);

/* Points *ret at bytes [at, at + len), len <= FILM_WINDOW, valid until the next call. -ENODATA: they
 * are not all within the file; -EDQUOT: the budget is used up; -errno of reading. */
int film_source_get(struct film_source *s, uint64_t at, size_t len, const uint8_t **ret);
/* Copies them to buf, of any length, and leaves the window alone: for who walks several tables at
 * once, each through a buffer of its own. Failures are those of film_source_get(). */
int film_source_copy(struct film_source *s, uint64_t at, size_t len, void *buf);
/* As many as there are, from 1 to len; the count. For streams. 0 at the end of the file. */
ssize_t film_source_some(struct film_source *s, uint64_t at, size_t len, const uint8_t **ret);
/* All that the window holds from `at` on: at least `need` bytes, or what there is up to the end of
 * the file. Who takes a file from front to back this way reads each byte about once. */
ssize_t film_source_window(struct film_source *s, uint64_t at, size_t need, const uint8_t **ret);
#endif
