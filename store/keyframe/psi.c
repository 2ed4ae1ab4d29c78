// SPDX-License-Identifier: MIT
#include "psi.h"
#include <string.h>

#define TABLE_PAT 0u
#define TABLE_PMT 2u
#define CRC_SIZE 4u

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* The CRC-32 of MPEG, most significant bit first, half a byte at a time: that of a section with its
 * checksum at the end is 0. */
static uint32_t crc_mpeg(const uint8_t *p, size_t len)
{
	static const uint32_t row[16] = {
		0x00000000, 0x04c11db7, 0x09823b6e, 0x0d4326d9, 0x130476dc, 0x17c56b6b,
		0x1a864db2, 0x1e475005, 0x2608edb8, 0x22c9f00f, 0x2f8ad6d6, 0x2b4bcb61,
		0x350c9b64, 0x31cd86d3, 0x3c8ea00a, 0x384fbdbd,
	};
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < len; i++) {
		crc = crc << 4 ^ row[crc >> 28 ^ p[i] >> 4];
		crc = crc << 4 ^ row[crc >> 28 ^ (p[i] & 15)];
	}
	return crc;
}

/* Adds bytes of one section; the count, 0 when there is no more use for any. */
static size_t section_add(struct psi_section *s, const uint8_t *p, size_t len)
{
	size_t want = 3;
	if (s->len >= 3)
		want = 3 + (be16(s->buf + 1) & 0xfff);
	if (want > PSI_SECTION_MAX)
		return 0;
	size_t n = want - s->len < len ? want - s->len : len;
	memcpy(s->buf + s->len, p, n);
	s->len += n;
	return n;
}

static bool section_whole(const struct psi_section *s)
{
	return s->len > 3 && s->len == 3 + (be16(s->buf + 1) & 0xfff);
}

/* Bytes of the open section; what follows it is left. Returns how many it took, 0 if the section is one
 * that can't be, so that nobody knows where the next begins. */
static size_t section_fill(struct psi_section *s, const uint8_t *p, size_t len, struct psi_sink to)
{
	size_t used = 0;
	while (s->open && used < len) {
		size_t n = section_add(s, p + used, len - used);
		used += n;
		if (n && !section_whole(s))
			continue;
		s->open = false;
		if (!n)
			return 0;
		if (!crc_mpeg(s->buf, s->len))
			to.take(to.arg, s->buf, s->len);
	}
	return used;
}

void psi_feed(struct psi_section *s, struct psi_payload in, struct psi_sink to)
{
	bool again = in.counter == s->counter; /* a packet may come twice */
	if (s->open && again)
		return;
	if (in.counter != ((s->counter + 1) & 15))
		s->open = false;
	s->counter = in.counter;
	if (!in.start) {
		section_fill(s, in.at, in.len, to);
		return;
	}
	/* The first byte says how many there still are of the section before. */
	size_t i = in.len ? 1u + in.at[0] : 1;
	if (i <= in.len)
		section_fill(s, in.at + 1, i - 1, to);
	s->open = false;
	while (i < in.len && in.at[i] != 0xff) { /* stuffing, up to the end */
		s->open = true;
		s->len = 0;
		size_t n = section_fill(s, in.at + i, in.len - i, to);
		if (!n)
			break;
		i += n;
	}
}

/* A section of this table that holds now, or NULL; *ret_len is of what lies between the 8 bytes that
 * all have and the checksum. */
static const uint8_t *body_of(const uint8_t *section, size_t len, unsigned table, size_t *ret_len)
{
	if (len < 8 + CRC_SIZE || section[0] != table || !(section[5] & 1))
		return NULL;
	*ret_len = len - 8 - CRC_SIZE;
	return section + 8;
}

int psi_pat(const uint8_t *section, size_t len, struct psi_programme v[PSI_PROGRAMMES_MAX])
{
	unsigned n = 0;
	size_t left;
	const uint8_t *p = body_of(section, len, TABLE_PAT, &left);
	if (!p || section[6]) /* further sections, for hundreds of programmes, are let go */
		return -1;
	for (; left >= 4 && n < PSI_PROGRAMMES_MAX; p += 4, left -= 4) {
		if (be16(p) == 0) /* the network's table */
			continue;
		v[n].number = (uint16_t)be16(p);
		v[n++].pid = be16(p + 2) & 0x1fff;
	}
	return (int)n;
}

static bool is_video(unsigned type)
{
	switch (type) {
	case 0x01: /* MPEG-1 */
	case 0x02: /* MPEG-2 */
	case 0x10: /* MPEG-4 */
	case 0x1b: /* H.264 */
	case 0x21: /* JPEG 2000 */
	case 0x24: /* HEVC */
	case 0x33: /* VVC */
	case 0x42: /* AVS */
	case 0xd1: /* Dirac */
	case 0xd2: /* AVS2 */
	case 0xea: /* VC-1 */
		return true;
	default:
		return false;
	}
}

int psi_pmt(const uint8_t *section, size_t len, struct psi_video *ret)
{
	size_t left;
	const uint8_t *p = body_of(section, len, TABLE_PMT, &left);
	if (!p || left < 4)
		return -1;
	struct psi_video v = { .programme = (uint16_t)be16(section + 3) };
	size_t skip = 4 + (be16(p + 2) & 0xfff);
	while (skip <= left && left - skip >= 5) {
		p += skip;
		left -= skip;
		if (is_video(p[0])) {
			v.type = p[0];
			v.pid = be16(p + 1) & 0x1fff;
			break;
		}
		skip = 5 + (be16(p + 3) & 0xfff);
	}
	*ret = v;
	return 0;
}
