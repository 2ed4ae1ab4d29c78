// SPDX-License-Identifier: MIT
#include "vfw.h"
#include "bytes.h"
#include <strings.h>

#define CODE_AT 16u /* biCompression */

static const struct {
	char code[5];
	const char *codec;
} video[] = {
	{ "H264", "h264" },    { "X264", "h264" },    { "avc1", "h264" },    { "DAVC", "h264" },
	{ "HEVC", "hevc" },    { "H265", "hevc" },    { "hev1", "hevc" },    { "hvc1", "hevc" },
	{ "VP80", "vp8" },     { "VP90", "vp9" },     { "AV01", "av1" },     { "MPG2", "mpeg2" },
	{ "mpg1", "mpeg1" },   { "FMP4", "mpeg4" },   { "MP4V", "mpeg4" },   { "XVID", "mpeg4" },
	{ "DIVX", "mpeg4" },   { "DX50", "mpeg4" },   { "MP42", "msmpeg4" }, { "MP43", "msmpeg4" },
	{ "DIV3", "msmpeg4" }, { "DIV4", "msmpeg4" }, { "MJPG", "mjpeg" },   { "AVRN", "mjpeg" },
	{ "dvsd", "dv" },      { "dvhd", "dv" },      { "dv25", "dv" },	     { "dv50", "dv" },
	{ "dvh1", "dv" },      { "CDVC", "dv" },      { "apch", "prores" },  { "apcn", "prores" },
	{ "apcs", "prores" },  { "apco", "prores" },  { "ap4h", "prores" },  { "ap4x", "prores" },
	{ "AVdn", "dnxhd" },   { "AVdh", "dnxhd" },   { "CFHD", "cfhd" },    { "HFYU", "huffyuv" },
	{ "FFVH", "ffvhuff" }, { "FFV1", "ffv1" },    { "MAGY", "magicyv" }, { "M8RG", "magicyv" },
	{ "M8Y0", "magicyv" }, { "M8Y2", "magicyv" }, { "M8Y4", "magicyv" }, { "ULRG", "utvideo" },
	{ "ULY0", "utvideo" }, { "ULY2", "utvideo" }, { "ULY4", "utvideo" }, { "ULH0", "utvideo" },
	{ "ULH2", "utvideo" }, { "MJ2C", "jpeg2k" },  { "v210", "raw" },     { "UYVY", "raw" },
	{ "YUY2", "raw" },     { "I420", "raw" },     { "YV12", "raw" },
};

static const struct {
	uint16_t tag;
	const char *codec;
} audio[] = {
	{ 0x0001, "pcm" },  { 0x0003, "pcm" },	  { 0x0006, "pcm" },	{ 0x0007, "pcm" },
	{ 0xfffe, "pcm" },  { 0x0050, "mp2" },	  { 0x0055, "mp3" },	{ 0x00ff, "aac" },
	{ 0x1600, "aac" },  { 0x706d, "aac" },	  { 0x4143, "aac" },	{ 0x2000, "ac3" },
	{ 0x2001, "dts" },  { 0x566f, "vorbis" }, { 0x674f, "vorbis" }, { 0x704f, "opus" },
	{ 0xf1ac, "flac" },
};

/* Of these every picture can be decoded by itself; ffv1 may be coded otherwise. */
static const char *const all_key[] = {
	"mjpeg", "dv", "prores", "dnxhd", "cfhd", "huffyuv", "magicyv", "utvideo", "jpeg2k", "raw",
};

const char *vfw_video_codec(const uint8_t *header, size_t len)
{
	if (len < CODE_AT + 4)
		return "";
	const char *code = (const char *)header + CODE_AT;
	if (get_le32(code) == 0)
		return "raw";
	for (size_t i = 0; i < sizeof video / sizeof *video; i++)
		if (!strncasecmp(video[i].code, code, 4))
			return video[i].codec;
	return "";
}

const char *vfw_audio_codec(const uint8_t *header, size_t len)
{
	if (len < 2)
		return "";
	for (size_t i = 0; i < sizeof audio / sizeof *audio; i++)
		if (audio[i].tag == get_le16(header))
			return audio[i].codec;
	return "";
}

bool vfw_all_key(const char *codec)
{
	for (size_t i = 0; i < sizeof all_key / sizeof *all_key; i++)
		if (!strcmp(all_key[i], codec))
			return true;
	return false;
}
