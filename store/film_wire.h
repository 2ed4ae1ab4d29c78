// SPDX-License-Identifier: MIT
/* film_wire: a film on its way out of the process that has parsed it. What comes in is not believed:
 * every number is checked before it becomes a part of the film.
 */
#ifndef FOLDFS_FILM_WIRE_H
#define FOLDFS_FILM_WIRE_H
#include "keyframe/film.h"
#include <sys/types.h>

/* Up to len bytes, 0 at the end, -errno. */
typedef ssize_t film_wire_reader(void *arg, void *buf, size_t len);

/* Writes the film, or why there is none (err < 0). -errno of writing. */
int film_wire_put(int fd, const struct film *f, int err);
/* Fills an empty film about a file of `size` bytes; *ret_film stays empty on failure. The error that was
 * put; -EUCLEAN: what came can't be true; -EPIPE: it ended early; -errno of reading. */
int film_wire_get(film_wire_reader *read, void *arg, uint64_t size, struct film *ret_film);
#endif
