// SPDX-License-Identifier: MIT
/* film_cuts: at which of its pictures a stream is cut into chunks.
 *
 * A picture begins a chunk when its hash is the least of all that begin nearer than a *reach* before or
 * after it. So a cut depends on what is around it and on nothing else: films that
 * begin or end elsewhere, or are joined to others, have all cuts in common but those within a
 * reach of such an edge; what they do not share is less than one chunk at each.
 */
#ifndef FOLDFS_FILM_CUTS_H
#define FOLDFS_FILM_CUTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cut_place {
	uint64_t at; /* bytes of the stream before it; ascending */
	uint32_t hash;
	bool cut; /* a chunk begins here; what is set before stays set */
};

struct cut_limits {
	uint64_t reach, max; /* bytes */
};

/* The reach for chunks of these sizes. Chunks are twice as long on average, where places are many. */
struct cut_limits cut_limits_of(uint64_t min, uint64_t target, uint64_t max);
/* Sets `cut`, of the first one always. No two of v[0, n) are further than limits->max from each other,
 * and `end`, of the stream, from the last. No chunk is longer than that then. -ENOMEM. */
int film_cuts_choose(struct cut_place *v, size_t n, uint64_t end, const struct cut_limits *limits);
#endif
