// SPDX-License-Identifier: MIT
/* The recovery algorithm of the specification in wal.c. Each segment is read whole: no file of the
 * log is longer than WAL_SEGMENT_MAX.
 */
#include "wal_replay.h"
#include "cleanup.h"
#include "io.h"
#include "wal.h"
#include "wal_files.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct walk {
	const struct wal_replay *in;
	struct wal_found *out;
	uint64_t next;	  /* the LSN that must come */
	uint64_t checked; /* end of the last segment's valid frames */
	bool cut;	  /* it has neither an end nor the length it was made with */
	bool ended;	  /* the last of them is an end, naming this one: */
	uint64_t next_seq;
	struct buf scratch;
};

/* A valid frame at or after `at` proves that everything up to its durable_lsn was once safely in
 * the log. Returns the greatest such LSN. */
static uint64_t durable_proof(const struct walk *w, const uint8_t *data, size_t len, size_t at,
			      uint64_t seed)
{
	uint64_t proof = 0;
	struct wal_frame f;
	for (; at + sizeof(struct wal_frame_header) <= len; at += WAL_ALIGN)
		if (wal_frame_parse(data + at, len - at, seed, &f) && f.lsn >= w->next &&
		    f.durable_lsn > proof)
			proof = f.durable_lsn;
	return proof;
}

static bool anything_at(const uint8_t *data, size_t len, size_t at)
{
	while (at < len && data[at] == 0)
		at++;
	return at < len;
}

static int apply_frame(struct walk *w, const struct wal_frame *f)
{
	struct slice payload;
	int r = wal_frame_payload(f, &w->scratch, &payload);
	if (r == 0 && f->lsn > w->in->checkpoint_lsn) {
		r = w->in->apply(w->in->arg, f->lsn, payload);
		w->out->frames++;
		w->out->bytes += f->size;
	}
	return r;
}

static int take_frame(struct walk *w, const struct wal_frame *f)
{
	if (f->kind == WAL_NOTE)
		return 0;
	if (f->kind == WAL_END) {
		w->ended = true;
		w->next_seq = wal_frame_next_seq(f);
		return 0;
	}
	int r = apply_frame(w, f);
	w->next++;
	return r;
}

static int walk_segment(struct walk *w, const struct wal_file *file, bool last)
{
	CLEANUP_FREE uint8_t *data = NULL;
	size_t len, at = WAL_FRAMES_AT;
	uint64_t seed = wal_segment_seed(&w->in->id, file->seq);
	struct wal_frame f;
	int r = wal_file_slurp(w->in->dirfd, file, &data, &len);
	w->ended = false;
	while (r == 0 && !w->ended && at < len && wal_frame_parse(data + at, len - at, seed, &f) &&
	       f.lsn == w->next) {
		r = take_frame(w, &f);
		at += f.size;
	}
	w->checked = at;
	w->cut = !w->ended && file->header.blocks && len != (size_t)file->header.blocks * WAL_BLOCK;
	if (r < 0 || !last || w->ended)
		return r; /* the next segment's header says whether all were there */
	w->out->torn_tail = anything_at(data, len, at);
	if (w->cut)
		return -ENOENT;
	return durable_proof(w, data, len, at, seed) >= w->next ? -EUCLEAN : 0;
}

static int check_headerless(struct walk *w, const struct wal_file *file)
{
	CLEANUP_FREE uint8_t *data = NULL;
	size_t len;
	uint64_t seed = wal_segment_seed(&w->in->id, file->seq);
	int r = wal_file_slurp(w->in->dirfd, file, &data, &len);
	if (r < 0)
		return r;
	return durable_proof(w, data, len, WAL_FRAMES_AT, seed) >= w->next ? -ENOENT : 0;
}

/* With a header: a file that was emptied is as good as none, whatever its name. */
static bool has_seq(const struct wal_dir *d, size_t end, uint64_t seq)
{
	for (size_t i = 0; i < end; i++)
		if (d->files[i].seq == seq)
			return true;
	return false;
}

/* Whether each of these is there that another one names, and no file has an altered header. */
static bool headers_whole(const struct wal_dir *d, size_t first, size_t end)
{
	for (size_t i = first + 1; i < end; i++)
		if (!has_seq(d, end, d->files[i].header.prev_seq))
			return false;
	return d->files[d->n - 1].kind != WAL_HEADER_INVALID;
}

static int walk_log(struct walk *w, const struct wal_dir *d, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		const struct wal_segment_header *h = &d->files[i].header;
		if (h->first_lsn != w->next)
			return has_seq(d, end, h->prev_seq) && !w->cut ? -EUCLEAN : -ENOENT;
		int r = walk_segment(w, &d->files[i], i + 1 == end);
		if (r < 0)
			return r;
	}
	if (w->ended && w->next_seq)
		return -ENOENT;
	for (size_t i = end; i < d->n; i++) {
		int r = check_headerless(w, &d->files[i]);
		if (r < 0)
			return r;
	}
	return w->next <= w->in->checkpoint_lsn ? -EUCLEAN : 0;
}

/* Instead of the torn tail, before that is cut off, so that the file is never found short without it. */
static int end_tail(const struct walk *w, const struct wal_file *file, int fd, uint64_t *len)
{
	struct wal_segment s = { .seq = file->seq, .written = *len, .fd = fd };
	if (w->ended || !file->header.blocks)
		return 0;
	int r = wal_segment_end(&s, &w->in->id, w->next - 1, 0);
	*len = s.written;
	return r < 0 ? r : io_fsync(fd);
}

/* What replay has read may be in the page cache only (the process died, the machine did not), and a
 * torn tail must not be found again behind newer frames. */
static int seal_tail(const struct walk *w, const struct wal_file *file)
{
	char name[WAL_NAME_SIZE];
	struct stat st;
	uint64_t len = w->checked;
	wal_segment_name(file->seq, name);
	CLEANUP_CLOSE int fd = openat(w->in->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	int r = end_tail(w, file, fd, &len);
	if (r < 0)
		return r;
	if (st.st_size != (off_t)len && ftruncate(fd, (off_t)len))
		return -errno;
	return io_fsync(fd);
}

static int hand_over(struct walk *w, const struct wal_dir *d, size_t end)
{
	struct wal_segment **tail = &w->out->segments;
	char name[WAL_NAME_SIZE];
	for (size_t i = 0; i < d->n; i++) {
		const struct wal_file *f = &d->files[i];
		wal_segment_name(f->seq, name);
		if (i >= end) {
			if (unlinkat(w->in->dirfd, name, 0))
				return -errno;
			continue;
		}
		struct wal_segment *s = calloc(1, sizeof *s);
		struct stat st;
		if (!s)
			return -ENOMEM;
		s->fd = -1;
		s->seq = f->seq;
		s->first_lsn = f->header.first_lsn;
		*tail = s;
		tail = &s->next;
		if (fstatat(w->in->dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
		s->size = (size_t)st.st_size;
	}
	return 0;
}

/* The last segment that starts at or before the first frame to apply. */
static int find_start(const struct walk *w, const struct wal_dir *d, size_t end, size_t *ret_first)
{
	size_t first = end;
	for (size_t i = 0; i < end; i++) {
		if (memcmp(d->files[i].header.wal_id, w->in->id.wal_id, 16))
			return -ESTALE;
		if (d->files[i].header.first_lsn <= w->in->checkpoint_lsn + 1)
			first = i;
	}
	*ret_first = first;
	return first < end ? 0 : -ENOENT;
}

/* Whether the segment that the base names is there. */
static int check_named(const struct walk *w, const struct wal_dir *d, size_t end)
{
	if (!w->in->named)
		return 0;
	for (size_t i = 0; i < end; i++)
		if (wal_seq_tag(d->files[i].seq) == w->in->named)
			return 0;
	return -ENOENT;
}

/* What is told as damage is given up without being asked for twice. A file that is gone, or without its
 * header, may be whole somewhere: where there is one, that is what is told. */
static int find_and_walk(struct walk *w, const struct wal_dir *d, size_t end)
{
	size_t first;
	int named = check_named(w, d, end);
	int r = find_start(w, d, end, &first);
	w->out->last_lsn = w->in->checkpoint_lsn;
	if (r < 0)
		return r;
	w->next = d->files[first].header.first_lsn;
	r = walk_log(w, d, first, end);
	w->out->last_lsn = w->next - 1;
	if (r == -EUCLEAN && (named < 0 || !headers_whole(d, first, end)))
		r = -ENOENT;
	return r < 0 ? r : named;
}

int wal_replay(const struct wal_replay *in, struct wal_found *ret_found)
{
	struct wal_dir d = { 0 };
	struct walk w = { .in = in, .out = ret_found };
	size_t end = 0;
	*ret_found = (struct wal_found){ 0 };
	int r = wal_dir_list(in->dirfd, in->id.pool_uuid, &d);
	ret_found->last_seq = d.last_seq;
	if (r == 0)
		r = wal_dir_versions(&d);
	if (r == 0) {
		end = wal_dir_valid(&d);
		r = find_and_walk(&w, &d, end);
		ret_found->damaged = r == -EUCLEAN;
	}
	if (r == 0 && !in->read_only)
		r = seal_tail(&w, &d.files[end - 1]);
	if (r == 0 && !in->read_only)
		r = hand_over(&w, &d, end);
	buf_done(&w.scratch);
	wal_dir_done(&d);
	return r;
}

/* Whether a file that should be empty of news is: with the identity its own header gives. */
static int check_discardable(const struct wal_replay *in, const struct wal_file *file)
{
	struct wal_replay own = *in;
	struct walk w = { .in = &own, .next = in->checkpoint_lsn + 1 };
	CLEANUP_FREE uint8_t *data = NULL;
	struct wal_frame f;
	size_t len;
	if (file->kind != WAL_HEADER_VALID)
		return 0;
	memcpy(own.id.wal_id, file->header.wal_id, sizeof own.id.wal_id);
	int r = wal_file_slurp(w.in->dirfd, file, &data, &len);
	if (r < 0)
		return r;
	uint64_t seed = wal_segment_seed(&own.id, file->seq);
	for (size_t at = WAL_FRAMES_AT; at < len; at += f.size) {
		if (!wal_frame_parse(data + at, len - at, seed, &f))
			break;
		if (f.kind == WAL_BATCH && f.lsn >= w.next)
			return -ESTALE;
	}
	return 0;
}

int wal_discard(const struct wal_replay *in, struct wal_found *ret_found)
{
	struct wal_dir d = { 0 };
	char name[WAL_NAME_SIZE];
	*ret_found = (struct wal_found){ .last_lsn = in->checkpoint_lsn };
	int r = wal_dir_list(in->dirfd, in->id.pool_uuid, &d);
	ret_found->last_seq = d.last_seq;
	if (r == 0)
		r = wal_dir_versions(&d);
	for (size_t i = 0; r == 0 && i < d.n; i++)
		r = check_discardable(in, &d.files[i]);
	for (size_t i = 0; r == 0 && !in->read_only && i < d.n; i++) {
		wal_segment_name(d.files[i].seq, name);
		if (unlinkat(in->dirfd, name, 0))
			r = -errno;
	}
	if (r == 0 && !in->read_only && d.n)
		r = io_fsync_dir(in->dirfd);
	wal_dir_done(&d);
	return r;
}

void wal_found_done(struct wal_found *found)
{
	for (struct wal_segment *s = found->segments, *next; s; s = next) {
		next = s->next;
		wal_segment_free(s);
	}
	found->segments = NULL;
}
