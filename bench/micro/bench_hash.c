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
	size_t at[IN_THREADS_MAX]; /* where each thread goes on */
	uint64_t sum[IN_THREADS_MAX];
};

static const uint8_t *next(struct pieces *p, unsigned thread)
{
	size_t at = p->at[thread];
	p->at[thread] = at + 2 * p->len > BYTES ? 0 : at + p->len;
	return p->data + at;
}

static double digests(void *arg, unsigned thread)
{
	struct pieces *p = arg;
	struct digest d;
	for (size_t done = 0; done < A_LITTLE; done += p->len) {
		digest_of(next(p, thread), p->len, &d);
		p->sum[thread] += ((const uint8_t *)&d)[0];
	}
	return (double)A_LITTLE / 1e9;
}

static double checksums(void *arg, unsigned thread)
{
	struct pieces *p = arg;
	for (size_t done = 0; done < A_LITTLE; done += p->len)
		p->sum[thread] += checksum64(next(p, thread), p->len);
	return (double)A_LITTLE / 1e9;
}

int main(void)
{
	static struct pieces p;
	uint64_t seed = 1, sum = 0;
	char what[64];
	p.data = malloc(BYTES);
	if (!p.data) {
		fprintf(stderr, "bench_hash: not enough memory\n");
		return 1;
	}
	prng_fill(&seed, p.data, BYTES);
	for (unsigned i = 0; i < IN_THREADS_MAX; i++)
		p.at[i] = i * (size_t)7919 * 64 % (BYTES / 2);
	for (p.len = 1024; p.len <= 256 * 1024; p.len *= 4) {
		snprintf(what, sizeof what, "digest, %zu KiB", p.len / 1024);
		in_threads(what, "GB/s", digests, &p);
		snprintf(what, sizeof what, "checksum, %zu KiB", p.len / 1024);
		in_threads(what, "GB/s", checksums, &p);
	}
	for (unsigned i = 0; i < IN_THREADS_MAX; i++)
		sum += p.sum[i];
	printf("(%llx: so that nothing is left out)\n", (unsigned long long)sum);
	free(p.data);
	return 0;
}
