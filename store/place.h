// SPDX-License-Identifier: MIT
/* place: where the packs of a tier lie: a directory, or a bucket of an object store.
 *
 * A place belongs to one tier of one pool and says so by a label of its own, so that an empty
 * directory (a disk that is not there today), another tier's or another pool's is never taken for it.
 * A pack is there as a whole or not at all. All functions return 0 or -errno; any thread.
 */
#ifndef FOLDFS_PLACE_H
#define FOLDFS_PLACE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct place;
struct place_fetch; /* a range on its way out */

#define PLACE_STEP (1u << 20) /* a directory is given a pack in steps of this */

/* A pack on its way in. */
struct place_source {
	/* Exactly these bytes, each once and in order; may wait. An error ends the putting with it. */
	int (*read)(struct place_source *from, void *buf, size_t len, uint64_t at);
	uint64_t bytes;
};

struct place_read {
	uint64_t pack, at;
	size_t len;
	void *buf;
	ssize_t result; /* bytes read, or -errno; -ENOENT: there is no such pack; -ENOMEDIUM: the place
			 * does not answer */
};

struct place_label {
	uint8_t pool[16], tier[16];
	unsigned number; /* of the tier in the pool */
};

struct place_ops {
	/* A descriptor for reading, the caller's. NULL: there are none here, but read(). */
	int (*open_pack)(struct place *pl, uint64_t pack);
	void (*read)(struct place *pl, struct place_read *v, size_t n); /* all at once */
	/* The same of one range in two halves, between which others can be asked for. `v` is borrowed until the
	 * second, which waits and tells v->result; with `drop` it does not wait for the bytes. begin() gives NULL
	 * when there is no memory. Both are NULL where there are descriptors. */
	struct place_fetch *(*begin)(struct place *pl, struct place_read *v);
	void (*end)(struct place_fetch *f, bool drop);
	/* Durable on return; on failure nothing is left of it. A pack of that number that lies there
	 * is replaced. */
	int (*put)(struct place *pl, uint64_t pack, struct place_source *from);
	int (*size)(struct place *pl, uint64_t pack, uint64_t *ret_bytes);
	int (*remove)(struct place *pl, uint64_t pack); /* 0, too, when it is not there */
	/* fn gives 0 to go on. */
	int (*list)(struct place *pl, int (*fn)(void *arg, uint64_t pack, uint64_t bytes),
		    void *arg);
	int (*tidy)(struct place *pl); /* removes what puts that were interrupted have left */
	int (*room)(struct place *pl, uint64_t *ret_total,
		    uint64_t *ret_avail); /* or PLACE_NO_LIMIT */
	/* -ENOENT: nobody's yet, and empty. -ENOTEMPTY: nobody's, with files. -ESTALE: not to be
	 * understood. */
	int (*read_label)(struct place *pl, struct place_label *ret_label);
	int (*claim)(struct place *pl, const struct place_label *label); /* durable on return */
	/* The same where there is a label that is not to be understood. */
	int (*relabel)(struct place *pl, const struct place_label *label);
	/* Keeps other processes that have a copy of the pool away until close. -EBUSY: another is there.
	 * NULL: this cannot be done here. */
	int (*lock)(struct place *pl);
	/* The directory, borrowed: files in it can be mended. NULL: this is none. */
	int (*dirfd)(struct place *pl);
	/* Nobody waits any more: what needs a server, now or later, fails soon with -ECANCELED, and leaves
	 * behind what tidy() removes. NULL: nothing here takes long. */
	void (*quit)(struct place *pl);
	void (*close)(struct place *pl);
};

struct place {
	const struct place_ops *ops;
	bool keeps; /* remove() does nothing: others need what lies here, and see to it */
};

#define PLACE_NO_LIMIT ((uint64_t)INT64_MAX)
#define PLACE_LABEL_MAX 128u
#define PLACE_LABEL_NAME "foldfs-tier"
/* The label as the text of a small file; its length. */
size_t place_label_print(const struct place_label *label, char out[PLACE_LABEL_MAX]);
int place_label_parse(const char *text, size_t len, struct place_label *ret_label); /* or -ESTALE */

struct place_options {
	const char *where; /* a directory, or s3://bucket/prefix; and of that: */
	const char *endpoint, *region, *storage_class; /* NULL or empty: as usual, see s3.h */
	unsigned timeout_ms;			       /* for a request; 0: a minute */
};
/* -errno with a sentence. Of a bucket nothing is asked yet. */
int place_open(const struct place_options *opt, struct place **ret_place, char *why, size_t size);
/* `path` is an existing directory. */
int place_dir_open(const char *path, struct place **ret_place);
/* The same of a directory that is open, which is borrowed; it has no label. */
int place_dir_at(int dirfd, struct place **ret_place);
void place_close(struct place *pl); /* NULL is fine */
#endif
