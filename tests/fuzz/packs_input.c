// SPDX-License-Identifier: MIT
#include "packs_input.h"
#include "cleanup.h"
#include "pack_scan.h"
#include "prng.h"
#include <sys/stat.h>

static void add_chunk(struct frame_builder *fb, uint64_t id, uint32_t len, int level)
{
	uint64_t seed = id;
	struct digest digest;
	CLEANUP_FREE uint8_t *data = calloc(1, len);
	prng_fill(&seed, data, level && len > 16 ? 16 : len);
	digest_of(data, len, &digest);
	frame_add(fb, id, &digest, data, len);
}

void input_frame(struct buf *b, uint64_t pack, uint64_t offset, uint64_t first_id, unsigned chunks,
		 uint32_t len, int level)
{
	struct frame_chunk list[FRAME_CHUNKS_MAX];
	struct frame_builder *fb;
	struct frame_row row;
	must(frame_builder_new(&fb) == 0);
	frame_builder_reset(fb);
	for (unsigned i = 0; i < chunks; i++)
		add_chunk(fb, first_id + i, len, level);
	must(frame_seal(fb, level) == 0);
	frame_place(fb, pack, offset, list, &row);
	buf_put(b, fb->stored.data, fb->stored.len);
	frame_builder_free(fb);
}

static int list_frame(void *arg, uint64_t offset, const struct frame_head *head)
{
	struct buf *entries = arg;
	struct footer_entry e = {
		.offset = offset,
		.first_chunk = head->entries[0].id,
		.stored_len = head->stored_len,
		.decoded_len = head->h.decoded_len,
	};
	buf_put(entries, &e, sizeof e);
	return 0;
}

static void append_file(struct buf *b, int fd)
{
	struct stat st;
	must(fstat(fd, &st) == 0);
	void *to = buf_extend(b, (size_t)st.st_size);
	must(to && pread(fd, to, (size_t)st.st_size, 0) == st.st_size);
}

void input_pack(struct buf *b, uint64_t pack, bool sealed)
{
	CLEANUP_BUF struct buf frames = { 0 }, entries = { 0 };
	uint64_t end;
	size_t start = sizeof(struct pack_header);
	CLEANUP_CLOSE int fd = fuzz_file("", 0);
	input_frame(&frames, pack, start, 1, 3, 50, 0);
	input_frame(&frames, pack, start + frames.len, 4, 2, 300, 3);
	must(pack_header_write(fd, pack, INPUT_UUID, 1700000000) == 0);
	must(pwrite(fd, frames.data, frames.len, (off_t)start) == (ssize_t)frames.len);
	must(pack_scan_fd(fd, pack, 0, list_frame, &entries, &end) == 0);
	must(end == start + frames.len && entries.len == 2 * sizeof(struct footer_entry));
	if (sealed)
		must(pack_footer_write(fd, pack, end, (void *)entries.data, 2, 5, &end) == 0);
	append_file(b, fd);
}
