// SPDX-License-Identifier: MIT
/* Reading is direct, so that neither our cache nor the kernel's hides what became of the device; where
 * the filesystem does not have that, the pages are dropped first. It is done in windows, since frames
 * that follow each other by id mostly do so in their pack.
 *
 * First glance: head, payload and digests are all right; that is nearly always so. If not, the frame may
 * have been moved by gc since its row was read, or written after its window was. So the second look
 * begins with fresh rows and reads each frame for itself. What is wrong then is wrong.
 *
 * Of a frame that is wrong it is found out chunk by chunk what a reader gets. A chunk that no
 * reader gets may still be there, when only the head rotted: the payload has sums of its own. Then it is
 * written anew at once, and has cost nothing. The digest of a chunk that is lost is taken from its entry
 * even if the head's sum is wrong, unless another part of the chunk knows it. Should it be the digest that
 * rotted, then no bytes in the world have it, and nothing wrong can be healed in.
 *
 * A row that names a part of its frame was left by healing, and nobody reads through it. When the frame
 * can be read all the same (its pack is back, its disk was replugged), the chunks it names are written anew, too.
 */
#include "inspect.h"
#include "cleanup.h"
#include "fault.h"
#include "log.h"
#include "pack_scan.h"
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define PAGE 4096u
#define WINDOW (1u << 20) /* more than the longest frame and two pages */

struct inspect {
	struct inspect_options opt;
	uint64_t pack; /* the one that `fd` is of; */
	int fd;	       /* -1: it is read through its place */
	bool far;
	bool direct;
	uint8_t *window; /* [at, at + have) of it, read at that moment: */
	uint64_t moment;
	uint64_t at;
	size_t have;
	uint8_t *decoded;
	struct chunk_entry part[FRAME_CHUNKS_MAX]; /* of a frame, what a row names of it */
	struct { /* a chunk in parts, as far as they have come by */
		uint64_t id;
		uint32_t len;
		uint8_t *bytes;
	} whole;
};

int inspect_new(const struct inspect_options *opt, struct inspect **ret_in)
{
	struct inspect *in = calloc(1, sizeof *in);
	if (!in)
		return -ENOMEM;
	in->opt = *opt;
	in->fd = -1;
	in->window = aligned_alloc(PAGE, WINDOW);
	in->decoded = malloc(FRAME_DECODED_MAX);
	if (!in->window || !in->decoded) {
		inspect_free(in);
		return -ENOMEM;
	}
	*ret_in = in;
	return 0;
}

void inspect_free(struct inspect *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		close(in->fd);
	free(in->window);
	free(in->decoded);
	free(in->whole.bytes);
	free(in);
}

/* ---- reading ---- */

static int open_pack(struct inspect *in, uint64_t pack)
{
	char path[64];
	if ((in->fd >= 0 || in->far) && in->pack == pack)
		return 0;
	if (in->fd >= 0)
		close(take_fd(&in->fd));
	in->have = 0;
	in->pack = pack;
	int fd = pack_fd_get(in->opt.packs, pack);
	in->far = fd == -EREMOTE;
	if (fd < 0)
		return in->far ? 0 : fd;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	in->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	in->direct = in->fd >= 0;
	if (!in->direct)
		in->fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = in->fd < 0 ? -errno : 0;
	pack_fd_put(in->opt.packs, pack, fd);
	return r;
}

static ssize_t read_device(struct inspect *in, void *buf, size_t len, uint64_t at)
{
	int fault = fault_hit("scrub_read");
	ssize_t n;
	if (fault < 0)
		return fault;
	if (in->far) {
		struct place_read v = { in->pack, at, len, buf, 0 };
		pack_read_far(in->opt.packs, &v, 1);
		return v.result;
	}
	if (!in->direct)
		posix_fadvise(in->fd, (off_t)at, (off_t)len, POSIX_FADV_DONTNEED);
	do
		n = pread(in->fd, buf, len, (off_t)at);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int fill_window(struct inspect *in, uint64_t offset, size_t len)
{
	in->at = offset - offset % PAGE;
	in->have = 0;
	in->moment = rotten_moment(in->opt.rotten);
	ssize_t n = read_device(in, in->window, (len + PAGE - 1) / PAGE * PAGE, in->at);
	if (n < 0)
		return (int)n;
	in->have = (size_t)n;
	return 0;
}

static bool in_window(const struct inspect *in, const struct frame_row *row)
{
	return row->pack == in->pack && row->offset >= in->at &&
	       row->offset + row->stored_len <= in->at + in->have;
}

static int read_glance(struct inspect *in, const struct frame_row *row, const uint8_t **ret_bytes)
{
	int r = open_pack(in, row->pack);
	if (r == 0 && !in_window(in, row))
		r = fill_window(in, row->offset, WINDOW);
	if (r == 0 && !in_window(in, row))
		r = -EUCLEAN;
	if (r == 0)
		*ret_bytes = in->window + (row->offset - in->at);
	return r;
}

/* The frame as far as it can be read, page by page if need be; zeros where it cannot. */
static int read_alone(struct inspect *in, const struct frame_row *row, const uint8_t **ret_bytes)
{
	size_t len = row->offset % PAGE + row->stored_len;
	int opened = open_pack(in, row->pack);
	int r = opened == 0 ? fill_window(in, row->offset, len) : opened;
	if (in->far && r == -ENOENT) { /* it has moved since it was opened */
		in->far = false;
		opened = open_pack(in, row->pack);
		r = opened == 0 ? fill_window(in, row->offset, len) : opened;
	}
	if (r == -ENOMEDIUM || (opened < 0 && opened != -ENOENT && opened != -EUCLEAN))
		return r;
	memset(in->window + in->have, 0, WINDOW - in->have);
	for (size_t page = 0; r == -EIO && page < len; page += PAGE)
		if (read_device(in, in->window + page, PAGE, in->at + page) < 0)
			memset(in->window + page, 0, PAGE);
	*ret_bytes = in->window + row->offset % PAGE;
	in->have = 0; /* not to be taken for a window */
	return 0;
}

/* ---- judging ---- */

static uint32_t payload_at(const struct frame_row *row)
{
	return (uint32_t)(sizeof(struct frame_header) + row->n * sizeof(struct chunk_entry));
}

static bool entry_fits(const struct chunk_entry *e, const struct frame_chunk *c)
{
	return e->id == c->id && e->length == c->length;
}

/* 0, or -EUCLEAN when the bytes do not begin with the head that the row describes. */
static int check_head(const struct frame_row *row, const uint8_t *bytes,
		      struct frame_head *ret_head)
{
	size_t need;
	int r = frame_parse_head(bytes, row->stored_len, row->pack, row->offset, ret_head, &need);
	const struct frame_header *h = &ret_head->h;
	if (r < 0 || ret_head->stored_len != row->stored_len || h->codec != row->codec ||
	    h->decoded_len != row->decoded_len || h->chunks != row->n || h->part != row->part)
		return -EUCLEAN;
	for (uint32_t i = 0; i < row->n; i++)
		if (!entry_fits(&ret_head->entries[i], &row->chunks[i]))
			return -EUCLEAN;
	return 0;
}

static bool entries_agree(const struct frame_row *row, const struct chunk_entry *entries,
			  const uint8_t *decoded)
{
	for (uint32_t i = 0; i < row->n; decoded += row->chunks[i++].length) {
		struct digest digest;
		digest_of(decoded, row->chunks[i].length, &digest);
		if (!entry_fits(&entries[i], &row->chunks[i]) ||
		    !digest_equal(&digest, &entries[i].digest))
			return false;
	}
	return true;
}

static void tell(struct inspect *in, uint64_t chunk)
{
	if (in->opt.found)
		in->opt.found(in->opt.arg, chunk);
}

static int note(struct inspect *in, const struct rotten_chunk *chunk)
{
	int r = rotten_add(in->opt.rotten, chunk);
	tell(in, chunk->id);
	return r;
}

/* The last part of a chunk has come by: are its bytes those of the digest? */
static int judge_whole(struct inspect *in, const struct frame_row *row, const struct digest *wanted,
		       struct findings *f)
{
	struct digest digest;
	digest_of(in->whole.bytes, in->whole.len, &digest);
	in->whole.id = 0;
	if (digest_equal(&digest, wanted))
		return 0;
	log_error("scrub: pack %016" PRIx64 ", frame at %" PRIu64 ": the parts of chunk %" PRIu64
		  " have not its digest",
		  row->pack, row->offset, row->chunks[0].id);
	f->bad_chunks++;
	struct rotten_chunk c = {
		.id = row->chunks[0].id,
		.pack = row->pack,
		.offset = row->offset,
		.length = in->whole.len,
		.digest = *wanted,
	};
	return note(in, &c);
}

static int take_part(struct inspect *in, const struct frame_row *row, const struct frame_head *head,
		     struct findings *f)
{
	uint32_t before = row->part * FRAME_DECODED_MAX;
	if (!in->whole.bytes && !(in->whole.bytes = malloc(CHUNK_LENGTH_MAX)))
		return -ENOMEM;
	if (row->part == 0) {
		in->whole.id = row->chunks[0].id;
		in->whole.len = 0;
	}
	if (in->whole.id != row->chunks[0].id || in->whole.len != before)
		return 0; /* not all of them have been seen: a pass that goes on, or one was bad */
	memcpy(in->whole.bytes + before, in->decoded, row->decoded_len);
	in->whole.len += row->decoded_len;
	return in->whole.len < head->h.chunk_len
		       ? 0
		       : judge_whole(in, row, &head->entries[0].digest, f);
}

/* Is everything as it should be? 0, -EUCLEAN, -ENOMEM. */
static int judge_frame(struct inspect *in, const struct frame_row *row, const uint8_t *bytes,
		       struct findings *f)
{
	struct frame_head head;
	int r = check_head(row, bytes, &head);
	if (r == 0)
		r = frame_decode(&head, bytes, in->decoded);
	if (r < 0)
		return r == -ENOMEM ? r : -EUCLEAN;
	if (head.h.chunk_len)
		return take_part(in, row, &head, f);
	return entries_agree(row, head.entries, in->decoded) ? 0 : -EUCLEAN;
}

/* ---- a frame that is wrong ---- */

struct autopsy {
	const struct frame_row *row;
	const uint8_t *bytes, *payload;
	const struct chunk_entry *entries; /* not to be relied upon unless head_ok */
	bool head_ok;
	bool readable, decoded; /* of a compressed frame: by readers; in spite of its head */
	bool part;		/* as open_part() says */
};

/* Does the chunk, which begins at `at`, read? *ret_there: its bytes are in in->decoded. */
static bool chunk_reads(struct inspect *in, const struct autopsy *a, uint32_t i, uint32_t at,
			bool *ret_there)
{
	const struct frame_row *row = a->row;
	if (row->codec != CODEC_RAW || a->part) {
		*ret_there = a->decoded;
		return a->readable;
	}
	struct frame_name name = { row->chunks[0].id, row->part };
	*ret_there = frame_raw_copy(name, row->decoded_len,
				    a->payload + (size_t)(at / RAW_BLOCK) * RAW_STRIDE, at,
				    row->chunks[i].length, in->decoded + at) == 0;
	/* who reads the first block reads the head with it */
	return *ret_there && (a->head_ok || at >= RAW_BLOCK);
}

/* When the frame is whole and the row names a part of it: leaves those chunks, one after the other, in
 * in->decoded, and their entries in in->part. */
static bool open_part(struct inspect *in, const struct frame_row *row, const uint8_t *bytes)
{
	struct frame_head head;
	size_t need;
	if (frame_parse_head(bytes, row->stored_len, row->pack, row->offset, &head, &need) < 0 ||
	    head.h.chunk_len || !frame_has_part(&head, row) ||
	    frame_decode(&head, bytes, in->decoded) < 0)
		return false;
	uint32_t from = 0, to = 0, n = 0;
	for (uint32_t i = 0; i < head.h.chunks && n < row->n; from += head.entries[i++].length) {
		if (head.entries[i].id != row->chunks[n].id)
			continue;
		in->part[n++] = head.entries[i];
		memmove(in->decoded + to, in->decoded + from, head.entries[i].length);
		to += head.entries[i].length;
	}
	return entries_agree(row, in->part, in->decoded);
}

static void open_frame(struct inspect *in, const struct frame_row *row, const uint8_t *bytes,
		       struct autopsy *a)
{
	struct frame_head head;
	struct frame_header h;
	memcpy(&h, bytes, sizeof h);
	*a = (struct autopsy){
		.row = row,
		.bytes = bytes,
		.payload = bytes + payload_at(row),
		.entries = (const void *)(bytes + sizeof h),
		.head_ok = check_head(row, bytes, &head) == 0,
	};
	if (!a->head_ok && open_part(in, row, bytes)) {
		a->entries = in->part;
		a->decoded = a->part = true;
		return;
	}
	if (row->codec == CODEC_RAW)
		return;
	a->readable = a->head_ok && frame_decode(&head, bytes, in->decoded) == 0;
	a->decoded = a->readable;
	uint32_t room = row->stored_len - payload_at(row);
	if (!a->head_ok && h.payload_len && h.payload_len <= room &&
	    codec_decode((enum codec)row->codec, a->payload, h.payload_len, in->decoded,
			 row->decoded_len) == 0)
		a->decoded = checksum64(a->payload, h.payload_len) == h.payload_sum ||
			     entries_agree(row, a->entries, in->decoded);
}

static uint32_t chunk_length(struct inspect *in, uint64_t id)
{
	uint32_t len = 0, at, left;
	struct frame_row row;
	while (len < CHUNK_LENGTH_MAX && chunk_find(in->opt.kv, id, len, &row, &at, &left) == 0) {
		frame_row_done(&row);
		len += left;
		if (len % FRAME_DECODED_MAX)
			break;
	}
	return len;
}

/* From the head of any part that can be read. */
static bool digest_of_parts(struct inspect *in, uint64_t id, uint32_t len, struct digest *ret)
{
	_Alignas(struct chunk_entry)
		uint8_t bytes[sizeof(struct frame_header) + sizeof(struct chunk_entry)];
	bool found = false;
	for (uint32_t offset = 0; offset < len && !found; offset += FRAME_DECODED_MAX) {
		struct frame_row row;
		struct frame_head head;
		uint32_t at, left;
		size_t need;
		if (chunk_find(in->opt.kv, id, offset, &row, &at, &left) < 0)
			return false;
		int fd = pack_fd_get(in->opt.packs, row.pack);
		found = fd >= 0 && io_read_exact(fd, bytes, sizeof bytes, (off_t)row.offset) == 0 &&
			frame_parse_head(bytes, sizeof bytes, row.pack, row.offset, &head, &need) ==
				0 &&
			head.entries[0].id == id;
		if (found)
			*ret = head.entries[0].digest;
		if (fd >= 0)
			pack_fd_put(in->opt.packs, row.pack, fd);
		frame_row_done(&row);
	}
	return found;
}

/* What became of one chunk. *ret_proved: it is bad, but its bytes are at hand. */
static int examine_chunk(struct inspect *in, const struct autopsy *a, uint32_t i, uint32_t at,
			 bool *ret_bad, bool *ret_proved)
{
	const struct frame_row *row = a->row;
	const struct frame_chunk *c = &row->chunks[i];
	bool known = entry_fits(&a->entries[i], c), there;
	bool reads = chunk_reads(in, a, i, at, &there);
	uint32_t len = row->n == 1 ? chunk_length(in, c->id) : c->length;
	bool is_part = len > FRAME_DECODED_MAX;
	struct digest digest = { { 0 } };
	if (there)
		digest_of(in->decoded + at, c->length, &digest);
	/* all sums may be right, and the bytes another chunk's even so */
	bool other =
		a->head_ok && there && !is_part && !digest_equal(&digest, &a->entries[i].digest);
	*ret_bad = !reads || other;
	*ret_proved = *ret_bad && there && !other && !is_part;
	if (!*ret_bad)
		return 0;
	struct rotten_chunk chunk = {
		.id = c->id, .pack = row->pack, .offset = row->offset, .length = len
	};
	if (*ret_proved)
		chunk.digest = digest;
	else if (known && !(is_part && digest_of_parts(in, c->id, len, &chunk.digest)))
		chunk.digest = a->entries[i].digest;
	return *ret_proved ? rotten_add(in->opt.rotten, &chunk) : note(in, &chunk);
}

/* Its digest may be known from a time when the head could be read: that is not forgotten. */
static bool noted_better(struct inspect *in, const struct autopsy *a, uint32_t i)
{
	return rotten_has(in->opt.rotten, a->row->chunks[i].id) &&
	       !entry_fits(&a->entries[i], &a->row->chunks[i]);
}

static int autopsy(struct inspect *in, const struct frame_row *row, const uint8_t *bytes,
		   struct findings *f)
{
	struct autopsy a;
	bool proved[FRAME_CHUNKS_MAX] = { false }, bad;
	uint32_t at = 0, n_bad = 0, repaired = 0;
	int r = 0;
	open_frame(in, row, bytes, &a);
	for (uint32_t i = 0; i < row->n && r == 0; at += row->chunks[i++].length) {
		if (noted_better(in, &a, i)) {
			n_bad++;
			tell(in, row->chunks[i].id);
			continue;
		}
		r = examine_chunk(in, &a, i, at, &bad, &proved[i]);
		n_bad += bad;
	}
	at = 0;
	for (uint32_t i = 0; i < row->n && r == 0; at += row->chunks[i++].length)
		if (proved[i]) {
			struct digest digest;
			digest_of(in->decoded + at, row->chunks[i].length, &digest);
			repaired += rotten_heal(in->opt.rotten, &digest, in->decoded + at,
						row->chunks[i].length) > 0;
		}
	log_error("scrub: pack %016" PRIx64 ", frame at %" PRIu64 ": damaged; of its %" PRIu32
		  " chunks from %" PRIu64 " to %" PRIu64 ", %" PRIu32
		  " could not be read and %" PRIu32 " of these were repaired",
		  row->pack, row->offset, row->n, row->chunks[0].id, row->chunks[row->n - 1].id,
		  n_bad, repaired);
	f->bad_chunks += n_bad;
	f->repaired += repaired;
	return r;
}

static void forgive(struct inspect *in, const struct frame_row *row)
{
	for (uint32_t i = 0; rotten_count(in->opt.rotten) && i < row->n; i++)
		if (!row->part || row->n > 1)
			rotten_forget(in->opt.rotten, row->chunks[i].id, in->moment);
}

/* Once more, each frame that holds chunks of the row now. */
static int second_look(struct inspect *in, const struct frame_row *row, struct findings *f)
{
	uint64_t seen = 0;
	int r = 0;
	for (uint32_t i = 0; i < row->n && r == 0; i++) {
		struct frame_row now = { 0 };
		const uint8_t *bytes = NULL;
		uint32_t at, left, offset = row->part * FRAME_DECODED_MAX;
		if (row->chunks[i].id <= seen)
			continue;
		r = chunk_find(in->opt.kv, row->chunks[i].id, offset, &now, &at, &left);
		if (r == -ENOENT) { /* gc has taken it */
			r = 0;
			continue;
		}
		if (r < 0)
			return r == -EUCLEAN ? 0 : r; /* of damaged rows others tell */
		seen = now.chunks[now.n - 1].id;
		r = read_alone(in, &now, &bytes);
		if (r == 0) {
			r = judge_frame(in, &now, bytes, f);
			if (r == -EUCLEAN)
				r = autopsy(in, &now, bytes, f);
			else if (r == 0)
				forgive(in, &now);
		}
		frame_row_done(&now);
	}
	return r;
}

/* What can't be true is not computed with. */
static bool plausible(const struct frame_row *row)
{
	return row->n && row->n <= FRAME_CHUNKS_MAX && row->decoded_len &&
	       row->decoded_len <= FRAME_DECODED_MAX && row->offset % FRAME_ALIGN == 0 &&
	       row->stored_len > payload_at(row) && row->stored_len <= 2 * FRAME_DECODED_MAX;
}

int inspect_row(struct inspect *in, const struct frame_row *row, struct findings *ret_f)
{
	const uint8_t *bytes;
	*ret_f = (struct findings){ 0 };
	if (!plausible(row))
		return 0;
	int r = read_glance(in, row, &bytes);
	if (r == 0)
		r = judge_frame(in, row, bytes, ret_f);
	if (r == 0)
		forgive(in, row);
	return r == 0 || r == -ENOMEM ? r : second_look(in, row, ret_f);
}

int inspect_pack(struct inspect *in, uint64_t pack)
{
	CLEANUP_FREE struct footer_entry *entries = NULL;
	size_t n;
	uint64_t at;
	int fd = pack_fd_get(in->opt.packs, pack);
	if (fd == -EREMOTE)
		return 0; /* nobody needs its ends there */
	if (fd < 0)
		return fd;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	int r = pack_header_check(fd, pack, in->opt.pool_uuid);
	if (r == 0)
		r = pack_footer_read(fd, pack, &entries, &n, &at);
	pack_fd_put(in->opt.packs, pack, fd);
	return r == -ENOENT ? -EUCLEAN : r;
}
