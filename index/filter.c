// SPDX-License-Identifier: MIT
/* The block is chosen by the upper half of place * blocks (D. Lemire, "Fast Random Integer Generation
 * in an Interval", 2019), which keeps the order of places: no power of two is needed, so a filter is
 * as large as its keys ask for. Six of the key's other bits choose the bit in each of the eight words.
 */
#include "filter.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int filter_init_blocks(struct filter *f, uint64_t room, uint64_t blocks)
{
	if (blocks > SIZE_MAX / FILTER_BLOCK_BYTES)
		return -ENOMEM;
	uint64_t *words = aligned_alloc(FILTER_BLOCK_BYTES, blocks * FILTER_BLOCK_BYTES);
	if (!words)
		return -ENOMEM;
	memset(words, 0, blocks * FILTER_BLOCK_BYTES);
	*f = (struct filter){ .words = words, .blocks = blocks, .room = room };
	return 0;
}

int filter_init(struct filter *f, uint64_t room, unsigned bits_per_key, size_t max_bytes)
{
	uint64_t blocks = (room * bits_per_key + 511) / 512;
	if (max_bytes && blocks > max_bytes / FILTER_BLOCK_BYTES)
		blocks = max_bytes / FILTER_BLOCK_BYTES;
	return filter_init_blocks(f, room, blocks ? blocks : 1);
}

void filter_done(struct filter *f)
{
	free(f->words);
	*f = (struct filter){ 0 };
}

static uint64_t *block_of(const struct filter *f, uint64_t place)
{
	uint64_t block = (uint64_t)(((unsigned __int128)place * f->blocks) >> 64);
	return f->words + block * FILTER_BLOCK_WORDS;
}

static uint64_t bit_in_word(uint64_t bits, unsigned word)
{
	return UINT64_C(1) << (bits >> (6 * word) & 63);
}

bool filter_add(struct filter *f, uint64_t place, uint64_t bits)
{
	uint64_t *block = block_of(f, place), fresh = 0;
	for (unsigned i = 0; i < FILTER_BLOCK_WORDS; i++) {
		uint64_t bit = bit_in_word(bits, i);
		fresh |= bit & ~block[i];
		block[i] |= bit;
	}
	f->n += fresh != 0;
	return fresh != 0;
}

bool filter_has(const struct filter *f, uint64_t place, uint64_t bits)
{
	const uint64_t *block = block_of(f, place);
	for (unsigned i = 0; i < FILTER_BLOCK_WORDS; i++)
		if (!(block[i] & bit_in_word(bits, i)))
			return false;
	return true;
}
