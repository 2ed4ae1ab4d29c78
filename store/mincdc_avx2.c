// SPDX-License-Identifier: MIT
/* mincdc_scan.h for AVX2. */
#ifdef __x86_64__
#include <immintrin.h>
#include <stdbool.h>

#define TARGET __attribute__((target("avx2")))
#define NAME(x) x##_avx2
#define VEC __m256i
#define LOAD(p) _mm256_loadu_si256((const void *)(p))
#define MUL16 _mm256_mullo_epi16
#define ADD16 _mm256_add_epi16
#define MAX16 _mm256_max_epu16
#define SPREAD16 _mm256_set1_epi16
#define MAX16_WHERE_EQ(most, v, a, b)                                                              \
	_mm256_max_epu16((most), _mm256_and_si256((v), _mm256_cmpeq_epi16((a), (b))))
#define EQ16_BYTES(a, b) _mm256_movemask_epi8(_mm256_cmpeq_epi16((a), (b)))
#define ANY_GE16(a, b) (EQ16_BYTES(_mm256_max_epu16((a), (b)), (a)) != 0)
#define ANY_GT16(a, b) (EQ16_BYTES(_mm256_max_epu16((a), (b)), (b)) != -1)

#include "mincdc_scan.h"
#endif
