// SPDX-License-Identifier: MIT
#include "digest.h"
#include <blake3.h>
#include <xxhash.h>
#ifdef FOLDFS_XXH_DISPATCH /* XXH3 with AVX2 or AVX-512 where the processor has it: 12 -> 29 GB/s */
#include <xxh_x86dispatch.h>
#endif

void digest_of(const void *data, size_t len, struct digest *ret_digest)
{
	blake3_hasher h;
	blake3_hasher_init(&h);
	blake3_hasher_update(&h, data, len);
	blake3_hasher_finalize(&h, ret_digest->bytes, DIGEST_SIZE);
}

uint64_t checksum64(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

uint64_t checksum64_seeded(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
