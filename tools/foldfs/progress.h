// SPDX-License-Identifier: MIT
/* progress: one line on a terminal that is written over and over; nothing where stderr is none. */
#ifndef FOLDFS_PROGRESS_H
#define FOLDFS_PROGRESS_H
#include <jansson.h>
#include <stdbool.h>

bool progress_wanted(void);
/* For client_ask(): what a gc pass has done so far. */
void progress_gc(const json_t *report);
/* For client_ask(): asks the daemon of the pool set by progress_begin() what is left to destage. */
void progress_sync(const json_t *report);
/* For client_ask(): how far a scrub is. */
void progress_scrub(const json_t *report);
/* For client_ask(): how much of what shall move has. */
void progress_tier(const json_t *report);
/* How much of some files has been read. At most a few times a second. */
void progress_warm(const json_t *report);
void progress_begin(const char *pool);
void progress_end(void); /* clears the line */
#endif
