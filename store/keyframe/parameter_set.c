// SPDX-License-Identifier: MIT
/* H.264, 7.3.2 and 7.3.3; H.265, 7.3.1 to 7.3.3 and 7.3.6: as far as it takes to see nonsense. */
#include "parameter_set.h"
#include "rbsp.h"

#define MACROBLOCKS_MAX 1055u /* along one side, by level 6.2 */
#define SAMPLES_MAX 16888u    /* the same, in samples */

/* Those whose parameter set tells of colour formats and scaling; the others are 66, 77 and 88. */
static bool is_high_profile(unsigned profile)
{
	static const uint8_t high[] = {
		44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244
	};
	for (size_t i = 0; i < sizeof high; i++)
		if (high[i] == profile)
			return true;
	return false;
}

static void skip_scaling(struct rbsp *r, unsigned lists)
{
	for (unsigned i = 0; i < lists; i++) {
		if (!rbsp_bits(r, 1))
			continue;
		int last = 8, next = 8;
		for (unsigned j = 0; j < (i < 6 ? 16u : 64u) && !r->bad; j++) {
			if (next)
				next = (last + rbsp_se(r) + 256) & 255;
			last = next ? next : last;
		}
	}
}

static bool skip_formats(struct rbsp *r)
{
	uint32_t chroma = rbsp_ue(r);
	if (chroma > 3)
		return false;
	if (chroma == 3)
		rbsp_skip(r, 1);
	if (rbsp_ue(r) > 6 || rbsp_ue(r) > 6) /* bits beyond 8 */
		return false;
	rbsp_skip(r, 1);
	if (rbsp_bits(r, 1))
		skip_scaling(r, chroma == 3 ? 12 : 8);
	return true;
}

static bool skip_order_count(struct rbsp *r)
{
	uint32_t type = rbsp_ue(r);
	if (type == 0)
		return rbsp_ue(r) <= 12;
	if (type == 1) {
		rbsp_skip(r, 1);
		rbsp_se(r);
		rbsp_se(r);
		uint32_t n = rbsp_ue(r);
		if (n > 255)
			return false;
		while (n--)
			rbsp_se(r);
	}
	return type <= 2;
}

static bool h264_sps(struct parameter_sets *s, struct rbsp r)
{
	unsigned profile = rbsp_bits(&r, 8);
	unsigned flags = rbsp_bits(&r, 8);
	unsigned level = rbsp_bits(&r, 8);
	uint32_t id = rbsp_ue(&r);
	bool high = is_high_profile(profile);
	if ((!high && profile != 66 && profile != 77 && profile != 88) || flags & 3 || level < 9 ||
	    level > 62 || id > 31)
		return false;
	if (high && !skip_formats(&r))
		return false;
	if (rbsp_ue(&r) > 12 || !skip_order_count(&r) || rbsp_ue(&r) > 16)
		return false;
	rbsp_skip(&r, 1);
	if (rbsp_ue(&r) >= MACROBLOCKS_MAX || rbsp_ue(&r) >= MACROBLOCKS_MAX || r.bad)
		return false;
	s->sps[id] = s->sps_any = true;
	return true;
}

static bool h264_pps(struct parameter_sets *s, struct rbsp r)
{
	uint32_t id = rbsp_ue(&r);
	uint32_t sps = rbsp_ue(&r);
	if (id > 255 || sps > 31 || !s->sps[sps] || r.bad)
		return false;
	rbsp_skip(&r, 2);
	if (rbsp_ue(&r) > 7 || r.bad) /* slice groups */
		return false;
	s->pps[id] = true;
	return true;
}

static bool h264_slice(struct parameter_sets *s, struct rbsp r)
{
	if (rbsp_ue(&r) != 0 || rbsp_ue(&r) > 9)
		return false;
	uint32_t pps = rbsp_ue(&r);
	if (r.bad || pps > 255 || !s->pps[pps])
		return false;
	s->slice = true;
	return true;
}

static bool take_h264(struct parameter_sets *s, const uint8_t *p, size_t len)
{
	unsigned type = *p & 0x1f, ref = *p >> 5 & 3;
	struct rbsp r = rbsp_of(p + 1, len - 1);
	if (*p & 0x80)
		return false;
	switch (type) {
	case 1:
	case 2:
		return h264_slice(s, r);
	case 5:
		return ref && h264_slice(s, r);
	case 6:
		return !ref;
	case 7:
		return ref && h264_sps(s, r);
	case 8:
		return ref && h264_pps(s, r);
	case 9: /* 3 bits kind of picture, then a 1, which some leave out, and zeros */
		return !ref && (rbsp_bits(&r, 8) & 0xf) == 0 && !r.bad;
	case 12: /* filler */
		return !ref;
	case 13:
	case 14:
	case 15:
		return s->sps_any;
	default:
		return false;
	}
}

/* 4 bits id, 2 bits 1, 6 bits layers, 3 bits sublayers, 1 bit nesting, 16 bits 1. */
static bool hevc_vps(struct rbsp r)
{
	rbsp_skip(&r, 4);
	bool base = rbsp_bits(&r, 2) == 3;
	rbsp_skip(&r, 6);
	bool sublayers = rbsp_bits(&r, 3) <= 6;
	rbsp_skip(&r, 1);
	return base && sublayers && rbsp_bits(&r, 16) == 0xffff;
}

/* The profile of the stream, and for each sublayer what its two flags say that there is. */
static void skip_profiles(struct rbsp *r, unsigned sublayers)
{
	unsigned bits = 0;
	rbsp_skip(r, 96);
	for (unsigned i = 0; i < sublayers; i++) {
		bits += rbsp_bits(r, 1) ? 88 : 0;
		bits += rbsp_bits(r, 1) ? 8 : 0;
	}
	if (sublayers)
		rbsp_skip(r, 2 * (8 - sublayers));
	rbsp_skip(r, bits);
}

static bool hevc_sps(struct parameter_sets *s, struct rbsp r)
{
	rbsp_skip(&r, 4);
	unsigned sublayers = rbsp_bits(&r, 3);
	rbsp_skip(&r, 1);
	if (sublayers > 6)
		return false;
	skip_profiles(&r, sublayers);
	uint32_t id = rbsp_ue(&r);
	uint32_t chroma = rbsp_ue(&r);
	if (id > 15 || chroma > 3)
		return false;
	if (chroma == 3)
		rbsp_skip(&r, 1);
	uint32_t width = rbsp_ue(&r);
	uint32_t height = rbsp_ue(&r);
	if (r.bad || !width || !height || width > SAMPLES_MAX || height > SAMPLES_MAX)
		return false;
	s->sps[id] = s->sps_any = true;
	return true;
}

static bool hevc_pps(struct parameter_sets *s, struct rbsp r)
{
	uint32_t id = rbsp_ue(&r);
	uint32_t sps = rbsp_ue(&r);
	if (id > 63 || sps > 15 || !s->sps[sps] || r.bad)
		return false;
	s->pps[id] = true;
	return true;
}

static bool hevc_slice(struct parameter_sets *s, struct rbsp r, unsigned type)
{
	if (!rbsp_bits(&r, 1)) /* the first of its picture */
		return false;
	rbsp_skip(&r, type >= 16 ? 1 : 0);
	uint32_t pps = rbsp_ue(&r);
	if (r.bad || pps > 63 || !s->pps[pps])
		return false;
	s->slice = true;
	return true;
}

static bool take_hevc(struct parameter_sets *s, const uint8_t *p, size_t len)
{
	unsigned type = *p >> 1 & 0x3f;
	if (len < 2 || *p & 0x80 || !(p[1] & 7)) /* a sublayer, plus 1 */
		return false;
	if (*p & 1 || p[1] & 0xf8) /* of an enhancement layer */
		return s->sps_any;
	struct rbsp r = rbsp_of(p + 2, len - 2);
	if (type <= 9 || (type >= 16 && type <= 21))
		return hevc_slice(s, r, type);
	switch (type) {
	case 32:
		return hevc_vps(r);
	case 33:
		return hevc_sps(s, r);
	case 34:
		return hevc_pps(s, r);
	case 35: /* the same */
		return (rbsp_bits(&r, 8) & 0xf) == 0 && !r.bad;
	case 38: /* filler */
	case 39:
		return true;
	default:
		return type >= 41 && s->sps_any;
	}
}

bool parameter_sets_take(struct parameter_sets *s, enum au_codec c, const uint8_t *p, size_t len)
{
	if (!len)
		return false;
	return c == AU_H264 ? take_h264(s, p, len) : take_hevc(s, p, len);
}
