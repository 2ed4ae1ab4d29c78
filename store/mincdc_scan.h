// SPDX-License-Identifier: MIT
/* The search of mincdc for one instruction set; included once by each mincdc_SET.c, which defines
 *
 *   TARGET         the attribute of functions that use the set
 *   NAME(x)        x with the set's own suffix
 *   VEC, LOAD(p)   a vector, and one from any address
 *   MUL16 ADD16 MAX16 SPREAD16(n)
 *   MAX16_WHERE_EQ(most, v, a, b) the larger of most and v where a and b are equal, else most
 *   ANY_GE16(a, b) ANY_GT16(a, b) whether any of a is >= or > that of b, unsigned
 *
 * A group is one vector's worth of places. As 16-bit numbers, the vectors at offsets 0 and 1 hold
 * the lower halves of all its windows and those at 2 and 3 the upper ones, and c * lower + upper is
 * the upper half of a product. Whole blocks are searched for the largest of these only. A block that
 * has none as large as the largest so far is done with; in random data it is all but some ten of
 * hundreds. Where one is larger the groups are looked at that have it. Where the largest is but
 * equal, as in nearly every block of dull data, the lower halves are compared first.
 */
#include "mincdc.h"
#include "bytes.h"

#define GROUP sizeof(VEC)
#define GROUPS 16u /* of a block */

struct NAME(best) {
	uint32_t most; /* the largest product so far */
	size_t at;
};

/* The larger of the upper halves of both windows that begin in each 16 bits. */
TARGET static inline VEC NAME(upper_halves)(const uint8_t *p)
{
	VEC c = SPREAD16((short)(MINCDC_FACTOR >> 16));
	VEC even = ADD16(MUL16(LOAD(p), c), LOAD(p + 2));
	VEC odd = ADD16(MUL16(LOAD(p + 1), c), LOAD(p + 3));
	return MAX16(even, odd);
}

/* Whether of the windows in a block that have the upper half of `most` any has a larger lower one. */
TARGET static bool NAME(any_beyond)(const uint8_t *block, uint32_t most)
{
	VEC c = SPREAD16((short)(MINCDC_FACTOR >> 16));
	VEC upper = SPREAD16((short)(most >> 16)), lower = SPREAD16((short)most), found = lower;
	for (const uint8_t *p = block; p < block + GROUPS * GROUP; p += GROUP) {
		VEC even = LOAD(p), odd = LOAD(p + 1);
		found = MAX16_WHERE_EQ(found, even, ADD16(MUL16(even, c), LOAD(p + 2)), upper);
		found = MAX16_WHERE_EQ(found, odd, ADD16(MUL16(odd, c), LOAD(p + 3)), upper);
	}
	return ANY_GT16(found, lower);
}

TARGET static void NAME(look_at_group)(const uint8_t *data, size_t at, struct NAME(best) * b)
{
	if (!ANY_GE16(NAME(upper_halves)(data + at), SPREAD16((short)(b->most >> 16))))
		return;
	for (size_t i = at; i < at + GROUP; i++) {
		uint32_t product = get_le32(data + i) * MINCDC_FACTOR;
		if (product > b->most)
			*b = (struct NAME(best)){ product, i };
	}
}

/* `most` is the largest upper half in each lane of the block. */
TARGET static void NAME(look_at_block)(const uint8_t *data, size_t at, VEC most,
				       struct NAME(best) * b)
{
	if (ANY_GT16(most, SPREAD16((short)(b->most >> 16))) ||
	    NAME(any_beyond)(data + at, b->most))
		for (unsigned g = 0; g < GROUPS; g++)
			NAME(look_at_group)(data, at + g * GROUP, b);
}

TARGET size_t NAME(mincdc_find)(const uint8_t *data, size_t n)
{
	struct NAME(best) b = { get_le32(data) * MINCDC_FACTOR, 0 };
	size_t at = 0;

	if (n < GROUP)
		return mincdc_find_plain(data, n);
	for (; n - at >= GROUPS * GROUP; at += GROUPS * GROUP) {
		VEC most = NAME(upper_halves)(data + at);
		for (unsigned g = 1; g < GROUPS; g++)
			most = MAX16(most, NAME(upper_halves)(data + at + g * GROUP));
		if (ANY_GE16(most, SPREAD16((short)(b.most >> 16))))
			NAME(look_at_block)(data, at, most, &b);
	}
	for (; n - at >= GROUP; at += GROUP)
		NAME(look_at_group)(data, at, &b);
	/* The last group overlaps the one before it: what was seen is no more than itself. */
	NAME(look_at_group)(data, n - GROUP, &b);
	return b.at;
}
