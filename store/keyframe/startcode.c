// SPDX-License-Identifier: MIT
/* Sixty-four places are tried at once: three loads, one byte apart, are zero, zero and one at the same
 * place. That takes the same time for any bytes, while a search for the 1 first would stop at each of
 * them, and one for the zeros in every padding.
 */
#include "startcode.h"
#include <string.h>

#define LANE 16u
#define BLOCK (4 * LANE)

typedef uint8_t bytes16 __attribute__((vector_size(LANE)));
typedef uint64_t words16 __attribute__((vector_size(LANE)));

static bytes16 load(const uint8_t *p)
{
	bytes16 v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* Ones where a start code begins. */
static bytes16 starts(const uint8_t *p)
{
	return (bytes16)((load(p) | load(p + 1) | (load(p + 2) ^ 1)) == 0);
}

size_t startcode_find(const uint8_t *p, size_t from, size_t len)
{
	size_t i = from;
	for (; i + BLOCK + 2 <= len; i += BLOCK) {
		words16 any = (words16)(starts(p + i) | starts(p + i + LANE) |
					starts(p + i + 2 * LANE) | starts(p + i + 3 * LANE));
		if (any[0] | any[1])
			break;
	}
	for (; i + 3 <= len; i++)
		if (!p[i] && !p[i + 1] && p[i + 2] == 1)
			return i;
	return len;
}
