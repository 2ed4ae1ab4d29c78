// SPDX-License-Identifier: MIT
/* klv: the triplets that MXF files consist of: a key of 16 bytes, a BER length, a value (SMPTE 336). */
#ifndef FOLDFS_KLV_H
#define FOLDFS_KLV_H
#include "film_source.h"

#define KLV_KEY 16u
#define KLV_HEAD_MAX (KLV_KEY + 9u)

struct klv {
	uint64_t at;	/* of the key in the file */
	uint64_t value; /* of the value */
	uint64_t end;	/* what follows; not beyond the end of the file, whatever the length says */
	uint8_t key[KLV_KEY];
};

/* Reads the one that begins at `at`. 1, or 0 if none does; -errno. */
int klv_read(struct film_source *s, uint64_t at, struct klv *ret);
/* Seeks one from `at` on, after damage. 1, or 0 if there is none up to the end of the file. */
int klv_seek(struct film_source *s, uint64_t at, struct klv *ret);
#endif
