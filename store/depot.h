// SPDX-License-Identifier: MIT
/* depot: small objects with names, in a directory or in a bucket; where replicas are kept.
 *
 * A name is "folder/rest", both of [A-Za-z0-9._-]. An object is there as a whole or not at all, durable when the call
 * that made it returns. Functions give 0 or -errno; any thread.
 */
#ifndef FOLDFS_DEPOT_H
#define FOLDFS_DEPOT_H
#include "bytes.h"
#include "place.h"

#define DEPOT_NAME_MAX 128u

struct depot;

struct depot_ops {
	/* Only if there is no such object: -EEXIST. Of several who try at once one succeeds. */
	int (*create)(struct depot *d, const char *name, struct slice data);
	int (*put)(struct depot *d, const char *name, struct slice data); /* or replaces it */
	/* Appended to *data; -EFBIG: it has more than `most` bytes. */
	int (*get)(struct depot *d, const char *name, size_t most, struct buf *data);
	/* Names that begin with `prefix`, "folder/" and perhaps more; in no order. fn gives 0 to go on. */
	int (*list)(struct depot *d, const char *prefix, int (*fn)(void *arg, const char *name),
		    void *arg);
	int (*remove)(struct depot *d, const char *name); /* 0, too, when it is not there */
	void (*quit)(struct depot *d);			  /* as place_ops.quit; may be NULL */
	void (*close)(struct depot *d);
};

struct depot {
	const struct depot_ops *ops;
};

/* Options as for place_open(). The directory exists. */
int depot_open(const struct place_options *opt, struct depot **ret_d, char *why, size_t size);
int depot_dir_open(const char *path, struct depot **ret_d);
struct s3_options;
int depot_s3_open(const struct s3_options *opt, struct depot **ret_d, char *why, size_t size);
void depot_quit(struct depot *d);  /* NULL is fine */
void depot_close(struct depot *d); /* NULL is fine */
#endif
