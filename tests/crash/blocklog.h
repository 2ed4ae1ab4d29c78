// SPDX-License-Identifier: MIT
/* blocklog: reads a recorded log, and keeps the disk as the last flush left it while walking on.
 *
 * Walking is cheap forwards; a step back starts again from the first record.
 */
#ifndef FOLDFS_BLOCKLOG_H
#define FOLDFS_BLOCKLOG_H
#include "blocklog_format.h"
#include <stdbool.h>
#include <stddef.h>

#define BLOCKLOG_PAGE 65536u /* what `touched` counts in */

struct blocklog {
	const struct blocklog_record **records; /* n of them, payload behind each */
	size_t n;

	uint8_t *disk; /* what is surely on the medium after the walk so far */
	size_t size;
	bool *touched; /* per BLOCKLOG_PAGE of the disk: may differ from zeros */
	size_t next;   /* records before this one have been walked over */
	bool *done;    /* per record: a write of which the kernel knew that it was done */
	size_t *pending, n_pending; /* writes that a power cut may lose, in order */

	int image;
	void *map;
	size_t map_len;
};

/* 0 or -errno; -EUCLEAN for a log that is none. A record that is cut off ends the log. */
int blocklog_open(struct blocklog *l, const char *log_path, const char *image_path);
/* Walks to just after record `last`. */
int blocklog_walk(struct blocklog *l, size_t last);
#endif
