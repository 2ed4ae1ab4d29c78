// SPDX-License-Identifier: MIT
/* bench_hash: digests of chunks (BLAKE3) and checksums of rows, frames and blocks (XXH3), in pieces of
 * several lengths out of random bytes that no cache of a core holds: GB/s, with 1, 2, ... threads. */
#include "digest.h"
#include "in_threads.h"
#include "prng.h"
#include <stdlib.h>

#define BYTES ((size_t)64 << 20)
#define A_LITTLE ((size_t)1 << 20)

struct pieces {
	uint8_t *data;
	size_t len;
};

static const uint8_t *next(const struct pieces *p, struct in_threads_own *own)
{
	return p->data + own->at++ % (BYTES / p->len) * p->len;
}

static double digests(void *arg, struct in_threads_own *own)
{
	struct pieces *p = arg;
	struct digest d;
	for (size_t done = 0; done < A_LITTLE; done += p->len) {
		digest_of(next(p, own), p->len, &d);
		own->sum += ((const uint8_t *)&d)[0];
	}
	return (double)A_LITTLE / 1e9;
}

static double checksums(void *arg, struct in_threads_own *own)
{
	struct pieces *p = arg;
	for (size_t done = 0; done < A_LITTLE; done += p->len)
		own->sum += checksum64(next(p, own), p->len);
	return (double)A_LITTLE / 1e9;
}

int main(void)
{
	struct pieces p;
	uint64_t seed = 1;
	char what[64];
	p.data = malloc(BYTES);
	if (!p.data) {
		fprintf(stderr, "bench_hash: not enough memory\n");
		return 1;
	}
	prng_fill(&seed, p.data, BYTES);
	for (p.len = 1024; p.len <= 256 * 1024; p.len *= 4) {
		snprintf(what, sizeof what, "digest, %zu KiB", p.len / 1024);
		in_threads(what, "GB/s", digests, &p);
		snprintf(what, sizeof what, "checksum, %zu KiB", p.len / 1024);
		in_threads(what, "GB/s", checksums, &p);
	}
	free(p.data);
	return 0;
}
