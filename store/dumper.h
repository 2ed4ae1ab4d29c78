// SPDX-License-Identifier: MIT
/* dumper: a thread that dumps the index now and then, and says how far back the log must reach. */
#ifndef FOLDFS_DUMPER_H
#define FOLDFS_DUMPER_H
#include "dump.h"

struct dumper;

struct dumper_options {
	struct kv *kv;
	struct dump_place place; /* its descriptor is borrowed */
	uint64_t interval_s;	 /* dumps are at least so far apart, unless the log gets long */
};

int dumper_start(const struct dumper_options *opt, struct dumper **ret_dumper);
/* The pool is closing and nobody else writes to the engine. `failed`: nothing more is written. Otherwise
 * dumps once more if that takes no time to speak of and shortens the log. NULL is fine. */
void dumper_stop(struct dumper *d, bool failed);

/* What the engine must keep of the log for these dumps, newest first (kv_options.keep_log). */
void dumps_keep(const struct dump_info *dumps, size_t n, uint64_t *ret_after, uint64_t *ret_least);
#endif
