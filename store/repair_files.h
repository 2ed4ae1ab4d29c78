// SPDX-License-Identifier: MIT
/* repair_files: the files of packs, wherever they lie, for repair_packs.c; no interface. */
#ifndef FOLDFS_REPAIR_FILES_H
#define FOLDFS_REPAIR_FILES_H
#include "repair_impl.h"
#include "tiers.h"

struct file {
	uint64_t id, size;
	uint8_t tier; /* where it lies */
	int fd;	      /* of an object that was fetched; else -1 */
	int64_t created;
	uint64_t first_chunk, frames;
	struct pack_row row; /* state 0: there is none */
	bool there, header, footer, holes;
	bool far;    /* it was not looked into: what it is long enough for is there */
	bool unread; /* the same, as reading it has failed */
};

struct lying;

struct packs_repair {
	struct repair *r;
	struct file *files; /* by id */
	size_t n_files, cap_files;
	bool listed[TIERS_MAX]; /* what is not among the files is not there */
	struct lying *frames;
	size_t n, cap;
	size_t file; /* being scanned */
	uint64_t max_chunk;
	size_t at; /* of frames: walks beside the rows */
};

/* Gives files their names back, lists them, one for each pack, and matches them with the rows of packs. */
int repair_files_gather(struct packs_repair *pr);
void repair_files_done(struct packs_repair *pr);
struct file *repair_file_find(const struct packs_repair *pr, uint64_t id); /* or NULL */
int repair_file_open(const struct packs_repair *pr, uint64_t id); /* for reading; or -errno */
/* Nobody could look whether the frame is there, and the pack's file is long enough for it, or absent. */
bool repair_file_hides(const struct packs_repair *pr, const struct frame_row *row);
/* When all its frames have rows: makes file and row of the pack agree. */
int repair_file_settle(struct packs_repair *pr, struct file *f);
#endif
