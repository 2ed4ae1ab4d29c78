// SPDX-License-Identifier: MIT
/* film: what a container's parser has found in a file: its tracks and where their samples lie.
 *
 * A film is advice. It is made from hostile bytes, so that an offset in it may be wrong: that can
 * only move a cut, since whoever stores the file takes every byte from the file itself. What is sure
 * is the form: each sample lies within the file and belongs to a track, samples of one track come in
 * the order of decoding, and there are no more than FILM_SAMPLES_MAX.
 */
#ifndef FOLDFS_FILM_H
#define FOLDFS_FILM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILM_TRACKS_MAX 64u
#define FILM_SAMPLES_MAX                                                                           \
	(8u << 20) /* 192 MiB; a day at 60 pictures and 30 audio packets a second */

enum film_container {
	FILM_NONE,
	FILM_MP4,	 /* ISO base media: MP4, MOV, M4A, 3GP */
	FILM_FRAGMENTED, /* the same with movie fragments */
	FILM_MATROSKA,	 /* WebM as well */
	FILM_TS,	 /* MPEG transport stream, 188-byte packets */
	FILM_M2TS,	 /* 192-byte packets */
	FILM_AVI,
	FILM_MXF,
	FILM_H264, /* elementary streams, Annex B */
	FILM_HEVC,
};

enum film_kind { FILM_OTHER, FILM_VIDEO, FILM_AUDIO };

struct film_track {
	enum film_kind kind;
	bool whole; /* samples are payloads as every container holds them: fit for gathering */
	bool runs;  /* a sample is a whole run of pictures, from a key picture up to the next one */
	bool units; /* a sample is a NAL unit of a picture (units.h) */
	char codec[8]; /* "h264", "hevc", "vp9", "mpeg2", "prores", "aac", ...; "" unknown */
};

struct film_sample {
	uint64_t at; /* of the payload's first byte in the file; in TS: of its first packet */
	uint32_t len;
	uint16_t track;
	bool key;    /* decoding can begin here */
	bool begins; /* of units: a picture's first */
	/* Parameter sets within it, bytes from `at` on (inband.h); 0, 0: none are known. */
	uint16_t sets_at, sets_len;
};

struct film {
	enum film_container container;
	unsigned n_tracks;
	struct film_track tracks[FILM_TRACKS_MAX];
	size_t n, max;
	struct film_sample *samples;
};

/* Adds a track and returns its number; -E2BIG beyond FILM_TRACKS_MAX. */
int film_add_track(struct film *f, enum film_kind kind, const char *codec);
/* -E2BIG beyond FILM_SAMPLES_MAX, -ENOMEM. The caller has checked that it lies within the file. */
int film_add_sample(struct film *f, const struct film_sample *s);
void film_done(struct film *f); /* frees what it holds; it is empty then */

const char *film_container_name(enum film_container c); /* "MP4", ...; for people */
#endif
