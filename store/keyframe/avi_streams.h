// SPDX-License-Identifier: MIT
/* avi_streams: what avi.c has found in the head of an AVI file, and the indexes that name its samples.
 *
 * A sample is a chunk: four letters (two digits of the stream's number and two of its kind), the
 * payload's size, the payload. Nothing is believed without a look: that an offset of an index is one of a
 * chunk is checked with the first that can be.
 */
#ifndef FOLDFS_AVI_STREAMS_H
#define FOLDFS_AVI_STREAMS_H
#include "film.h"
#include "film_source.h"

#define AVI_STREAMS_MAX 100u /* two digits */
#define AVI_CHUNK_HEAD 8u

struct avi_stream {
	bool known; /* it has a track */
	bool all_key;
	unsigned track;
	uint64_t end;	  /* of its last sample so far and what fills it up; 0: it has none */
	uint64_t indx_at; /* of OpenDML's index of indexes: the payload; 0: it has none */
	uint32_t indx_len;
};

struct avi {
	struct film_source *s;
	struct film *f;
	unsigned n_streams;
	struct avi_stream streams[AVI_STREAMS_MAX];
	uint64_t movi_at; /* of the letters "movi" of the first list of samples; 0: there is none */
	uint64_t idx1_at; /* the payload; 0: there is none */
	uint32_t idx1_len;
};

/* The stream that has a track and that a chunk of these four letters holds a sample of, or NULL. */
struct avi_stream *avi_stream_of(struct avi *a, const uint8_t *id);
/* Adds a sample, unless it is empty or not wholly within the file. */
int avi_add(struct avi *a, struct avi_stream *st, uint64_t at, uint32_t len, bool key);

/* Adds the samples that the stream's OpenDML index names; none if that is no good. */
int avi_index_opendml(struct avi *a, unsigned stream);
/* Adds the samples that idx1 names, of streams that have none yet. */
int avi_index_old(struct avi *a);
#endif
