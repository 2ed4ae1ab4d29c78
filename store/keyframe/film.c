// SPDX-License-Identifier: MIT
#include "film.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int film_add_track(struct film *f, enum film_kind kind, const char *codec)
{
	if (f->n_tracks == FILM_TRACKS_MAX)
		return -E2BIG;
	struct film_track *t = &f->tracks[f->n_tracks];
	*t = (struct film_track){ .kind = kind };
	snprintf(t->codec, sizeof t->codec, "%s", codec);
	return (int)f->n_tracks++;
}

int film_add_sample(struct film *f, const struct film_sample *s)
{
	if (f->n == FILM_SAMPLES_MAX)
		return -E2BIG;
	if (f->n == f->max) {
		size_t max = f->max ? f->max * 2 : 1024;
		struct film_sample *samples = realloc(f->samples, max * sizeof *samples);
		if (!samples)
			return -ENOMEM;
		f->samples = samples;
		f->max = max;
	}
	f->samples[f->n++] = *s;
	return 0;
}

void film_done(struct film *f)
{
	free(f->samples);
	*f = (struct film){ 0 };
}

const char *film_container_name(enum film_container c)
{
	static const char *const names[] = {
		[FILM_NONE] = "none",
		[FILM_MP4] = "MP4",
		[FILM_FRAGMENTED] = "fragmented MP4",
		[FILM_MATROSKA] = "Matroska",
		[FILM_TS] = "MPEG-TS",
		[FILM_M2TS] = "M2TS",
		[FILM_AVI] = "AVI",
		[FILM_MXF] = "MXF",
		[FILM_H264] = "H.264 stream",
		[FILM_HEVC] = "HEVC stream",
	};
	return (unsigned)c < sizeof names / sizeof *names ? names[c] : "unknown";
}
