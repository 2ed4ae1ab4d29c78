// SPDX-License-Identifier: MIT
/* parameter_set: is this really H.264 or HEVC? An elementary stream has no magic number, and 00 00 01
 * begins other things too. What is sure to be one begins with parameter sets that make sense, and a
 * slice that refers to them.
 */
#ifndef FOLDFS_PARAMETER_SET_H
#define FOLDFS_PARAMETER_SET_H
#include "access_unit.h"

struct parameter_sets {
	bool sps[32];  /* by id */
	bool pps[256]; /* by id; refers to an sps */
	bool sps_any;
	bool slice; /* a picture's first, that refers to a pps: no doubt is left */
};

/* Takes the NAL unit p, without its start code. False: no such stream has this here. c is AU_H264 or
 * AU_HEVC. */
bool parameter_sets_take(struct parameter_sets *s, enum au_codec c, const uint8_t *p, size_t len);
#endif
