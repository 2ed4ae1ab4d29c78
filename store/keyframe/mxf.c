// SPDX-License-Identifier: MIT
/* MXF (SMPTE 377): a file is a row of KLVs: partition packs, metadata, index tables, fill, and those we
 * are after: elements of essence in the generic container (SMPTE 379), whose key says
 *
 *   06 0e 2b 34 01 02 01 01 0d 01 03 01 II CC TT NN   item, count, type, number
 *
 * The first picture element of the file decides which track is taken: the last four bytes. Metadata
 * would say more, but is written in many ways, and index tables often don't tell the truth about key
 * pictures; the essence does. So the walk jumps from KLV to KLV and looks at the first bytes of each
 * picture. A codec without prediction between pictures has key pictures only; so does anything that is
 * unknown, since there is nothing better to cut at.
 *
 * If the whole clip is one element (which the type says), its pictures are sought within: start codes,
 * or headers of VC-3, which mostly are equally far from each other. Of other codecs it is one run.
 */
#include "access_unit.h"
#include "detect.h"
#include "klv.h"
#include "startcode.h"
#include <errno.h>
#include <string.h>

#define SNIFF_MAX (64u << 10) /* bytes of a picture's beginning */
#define PICTURE_MIN 8u	      /* bytes; what is less tells nothing */
#define VC3_HEAD 6u

enum { ITEM = 12, TYPE = 14 }; /* where they are in the key */

struct mxf {
	struct film_source *s;
	struct film_run run;
	bool found;
	uint8_t element[4]; /* the end of the key of its pictures */
	const char *codec;
	enum au_codec au;     /* AU_NONE: all pictures are key */
	uint64_t essence_end; /* of the last element, of pictures, sound or data */
};

static const uint8_t header_partition[] = { 0x06, 0x0e, 0x2b, 0x34, 0x02, 0x05, 0x01,
					    0x01, 0x0d, 0x01, 0x02, 0x01, 0x01, 0x02 };
static const uint8_t essence[] = { 0x06, 0x0e, 0x2b, 0x34, 0x01, 0x02,
				   0x01, 0x01, 0x0d, 0x01, 0x03, 0x01 };

/* A run-in of other bytes may precede. */
static bool looks(const uint8_t *head, size_t len)
{
	return memmem(head, len, header_partition, sizeof header_partition);
}

/* The eighth byte is the version of a registry. */
static bool is_essence(const struct klv *k)
{
	return !memcmp(k->key, essence, 7) && !memcmp(k->key + 8, essence + 8, sizeof essence - 8);
}

static bool is_picture(const struct klv *k)
{
	return k->key[ITEM] == 0x05 || k->key[ITEM] == 0x15 || k->key[ITEM] == 0x18;
}

static bool is_clip(const struct klv *k)
{
	if (k->key[ITEM] == 0x18) /* DV: 1 frame, 2 clip */
		return k->key[TYPE] == 0x02;
	switch (k->key[TYPE]) {
	case 0x03: /* uncompressed */
	case 0x06: /* MPEG */
	case 0x09: /* JPEG 2000 */
	case 0x0d: /* VC-3 */
		return true;
	default:
		return false;
	}
}

/* What comes after the first start code. */
static enum au_codec codec_of_stream(uint8_t first, uint8_t second)
{
	if (first == 0xb3 || first == 0xb8 || first == 0x00)
		return AU_MPEG2;
	bool hevc = first >= 0x40 && first <= 0x4e && !(first & 1) && second == 1;
	return hevc ? AU_HEVC : !(first & 0x80) ? AU_H264 : AU_NONE;
}

static void name_codec(struct mxf *m, const uint8_t *p, size_t len)
{
	m->codec = "";
	m->au = AU_NONE;
	if (len < PICTURE_MIN)
		return;
	if (!memcmp(p + 4, "icpf", 4)) { /* before it the size, which may look like anything */
		m->codec = "prores";
		return;
	}
	size_t at = startcode_find(p, 0, 4);
	if (at == 0 || (at == 1 && !*p)) {
		m->au = codec_of_stream(p[at + 3], p[at + 4]);
		m->codec = au_codec_name(m->au);
	} else if (!memcmp(p, "\0\0\2\x80", 4)) {
		m->codec = "dnxhd";
	} else if (!memcmp(p, "\0\0\0\x0cjP  ", 8) || !memcmp(p, "\xff\x4f\xff\x51", 4)) {
		m->codec = "j2k";
	} else if (!memcmp(p, "\x1f\x07\0", 3)) {
		m->codec = "dv";
	}
}

static int begin_track(struct mxf *m, const struct klv *k)
{
	const uint8_t *p;
	ssize_t len = film_source_some(m->s, k->value, KLV_HEAD_MAX, &p);
	if (len < 0)
		return (int)len;
	name_codec(m, p, (uint64_t)len < k->end - k->value ? (size_t)len : k->end - k->value);
	int track = film_add_track(m->run.film, FILM_VIDEO, m->codec);
	if (track < 0)
		return track;
	m->run.film->tracks[track].runs = true;
	m->run.track = (uint16_t)track;
	memcpy(m->element, k->key + ITEM, sizeof m->element);
	m->found = true;
	return 0;
}

/* 1 if the picture that is the value is a key picture. */
static int is_key(struct mxf *m, const struct klv *k)
{
	if (m->au == AU_NONE)
		return 1;
	for (size_t need = KLV_HEAD_MAX;; need = SNIFF_MAX) {
		struct au_sniff sniff = { .codec = m->au };
		const uint8_t *p;
		ssize_t len = film_source_window(m->s, k->value, need, &p);
		if (len <= 0)
			return (int)len;
		if (need < SNIFF_MAX && len > 4096) /* what the window happens to hold is enough */
			len = 4096;
		if ((uint64_t)len > k->end - k->value)
			len = (ssize_t)(k->end - k->value);
		if (len > (ssize_t)SNIFF_MAX)
			len = SNIFF_MAX;
		enum au_verdict v = au_sniff(&sniff, p, (size_t)len);
		if (v != AU_MORE || need == SNIFF_MAX)
			return v == AU_IS_KEY;
	}
}

static bool is_vc3_head(const uint8_t *p, const uint8_t *first)
{
	return !memcmp(p, first, VC3_HEAD - 1) && (p[5] & 3) == (first[5] & 3);
}

/* The next header of VC-3 from *at on that is like the first: size of the header, version, and in the
 * lowest bits of the sixth byte whether it is a frame or which field. 0: there is none. */
static int seek_vc3(struct mxf *m, const uint8_t *first, uint64_t end, uint64_t *at)
{
	while (*at < end && end - *at >= VC3_HEAD) {
		const uint8_t *p;
		ssize_t len = film_source_window(m->s, *at, 4096, &p);
		if (len < (ssize_t)VC3_HEAD)
			return len < 0 ? (int)len : 0;
		if ((uint64_t)len > end - *at)
			len = (ssize_t)(end - *at);
		const uint8_t *q = memmem(p, (size_t)len, first, VC3_HEAD - 1);
		size_t left = q ? (size_t)(len - (q - p)) : 0;
		if (left >= VC3_HEAD && is_vc3_head(q, first)) {
			*at += (uint64_t)(q - p);
			return 1;
		}
		*at += !q ? (uint64_t)len - VC3_HEAD + 1 : (uint64_t)(q - p) + 1;
	}
	return 0;
}

static int scan_vc3(struct mxf *m, const struct klv *k)
{
	uint8_t first[VC3_HEAD];
	const uint8_t *p;
	uint64_t at = k->value, stride = 0;
	int r = film_source_copy(m->s, at, sizeof first, first);
	while (r >= 0) {
		r = film_run_key(&m->run, at);
		if (r < 0)
			break;
		uint64_t next = at + VC3_HEAD;
		if (stride && k->end - at > stride + VC3_HEAD) {
			r = film_source_get(m->s, at + stride, VC3_HEAD, &p);
			if (r < 0)
				break;
			if (is_vc3_head(p, first))
				next = at + stride;
		}
		r = seek_vc3(m, first, k->end, &next);
		if (r <= 0)
			break;
		stride = next - at;
		at = next;
	}
	return r;
}

static int take_clip(struct mxf *m, const struct klv *k)
{
	if (m->au != AU_NONE)
		return au_scan(m->s, m->au, k->value, k->end, &m->run);
	if (!strcmp(m->codec, "dnxhd")) {
		int r = scan_vc3(m, k);
		return r == -ENODATA ? 0 : r; /* the file has become shorter */
	}
	return film_run_key(&m->run, k->value);
}

static int take_element(struct mxf *m, const struct klv *k)
{
	m->essence_end = k->end;
	if (!is_picture(k) || k->end - k->value < PICTURE_MIN)
		return 0;
	if (!m->found) {
		int r = begin_track(m, k);
		if (r < 0)
			return r;
	}
	if (memcmp(k->key + ITEM, m->element, sizeof m->element) != 0)
		return 0;
	if (is_clip(k))
		return take_clip(m, k);
	int r = is_key(m, k);
	return r > 0 ? film_run_key(&m->run, k->at) : r;
}

static int parse(struct film_source *s, struct film *f)
{
	const uint8_t *head;
	struct klv k;
	struct mxf m = { .s = s, .run = { .film = f } };
	ssize_t len = film_source_some(s, 0, DETECT_HEAD, &head);
	if (len < 0)
		return (int)len;
	const uint8_t *begin = memmem(head, (size_t)len, header_partition, sizeof header_partition);
	if (!begin)
		return -EBADMSG;
	f->container = FILM_MXF;
	int r = klv_read(s, (uint64_t)(begin - head), &k);
	if (r == 0)
		return -EBADMSG;
	while (r > 0) {
		if (is_essence(&k))
			r = take_element(&m, &k);
		if (r < 0 || k.end == s->size)
			break;
		uint64_t at = k.end;
		r = klv_read(s, at, &k);
		if (r == 0)
			r = klv_seek(s, at + 1, &k);
	}
	return r < 0 ? r : film_run_end(&m.run, m.essence_end);
}

const struct film_parser film_mxf = { looks, parse };
