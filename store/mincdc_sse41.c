// SPDX-License-Identifier: MIT
/* mincdc_scan.h for SSE4.1. */
#ifdef __x86_64__
#include <immintrin.h>
#include <stdbool.h>

#define TARGET __attribute__((target("sse4.1")))
#define NAME(x) x##_sse41
#define VEC __m128i
#define LOAD(p) _mm_loadu_si128((const void *)(p))
#define MUL16 _mm_mullo_epi16
#define ADD16 _mm_add_epi16
#define MAX16 _mm_max_epu16
#define SPREAD16 _mm_set1_epi16
#define MAX16_WHERE_EQ(most, v, a, b)                                                              \
	_mm_max_epu16((most), _mm_and_si128((v), _mm_cmpeq_epi16((a), (b))))
#define EQ16_BYTES(a, b) _mm_movemask_epi8(_mm_cmpeq_epi16((a), (b)))
#define ANY_GE16(a, b) (EQ16_BYTES(_mm_max_epu16((a), (b)), (a)) != 0)
#define ANY_GT16(a, b) (EQ16_BYTES(_mm_max_epu16((a), (b)), (b)) != 0xffff)

#include "mincdc_scan.h"
#endif
