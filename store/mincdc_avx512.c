// SPDX-License-Identifier: MIT
/* mincdc_scan.h for AVX-512. */
#ifdef __x86_64__
#include <immintrin.h>
#include <stdbool.h>

#define TARGET __attribute__((target("avx512f,avx512bw")))
#define NAME(x) x##_avx512
#define VEC __m512i
#define LOAD(p) _mm512_loadu_si512((const void *)(p))
#define MUL16 _mm512_mullo_epi16
#define ADD16 _mm512_add_epi16
#define MAX16 _mm512_max_epu16
#define SPREAD16 _mm512_set1_epi16
#define MAX16_WHERE_EQ(most, v, a, b)                                                              \
	_mm512_mask_max_epu16((most), _mm512_cmpeq_epi16_mask((a), (b)), (most), (v))
#define ANY_GE16(a, b) (_mm512_cmpge_epu16_mask((a), (b)) != 0)
#define ANY_GT16(a, b) (_mm512_cmpgt_epu16_mask((a), (b)) != 0)

#include "mincdc_scan.h"
#endif
