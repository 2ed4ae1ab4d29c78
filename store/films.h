// SPDX-License-Identifier: MIT
/* films: has the parsers of containers (keyframe/) look at files, in processes that can do no harm.
 *
 * What they find is advice. A process that dies, takes too long or sends nonsense gives none.
 */
#ifndef FOLDFS_FILMS_H
#define FOLDFS_FILMS_H
#include "keyframe/film.h"
#include "workers.h"

#define FILMS_HEAD 512u	       /* bytes that films_may_be() wants, if the file has them */
#define FILMS_LEAST (1u << 20) /* a smaller file is not worth it */

struct films;

struct films_options {
	unsigned seconds; /* for one film; 0: by its size */
};

/* Forks: call it while the process has one thread. -errno: there will be no advice. */
int films_start(const struct films_options *opt, struct films **ret_f);
void films_stop(struct films *f); /* NULL is fine */
/* For jobs that call films_find(): two threads. */
struct workers *films_workers(struct films *f);

/* Does the file's beginning look like any of the formats? Only fixed bytes are compared. */
bool films_may_be(const uint8_t *head, size_t len);
/* Fills an empty film about what fd, open for reading, has; FILM_NONE when it is none. Blocks; `over`
 * (may be NULL) is asked now and then and ends it with -ECANCELED. -ESHUTDOWN: the processes that
 * would ask are gone, for good. Else -errno: no advice. */
int films_find(struct films *f, int fd, uint64_t size, bool (*over)(void *arg), void *arg,
	       struct film *ret_film);
#endif
