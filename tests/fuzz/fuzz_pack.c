// SPDX-License-Identifier: MIT
/* Input: u8 what to seal (enum seal_what), le16 where to begin; the file of pack 1.
 * A scan ends, and gives frames in order, within the file and not one in another. */
#include "fuzz.h"
#include "cleanup.h"
#include "pack_scan.h"
#include "packs_input.h"
#include "seal.h"
#include <errno.h>

struct seen {
	const uint8_t *file;
	size_t len;
	uint64_t end, frames;
};

static int see(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct seen *s = arg;
	must(offset % FRAME_ALIGN == 0 && offset >= s->end);
	must(offset <= s->len && head->stored_len <= s->len - offset);
	must(head->h.chunks && head->entries[0].id);
	s->end = offset + head->stored_len;
	s->frames++;

	struct frame_head again;
	size_t need;
	CLEANUP_FREE uint8_t *bytes = malloc(head->stored_len), *out = malloc(FRAME_DECODED_MAX);
	memcpy(bytes, s->file + offset, head->stored_len);
	must(frame_parse_head(bytes, head->stored_len, 1, offset, &again, &need) == 0);
	must(again.stored_len == head->stored_len);
	int r = frame_decode(&again, bytes, out);
	must(r == 0 || r == -EUCLEAN);
	return 0;
}

bool fuzz_one(struct slice in)
{
	uint8_t what = take_u8(&in);
	struct slice from = take_up_to(&in, 2);
	CLEANUP_FREE uint8_t *file = malloc(in.len);
	if (from.len < 2 || !in.len)
		return false;
	memcpy(file, in.at, in.len);
	seal_pack(file, in.len, 1, what);
	struct seen s = { .file = file, .len = in.len };
	CLEANUP_CLOSE int fd = fuzz_file(file, in.len);
	uint64_t end = 0;
	int header = pack_header_check(fd, 1, INPUT_UUID);
	must(header == 0 || header == -EUCLEAN);
	int r = pack_scan_fd(fd, 1, get_le16(from.at), see, &s, &end);
	must(r == 0 || r == -EUCLEAN);
	must(!s.frames || end == s.end);
	return r == 0 && header == 0 && s.frames;
}

static void seed(const char *name, bool sealed, const char *from)
{
	struct buf b = { 0 };
	buf_put_u8(&b, SEAL_PACK_HEADER | SEAL_HEADS | SEAL_PAYLOADS | SEAL_FOOTER);
	buf_put(&b, from, 2);
	input_pack(&b, 1, sealed);
	fuzz_seed_buf(name, &b);
}

void fuzz_seeds(void)
{
	seed("open", false, "\0\0");
	seed("sealed", true, "\0\0");
	seed("open_from_second", false, "\x70\0");
}
