// SPDX-License-Identifier: MIT
/* The definition of the cuts, and the choice of the code that finds them. What is smallest as
 * complement is largest as product, so the code looks for the largest x * MINCDC_FACTOR.
 *
 * The factor is 1 + c * 2^16. With x = low + high * 2^16 the upper half of the product is then
 * high + c * low and its lower half is `low`: equal products mean equal bytes, the upper half depends on
 * all four, and costs one multiplication of 16 bits for each place. See mincdc_scan.h.
 *
 * The end of the stream. Cutting the rest always gives short files two chunks for one, never cutting
 * less than `high` bytes gives long ones, and both find less at equal mean lengths than taking what is
 * no more than avg as it is: on source trees 0.3 points less.
 */
#include "mincdc.h"
#include "bytes.h"

void mincdc_init(struct mincdc *m, uint32_t min, uint32_t avg, uint32_t max)
{
	uint32_t half = avg - min < max - avg ? avg - min : max - avg;

	m->low = avg - half;
	m->avg = avg;
	m->high = avg + half;
	for (unsigned i = 0; mincdc_finder(i).name; i++)
		m->find = mincdc_finder(i).find;
}

size_t mincdc_cut(const struct mincdc *m, const uint8_t *data, size_t len, bool last)
{
	if (len < m->high && !last)
		return 0;
	if (len <= m->avg)
		return len;
	size_t end = len < m->high ? len : m->high;
	return m->low + m->find(data + m->low - 4, end - m->low + 1);
}

size_t mincdc_find_plain(const uint8_t *data, size_t n)
{
	size_t at = 0;
	uint32_t most = get_le32(data) * MINCDC_FACTOR;
	for (size_t i = 1; i < n; i++) {
		uint32_t product = get_le32(data + i) * MINCDC_FACTOR;
		if (product > most) {
			most = product;
			at = i;
		}
	}
	return at;
}

struct mincdc_finder mincdc_finder(unsigned i)
{
	struct mincdc_finder have[5] = { { "plain", mincdc_find_plain } };
	unsigned n = 1;
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.1"))
		have[n++] = (struct mincdc_finder){ "sse4.1", mincdc_find_sse41 };
	if (__builtin_cpu_supports("avx2"))
		have[n++] = (struct mincdc_finder){ "avx2", mincdc_find_avx2 };
	if (__builtin_cpu_supports("avx512bw"))
		have[n++] = (struct mincdc_finder){ "avx512", mincdc_find_avx512 };
#endif
	return have[i < n ? i : n];
}
