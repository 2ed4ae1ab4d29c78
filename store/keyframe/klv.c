// SPDX-License-Identifier: MIT
#include "klv.h"
#include <string.h>

/* All keys begin so; then comes the category: 1 dictionary, 2 sets and packs, 3, 4. */
static const uint8_t universal[4] = { 0x06, 0x0e, 0x2b, 0x34 };

/* BER: one byte below 128, or the count of bytes that follow, plus 128. The bytes it takes, 0: none. */
static size_t read_length(const uint8_t *p, size_t len, uint64_t *ret)
{
	if (!len || *p == 0x80 || *p > 0x88)
		return 0;
	if (*p < 0x80) {
		*ret = *p;
		return 1;
	}
	size_t n = *p & 0xf;
	if (len < 1 + n)
		return 0;
	uint64_t v = 0;
	for (size_t i = 1; i <= n; i++)
		v = v << 8 | p[i];
	*ret = v;
	return 1 + n;
}

int klv_read(struct film_source *s, uint64_t at, struct klv *ret)
{
	const uint8_t *p;
	uint64_t len = 0;
	ssize_t n = film_source_some(s, at, KLV_HEAD_MAX, &p);
	if (n <= (ssize_t)KLV_KEY || memcmp(p, universal, sizeof universal) != 0)
		return n < 0 ? (int)n : 0;
	size_t head = read_length(p + KLV_KEY, (size_t)n - KLV_KEY, &len);
	if (!head || p[4] < 1 || p[4] > 4)
		return 0;
	ret->at = at;
	ret->value = at + KLV_KEY + head;
	ret->end = len < s->size - ret->value ? ret->value + len : s->size;
	memcpy(ret->key, p, KLV_KEY);
	return 1;
}

int klv_seek(struct film_source *s, uint64_t at, struct klv *ret)
{
	for (;;) {
		const uint8_t *p;
		ssize_t len = film_source_window(s, at, 4096, &p);
		if (len <= (ssize_t)KLV_KEY)
			return len < 0 ? (int)len : 0;
		const uint8_t *q = memmem(p, (size_t)len, universal, sizeof universal);
		if (!q) {
			at += (uint64_t)len - sizeof universal + 1;
			continue;
		}
		at += (uint64_t)(q - p);
		int r = klv_read(s, at, ret);
		if (r != 0)
			return r;
		at++;
	}
}
