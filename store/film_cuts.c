// SPDX-License-Identifier: MIT
/* Two cuts chosen by their hashes are never nearer than a reach: one of them would not be the least. Of
 * equal hashes the first counts. Between them it is two reaches on average, and hardly ever more than eight.
 *
 * Where it is more than the longest chunk (hashes that are all alike, or rise for long), the gap
 * is cut from its begin on, at the least hash each time of those far enough on. As a gap's ends
 * are chosen by what is around them, so is everything in it.
 */
#include "film_cuts.h"
#include <errno.h>
#include <stdlib.h>

struct cut_limits cut_limits_of(uint64_t min, uint64_t target, uint64_t max)
{
	uint64_t reach = target / 2 < max / 4 ? target / 2 : max / 4;
	return (struct cut_limits){ .reach = reach > min ? reach : min, .max = max };
}

/* Is v[k], after which `right` is the first with a lesser hash (n: none is), the least within reach? */
static void judge(struct cut_place *v, const uint32_t *below, uint32_t k,
		  const struct cut_place *right, uint64_t reach)
{
	bool left_ok = !below || v[k].at - v[*below].at >= reach;
	bool right_ok = !right || right->at - v[k].at >= reach;
	v[k].cut |= left_ok && right_ok;
}

/* On the stack are those that none after them is less than, so hashes ascend; what lies below one is the
 * last before it that is not greater. */
static void choose_least(struct cut_place *v, size_t n, uint64_t reach, uint32_t *stack)
{
	size_t used = 0;
	for (uint32_t i = 0; i <= n; i++) {
		const struct cut_place *right = i < n ? &v[i] : NULL;
		while (used && (!right || v[stack[used - 1]].hash > right->hash)) {
			used--;
			judge(v, used ? &stack[used - 1] : NULL, stack[used], right, reach);
		}
		stack[used++] = i;
	}
}

/* The place at which a chunk that begins at v[a] is to end; the next cut is at v[b] or, for
 * b == n, the end. */
static size_t choose_in_gap(const struct cut_place *v, size_t a, size_t b, uint64_t b_at,
			    const struct cut_limits *l)
{
	size_t best = 0, last = a + 1;
	for (size_t k = a + 1; k < b && v[k].at - v[a].at <= l->max; k++) {
		last = k;
		if (v[k].at - v[a].at >= l->reach && b_at - v[k].at >= l->reach &&
		    (!best || v[k].hash < v[best].hash))
			best = k;
	}
	return best ? best : last;
}

int film_cuts_choose(struct cut_place *v, size_t n, uint64_t end, const struct cut_limits *limits)
{
	if (n == 0)
		return 0;
	uint32_t *stack = malloc((n + 1) * sizeof *stack);
	if (!stack)
		return -ENOMEM;
	choose_least(v, n, limits->reach, stack);
	free(stack);
	v[0].cut = true;
	for (size_t a = 0, b; a < n; a = b) {
		for (b = a + 1; b < n && !v[b].cut;)
			b++;
		for (;;) {
			uint64_t b_at = b < n ? v[b].at : end;
			if (b == a + 1 || b_at - v[a].at <= limits->max)
				break;
			a = choose_in_gap(v, a, b, b_at, limits);
			v[a].cut = true;
		}
	}
	return 0;
}
