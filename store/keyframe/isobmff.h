// SPDX-License-Identifier: MIT
/* isobmff: MP4, MOV and their kin, as the parts of their parser share it. isobmff.c has the idea. */
#ifndef FOLDFS_ISOBMFF_H
#define FOLDFS_ISOBMFF_H
#include "film.h"
#include "isobmff_table.h"

#define ISOBMFF_TINY 16u /* bytes; samples of one size up to this are taken as whole stretches */

struct isobmff_track {
	uint32_t id; /* by which fragments name it */
	uint16_t number;
	enum film_kind kind;
	bool tiny;	  /* samples are taken in stretches */
	bool elsewhere;	  /* they are in another file */
	uint32_t size;	  /* of a sample for which a fragment says nothing else */
	uint32_t flags;	  /* likewise */
	uint64_t at, end; /* of the last sample that was taken */
};

struct isobmff {
	struct film_source *s;
	struct film *f;
	unsigned work_left; /* boxes, entries of tables and samples that may still be looked at */
	/* Samples that don't overlap are no longer than the file all together. */
	uint64_t bytes_left;
	unsigned n;
	struct isobmff_track tracks[FILM_TRACKS_MAX];
	struct isobmff_table table; /* of fragments */
};

/* Where the tables of a track are that is not in fragments. */
struct isobmff_tables {
	struct isobmff_span sizes, chunks, runs, keys, partial, groups;
	unsigned bits;	 /* of a size in the table: 4, 8, 16, 32 */
	uint32_t size;	 /* of every sample; 0: see the table */
	uint64_t n;	 /* samples; more than there can be if the box lies */
	bool keys_given; /* otherwise each is one */
	/* Tiny samples: so many bytes hold so many samples. */
	uint32_t packet_bytes, packet_samples;
};

/* What the sample descriptions (stsd) of a track say. */
struct isobmff_entry {
	char codec[8];
	bool plain;	/* not encrypted, and all of one codec */
	bool pcm;	/* or as simple: any stretch of samples can be decoded */
	uint64_t files; /* bit i: data reference i is used, i < 64 */
	uint32_t packet_bytes, packet_samples;
};

struct isobmff_boxes isobmff_children(struct isobmff *p, const struct isobmff_box *b,
				      uint64_t skip);

/* Each returns 0 or -errno: of reading, -ENOMEM, or -E2BIG when there are more samples than a film
 * holds or a file has room for. What is not there, or too short to be read, is no failure. */
int isobmff_entry_read(struct isobmff *p, const struct isobmff_box *stsd, enum film_kind kind,
		       struct isobmff_entry *ret);
int isobmff_track_read(struct isobmff *p, const struct isobmff_box *trak);
int isobmff_samples_read(struct isobmff *p, struct isobmff_track *t,
			 const struct isobmff_tables *tables);
int isobmff_defaults_read(struct isobmff *p, const struct isobmff_box *mvex);
int isobmff_fragment_read(struct isobmff *p, const struct isobmff_box *moof);

/* Takes a sample unless it is empty, overlaps the one before it, reaches beyond the file, or belongs
 * to a track that is neither video nor audio or has its samples in another file. */
int isobmff_add(struct isobmff *p, struct isobmff_track *t, uint64_t at, uint64_t len, bool key);
#endif
