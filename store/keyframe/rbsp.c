// SPDX-License-Identifier: MIT
#include "rbsp.h"

struct rbsp rbsp_of(const uint8_t *p, size_t len)
{
	return (struct rbsp){ .p = p, .len = len };
}

static uint8_t next_byte(struct rbsp *r)
{
	if (r->zeros >= 2 && r->at < r->len && r->p[r->at] == 3) {
		r->at++;
		r->zeros = 0;
	}
	/* After two zeros, 0 and 1 belong to what divides units. */
	if (r->at == r->len || (r->zeros >= 2 && r->p[r->at] < 2)) {
		r->bad = true;
		return 0;
	}
	uint8_t b = r->p[r->at++];
	r->zeros = b ? 0 : r->zeros + 1;
	return b;
}

uint8_t rbsp_byte(struct rbsp *r)
{
	r->left = 0;
	return r->bad ? 0 : next_byte(r);
}

uint32_t rbsp_bits(struct rbsp *r, unsigned n)
{
	uint32_t v = 0;
	while (n && !r->bad) {
		if (!r->left) {
			r->byte = next_byte(r);
			r->left = 8;
		}
		unsigned take = n < r->left ? n : r->left;
		r->left -= take;
		v = v << take | ((r->byte >> r->left) & ((1u << take) - 1));
		n -= take;
	}
	return r->bad ? 0 : v;
}

uint32_t rbsp_ue(struct rbsp *r)
{
	unsigned zeros = 0;
	while (!r->bad && !rbsp_bits(r, 1))
		if (++zeros == 32)
			r->bad = true;
	return r->bad ? 0 : (uint32_t)((1ull << zeros) - 1) + rbsp_bits(r, zeros);
}

int32_t rbsp_se(struct rbsp *r)
{
	uint32_t v = rbsp_ue(r);
	return v & 1 ? (int32_t)(v / 2 + 1) : -(int32_t)(v / 2);
}

void rbsp_skip(struct rbsp *r, unsigned n)
{
	for (; n > 32; n -= 32)
		rbsp_bits(r, 32);
	rbsp_bits(r, n);
}
