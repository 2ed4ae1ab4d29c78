// SPDX-License-Identifier: MIT
/* digest: BLAKE3 names chunks; XXH3-64 guards bytes on disk against decay. */
#ifndef FOLDFS_DIGEST_H
#define FOLDFS_DIGEST_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_SIZE 32

struct digest {
	uint8_t bytes[DIGEST_SIZE];
};

void digest_of(const void *data, size_t len, struct digest *ret_digest);
static inline int digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

uint64_t checksum64(const void *data, size_t len);
uint64_t checksum64_seeded(const void *data, size_t len, uint64_t seed);
#endif
