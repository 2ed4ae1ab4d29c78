// SPDX-License-Identifier: MIT
#include "ebml.h"
#include <errno.h>

static unsigned number_len(uint8_t first)
{
	return first ? (unsigned)__builtin_clz(first) - 24 + 1 : 0;
}

uint64_t ebml_ones(unsigned len)
{
	return (UINT64_C(1) << 7 * len) - 1;
}

uint64_t ebml_uint(const uint8_t *p, size_t len)
{
	uint64_t v = 0;
	for (size_t i = 0; len <= 8 && i < len; i++)
		v = v << 8 | p[i];
	return v;
}

unsigned ebml_number(const uint8_t *p, size_t len, uint64_t *ret)
{
	unsigned n = len ? number_len(*p) : 0;
	if (!n || n > len)
		return 0;
	*ret = ebml_uint(p, n) & ebml_ones(n);
	return n;
}

int ebml_parse(const uint8_t *p, size_t len, uint64_t at, struct ebml *ret)
{
	if (!len)
		return -ENODATA;
	unsigned id_len = number_len(*p);
	if (!id_len || id_len > 4)
		return -EBADMSG;
	if (len <= id_len)
		return -ENODATA;
	if (!p[id_len])
		return -EBADMSG;
	uint64_t size;
	unsigned size_len = ebml_number(p + id_len, len - id_len, &size);
	if (!size_len)
		return -ENODATA;
	bool unknown = size == ebml_ones(size_len);
	*ret = (struct ebml){
		.id = (uint32_t)ebml_uint(p, id_len),
		.unknown = unknown,
		.payload = at + id_len + size_len,
		.size = unknown ? 0 : size,
	};
	return (int)(id_len + size_len);
}

int ebml_read(struct film_source *s, uint64_t at, struct ebml *ret)
{
	const uint8_t *p = NULL;
	ssize_t len = film_source_some(s, at, EBML_HEADER_MAX, &p);
	if (len < 0)
		return (int)len;
	int r = ebml_parse(p, (size_t)len, at, ret);
	return r < 0 ? r : 0;
}
