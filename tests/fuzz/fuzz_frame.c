// SPDX-License-Identifier: MIT
/* Input: u8 what to seal (enum seal_what), le16 where a part begins, le16 its length; a frame.
 * What is decoded whole and what is read in parts must be the same bytes. */
#include "fuzz.h"
#include "cleanup.h"
#include "packs_input.h"
#include "seal.h"
#include <errno.h>

#define PACK 7
#define OFFSET 64

static bool check_part(const struct frame_head *head, const uint8_t *frame, const uint8_t *whole,
		       uint32_t at, uint32_t len)
{
	struct frame_name name = { head->entries[0].id, head->h.part };
	uint32_t from, stored, decoded = head->h.decoded_len;
	at %= decoded;
	len = 1 + len % (decoded - at);
	frame_raw_range(decoded, at, len, &from, &stored);
	must(stored && from + stored <= head->h.payload_len);
	/* copies of exactly these lengths, so that a step outside is seen */
	CLEANUP_FREE uint8_t *in = malloc(stored), *out = malloc(len);
	memcpy(in, frame + head->payload_at + from, stored);
	int r = frame_raw_copy(name, decoded, in, at, len, out);
	must(r == 0 || r == -EUCLEAN);
	if (whole)
		must(r == 0 && !memcmp(out, whole + at, len));
	return r == 0;
}

/* Reads the head as a scan does: first what a header takes, then what it asks for. */
static int parse(const uint8_t *bytes, size_t len, struct frame_head *ret_head)
{
	size_t have = len < 40 ? len : 40, need = 0;
	int r;
	while ((r = frame_parse_head(bytes, have, PACK, OFFSET, ret_head, &need)) == -EAGAIN) {
		must(need > have);
		if (need > len)
			return -EUCLEAN;
		have = need;
	}
	must(r == 0 || r == -EUCLEAN);
	return r;
}

bool fuzz_one(struct slice in)
{
	uint8_t what = take_u8(&in);
	struct slice part = take_up_to(&in, 4);
	CLEANUP_FREE uint8_t *bytes = malloc(in.len);
	struct frame_head head;
	if (part.len < 4 || !in.len)
		return false;
	memcpy(bytes, in.at, in.len);
	seal_frame(bytes, in.len, PACK, OFFSET, what);
	if (parse(bytes, in.len, &head) < 0)
		return false;
	must(head.stored_len >= head.payload_at + head.h.payload_len);
	if (head.stored_len > in.len)
		return false;
	CLEANUP_FREE uint8_t *out = malloc(head.h.decoded_len);
	int r = frame_decode(&head, bytes, out);
	must(r == 0 || r == -EUCLEAN);
	int sums = frame_check_sums(&head, bytes);
	must(sums == 0 || r == -EUCLEAN);
	if (head.h.codec == CODEC_RAW)
		check_part(&head, bytes, r ? NULL : out, get_le16(part.at), get_le16(part.at + 2));
	return r == 0;
}

static void seed(const char *name, unsigned chunks, uint32_t len, int level)
{
	struct buf b = { 0 };
	buf_put(&b, "\x06\x05\x01\x11\x10", 5);
	input_frame(&b, PACK, OFFSET, 1000, chunks, len, level);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("raw", 3, 40, 0);
	seed("raw_blocks", 1, 5000, 0);
	seed("zstd", 20, 200, 3);
}
