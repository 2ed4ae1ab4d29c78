// SPDX-License-Identifier: MIT
/* Input: u8 flags, a file. SEAL: checksums of tables are put right, where a section lies in one packet.
 * What is found in it lies within it, in its order, and costs no more than a few times its bytes. */
#include "film_memory.h"
#include "fuzz.h"
#include "stream_bytes.h"
#include "ts_bytes.h"

enum { SEAL = 1 };

static void seal_section(uint8_t *packet)
{
	unsigned from = packet[3] & 0x20 ? 5u + packet[4] : 4;
	if (!(packet[1] & 0x40) || from >= TS_PACKET - 4 || packet[from] != 0)
		return;
	uint8_t *section = packet + from + 1;
	size_t room = TS_PACKET - from - 1;
	size_t len = 3u + ((section[1] & 15u) << 8 | section[2]);
	if ((*section != 0 && *section != 2) || len > room || len < 7)
		return;
	uint32_t crc = ts_crc(section, len - 4);
	for (unsigned i = 0; i < 4; i++)
		section[len - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	if (in.bad)
		return false;
	uint8_t *file = malloc(in.len);
	must(file);
	if (in.len)
		memcpy(file, in.at, in.len);
	for (size_t at = 0; flags & SEAL && at + TS_PACKET <= in.len;)
		if (file[at] == 0x47) {
			seal_section(file + at);
			at += TS_PACKET;
		} else {
			at++;
		}
	struct film_memory m = { .data = file, .len = in.len };
	struct film f;
	int r = film_memory_parse(&m, &film_mpegts, &f);
	must(r == 0 || r == -ENOMSG || r == -EBADMSG);
	must(film_is_sound(&f, in.len));
	must(film_is_in_order(&f));
	must(f.max <= 2 * f.n + 1024);
	must(m.read <= 4 * (uint64_t)in.len + 65536);
	bool valid = r == 0 && f.n;
	film_done(&f);
	free(file);
	return valid;
}

static void put_pictures(struct ts_bytes *t, unsigned pid, unsigned flags, bool key)
{
	struct buf b = { 0 };
	put_units(&b, H264_AUD, H264_SPS, H264_PPS, H264_RECOVERY);
	if (key)
		put_unit(&b, H264_IDR);
	else
		put_unit(&b, H264_P);
	put_payload(&b, 300);
	ts_put_picture(t, pid, flags, 5, slice_of(b.data, b.len));
	buf_reset(&b);
	put_units(&b, MPEG2_SEQUENCE, MPEG2_I);
	put_payload(&b, 300);
	ts_put_picture(t, pid, 0, 200, slice_of(b.data, b.len));
	buf_reset(&b);
	put_units(&b, HEVC_AUD, HEVC_VPS, HEVC_CRA);
	put_payload(&b, 300);
	ts_put_picture(t, pid, 0, 5, slice_of(b.data, b.len));
	buf_done(&b);
}

static void give_seed(const char *name, struct ts_bytes *t)
{
	fuzz_seed_buf(name, &t->b);
	memset(t->counter, 0, sizeof t->counter);
	buf_put_u8(&t->b, SEAL);
}

void fuzz_seeds(void)
{
	static const uint8_t types[] = { 0x1b, 0x24, 0x02, 0x10, 0xea, 0x42 };
	static const char *const names[] = { "h264", "hevc", "mpeg2", "mpeg4", "vc1", "avs" };
	struct ts_bytes t = { 0 };
	buf_put_u8(&t.b, SEAL);
	for (size_t i = 0; i < sizeof types; i++) {
		t.m2ts = i & 1;
		ts_put_pat(&t, 1, 0x1000);
		ts_put_pmt(&t, 0x1000, 1, types[i], 0x100);
		put_pictures(&t, 0x100, 0, true);
		put_pictures(&t, 0x100, TS_RANDOM_ACCESS, false);
		put_pictures(&t, 0x100, TS_RANDOM_ACCESS | TS_SCRAMBLED, false);
		give_seed(names[i], &t);
	}
	t.m2ts = false;
	ts_put_pat(&t, 1, 0x20);
	ts_put_pat(&t, 2, 0x30);
	ts_put_pmt(&t, 0x20, 1, 0x1b, 0x21);
	ts_put_pmt(&t, 0x30, 2, 0x1b, 0x31);
	while (t.b.len <= DETECT_HEAD)
		put_pictures(&t, 0x31, TS_RANDOM_ACCESS, true);
	buf_put(&t.b, "junk G junk", 11);
	ts_put_pmt(&t, 0x30, 2, 0x24, 0x32);
	put_pictures(&t, 0x32, 0, true);
	give_seed("moving", &t);
	buf_done(&t.b);
}
