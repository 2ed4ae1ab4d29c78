// SPDX-License-Identifier: MIT
/* The sample descriptions of a track: `stsd` has one or more boxes whose type says how the samples are
 * coded, and in which file they are. What `mp4v` and `mp4a` stand for is in an MPEG-4 descriptor
 * (ISO/IEC 14496-1), `esds`, among the boxes that follow the fields:
 *
 *   6 bytes, u16 data reference
 *   video: 70 bytes; audio: u16 version, 6 bytes, u16 channels, u16 bits of a sample, 8 bytes; and in
 *   QuickTime's version 1: u32 samples and bytes of a packet of one channel, of one of all, of a sample
 *   version 2: 36 bytes, of which the last 8 are u32 bytes and samples of a packet
 */
#include "isobmff.h"
#include "bytes.h"
#include <stdio.h>

#define ENTRIES_MAX 16u
#define VIDEO_FIELDS 78u
#define AUDIO_FIELDS 28u
#define SEARCH_MAX 16u /* boxes within an entry */
#define DESCRIPTOR 32u /* bytes that hold what is looked for */

static const struct {
	char type[5]; /* '?': any */
	char codec[8];
} codecs[] = {
	{ "avc?", "h264" },   { "dva1", "h264" },    { "dvav", "h264" },     { "ai??", "h264" },
	{ "hvc?", "hevc" },   { "hev?", "hevc" },    { "dvh?", "hevc" },     { "vvc1", "vvc" },
	{ "vvi1", "vvc" },    { "vp08", "vp8" },     { "vp09", "vp9" },	     { "av01", "av1" },
	{ "mp4v", "mpeg4" },  { "xvid", "mpeg4" },   { "XVID", "mpeg4" },    { "DIVX", "mpeg4" },
	{ "ap4?", "prores" }, { "apc?", "prores" },  { "m1v ", "mpeg1" },    { "mp1v", "mpeg1" },
	{ "m2v1", "mpeg2" },  { "mp2v", "mpeg2" },   { "mpg2", "mpeg2" },    { "hdv?", "mpeg2" },
	{ "xdv?", "mpeg2" },  { "xd5?", "mpeg2" },   { "xdh?", "mpeg2" },    { "mx3?", "mpeg2" },
	{ "mx4?", "mpeg2" },  { "mx5?", "mpeg2" },   { "AVmp", "mpeg2" },    { "AVd?", "dnxhd" },
	{ "dv??", "dv" },     { "jpeg", "mjpeg" },   { "mjp?", "mjpeg" },    { "s263", "h263" },
	{ "h263", "h263" },   { "H263", "h263" },    { "CFHD", "cfhd" },     { "png ", "png" },
	{ "mp4a", "aac" },    { ".mp3", "mp3" },     { "ms\0U", "mp3" },     { "mp3 ", "mp3" },
	{ "ac-3", "ac3" },    { "sac3", "ac3" },     { "ec-3", "eac3" },     { "ac-4", "ac4" },
	{ "Opus", "opus" },   { "fLaC", "flac" },    { "alac", "alac" },     { "mlpa", "truehd" },
	{ "dts?", "dts" },    { "samr", "amr" },     { "sawb", "amr" },	     { "sowt", "pcm" },
	{ "twos", "pcm" },    { "lpcm", "pcm" },     { "ipcm", "pcm" },	     { "fpcm", "pcm" },
	{ "in24", "pcm" },    { "in32", "pcm" },     { "fl32", "pcm" },	     { "fl64", "pcm" },
	{ "ima4", "adpcm" },  { "ms\0\2", "adpcm" }, { "ms\0\21", "adpcm" }, { "raw ", "pcm" },
	{ "NONE", "pcm" },    { "alaw", "pcm" },     { "ulaw", "pcm" },
};

/* Object types of MPEG-4 descriptors. */
static const struct {
	uint8_t first, last;
	char codec[8];
} objects[] = {
	{ 0x20, 0x20, "mpeg4" }, { 0x21, 0x21, "h264" },  { 0x23, 0x23, "hevc" },
	{ 0x40, 0x40, "aac" },	 { 0x60, 0x65, "mpeg2" }, { 0x66, 0x68, "aac" },
	{ 0x69, 0x69, "mp3" },	 { 0x6a, 0x6a, "mpeg1" }, { 0x6b, 0x6b, "mp3" },
	{ 0x6c, 0x6c, "mjpeg" }, { 0xa5, 0xa5, "ac3" },	  { 0xa6, 0xa6, "eac3" },
	{ 0xa9, 0xac, "dts" },	 { 0xad, 0xad, "opus" },  { 0xb1, 0xb1, "vp9" },
};

static bool matches(const char *pattern, const uint8_t *type)
{
	for (unsigned i = 0; i < 4; i++)
		if (pattern[i] != '?' && (uint8_t)pattern[i] != type[i])
			return false;
	return true;
}

/* `raw ` is pcm as audio only: a picture without compression has no name here. */
static const char *codec_of(const struct isobmff_box *b, enum film_kind kind)
{
	const uint8_t type[4] = { (uint8_t)(b->type >> 24), (uint8_t)(b->type >> 16),
				  (uint8_t)(b->type >> 8), (uint8_t)b->type };
	for (size_t i = 0; kind != FILM_OTHER && i < sizeof codecs / sizeof *codecs; i++)
		if (matches(codecs[i].type, type))
			return kind == FILM_VIDEO && !strcmp(codecs[i].codec, "pcm")
				       ? ""
				       : codecs[i].codec;
	return "";
}

/* The length of what follows, in groups of 7 bits. */
static void take_descriptor(struct slice *s, uint8_t tag)
{
	if (take_u8(s) != tag)
		s->bad = true;
	for (unsigned i = 0; i < 4 && take_u8(s) & 0x80; i++)
		;
}

static int read_object(struct isobmff *p, const struct isobmff_box *esds, struct isobmff_entry *e)
{
	const uint8_t *b;
	uint64_t room = esds->end - esds->at;
	size_t len = room < DESCRIPTOR ? (size_t)room : DESCRIPTOR;
	int r = len < 5 ? 0 : isobmff_box_bytes(p->s, esds, 0, len, &b);
	if (r != 1)
		return r;
	struct slice s = slice_of(b + 4, len - 4);
	take_descriptor(&s, 3);
	take_bytes(&s, 2);
	uint8_t flags = take_u8(&s);
	take_bytes(&s, flags & 0x80 ? 2 : 0);
	take_bytes(&s, flags & 0x40 ? take_u8(&s) : 0);
	take_bytes(&s, flags & 0x20 ? 2 : 0);
	take_descriptor(&s, 4);
	uint8_t object = take_u8(&s);
	for (size_t i = 0; !s.bad && i < sizeof objects / sizeof *objects; i++)
		if (object >= objects[i].first && object <= objects[i].last)
			memcpy(e->codec, objects[i].codec, sizeof e->codec);
	return 0;
}

/* QuickTime has it within a box `wave`. */
static int find_object(struct isobmff *p, const struct isobmff_box *b, uint64_t skip,
		       struct isobmff_entry *e)
{
	struct isobmff_boxes it = isobmff_children(p, b, skip);
	struct isobmff_box child;
	bool in_wave = b->type == ISOBMFF_TYPE('w', 'a', 'v', 'e');
	int r = 0;
	for (unsigned i = 0; i < SEARCH_MAX && (r = isobmff_box_next(&it, &child)) == 1; i++) {
		if (child.type == ISOBMFF_TYPE('e', 's', 'd', 's'))
			return read_object(p, &child, e);
		if (child.type == ISOBMFF_TYPE('w', 'a', 'v', 'e') && !in_wave)
			return find_object(p, &child, 0, e);
	}
	return r < 0 ? r : 0;
}

static int read_audio(struct isobmff *p, const struct isobmff_box *b, bool quicktime,
		      struct isobmff_entry *e)
{
	const uint8_t *f;
	uint64_t fields = AUDIO_FIELDS;
	e->pcm = !strcmp(e->codec, "pcm") || !strcmp(e->codec, "adpcm");
	int r = isobmff_box_bytes(p->s, b, 0, AUDIO_FIELDS, &f);
	if (r != 1)
		return r;
	unsigned version = quicktime ? get_be16(f + 8) : 0;
	e->packet_samples = 1;
	if (!strcmp(e->codec, "pcm"))
		e->packet_bytes = get_be16(f + 16) * (get_be16(f + 18) / 8u);
	if (version == 1) {
		r = isobmff_box_bytes(p->s, b, fields, 16, &f);
		fields += 16;
		if (r == 1 && get_be32(f) && get_be32(f + 8)) {
			e->packet_samples = get_be32(f);
			e->packet_bytes = get_be32(f + 8);
		}
	} else if (version == 2) {
		r = isobmff_box_bytes(p->s, b, fields, 36, &f);
		fields += 36;
		if (r == 1 && get_be32(f + 28) && get_be32(f + 32)) {
			e->packet_bytes = get_be32(f + 28);
			e->packet_samples = get_be32(f + 32);
		}
	}
	if (r < 0 || strcmp(e->codec, "aac") != 0)
		return r;
	return find_object(p, b, fields, e);
}

static int read_entry(struct isobmff *p, const struct isobmff_box *b, enum film_kind kind,
		      bool quicktime, struct isobmff_entry *e)
{
	const uint8_t *f;
	int r = isobmff_box_bytes(p->s, b, 6, 2, &f);
	if (r < 0)
		return r;
	if (r == 1 && get_be16(f) < 64)
		e->files |= 1ull << get_be16(f);
	if (b->type == ISOBMFF_TYPE('e', 'n', 'c', 'v') ||
	    b->type == ISOBMFF_TYPE('e', 'n', 'c', 'a') ||
	    b->type == ISOBMFF_TYPE('d', 'r', 'm', 's') ||
	    b->type == ISOBMFF_TYPE('d', 'r', 'm', 'i'))
		return 0;
	e->plain = true;
	snprintf(e->codec, sizeof e->codec, "%s", codec_of(b, kind));
	if (kind == FILM_AUDIO)
		return read_audio(p, b, quicktime, e);
	return strcmp(e->codec, "mpeg4") == 0 ? find_object(p, b, VIDEO_FIELDS, e) : 0;
}

int isobmff_entry_read(struct isobmff *p, const struct isobmff_box *stsd, enum film_kind kind,
		       struct isobmff_entry *ret)
{
	const uint8_t *version;
	struct isobmff_boxes it = isobmff_children(p, stsd, 8);
	struct isobmff_box b;
	int r = isobmff_box_bytes(p->s, stsd, 0, 1, &version);
	if (r != 1)
		return r;
	bool quicktime = version[0] == 0;
	for (unsigned i = 0; i < ENTRIES_MAX && (r = isobmff_box_next(&it, &b)) == 1; i++) {
		struct isobmff_entry e = { 0 };
		r = read_entry(p, &b, kind, quicktime, &e);
		if (r < 0)
			return r;
		e.files |= ret->files;
		if (i == 0)
			*ret = e;
		ret->files = e.files;
		if (!e.plain || strcmp(e.codec, ret->codec) != 0)
			ret->plain = false;
	}
	return r < 0 ? r : 0;
}
