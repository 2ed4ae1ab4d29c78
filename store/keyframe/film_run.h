// SPDX-License-Identifier: MIT
/* film_run: the samples of a stream, where each is a run of pictures up to the next key picture. */
#ifndef FOLDFS_FILM_RUN_H
#define FOLDFS_FILM_RUN_H
#include "film.h"

struct film_run {
	struct film *film;
	uint16_t track;
	bool open;
	uint64_t at; /* of the key picture that the open run began with */
};

/* A key picture begins here: that ends the run before it. Ignored unless it lies beyond the former. */
int film_run_key(struct film_run *r, uint64_t at);
/* The stream ends here. A run of 4 GiB and more is divided; what follows its first part is no key. */
int film_run_end(struct film_run *r, uint64_t end);
#endif
