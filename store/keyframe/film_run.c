// SPDX-License-Identifier: MIT
#include "film_run.h"

#define PART_MAX (1u << 31)

int film_run_end(struct film_run *r, uint64_t end)
{
	bool key = true;
	if (!r->open)
		return 0;
	r->open = false;
	for (uint64_t at = r->at; at < end; key = false) {
		uint32_t len = end - at < PART_MAX ? (uint32_t)(end - at) : PART_MAX;
		struct film_sample s = { .at = at, .len = len, .track = r->track, .key = key };
		int e = film_add_sample(r->film, &s);
		if (e < 0)
			return e;
		at += len;
	}
	return 0;
}

int film_run_key(struct film_run *r, uint64_t at)
{
	if (r->open && at <= r->at)
		return 0;
	int e = film_run_end(r, at);
	r->open = true;
	r->at = at;
	return e;
}
