// SPDX-License-Identifier: MIT
/* Replay trusts the files' order and stops at the first frame that is not the next one. Here each file
 * is searched at every place where a frame may start: no file of the log shares a seed with another, so
 * that what is found is of this file. The files' order is that of their first frames.
 */
#include "wal_salvage.h"
#include "cleanup.h"
#include "wal_files.h"
#include <errno.h>
#include <stdlib.h>

struct part {
	const struct wal_file *file;
	uint64_t first_lsn; /* of the first batch that can be read; 0: there is none */
};

struct salvage {
	const struct wal_replay *in;
	struct wal_salvaged *out;
	struct wal_dir dir;
	struct part *parts;
	uint64_t proof; /* everything up to here was durable once */
	struct buf scratch;
};

/* The next valid frame at or after *at, which is moved behind it, or behind everything by an end. */
static bool next_frame(const uint8_t *data, size_t len, uint64_t seed, size_t *at,
		       struct wal_frame *ret_frame)
{
	for (; *at + sizeof(struct wal_frame_header) <= len; *at += WAL_ALIGN) {
		if (!wal_frame_parse(data + *at, len - *at, seed, ret_frame))
			continue;
		*at = ret_frame->kind == WAL_END ? len : *at + ret_frame->size;
		return true;
	}
	return false;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* ---- survey ---- */

static int survey_file(int dirfd, const struct wal_identity *id, const struct wal_file *file,
		       struct wal_survey *sv)
{
	CLEANUP_FREE uint8_t *data = NULL;
	uint64_t seed = wal_segment_seed(id, file->seq);
	struct wal_frame f;
	size_t len, at = WAL_FRAMES_AT;
	int r = wal_file_slurp(dirfd, file, &data, &len);
	if (r < 0)
		return r == -EUCLEAN ? 0 : r; /* longer than any segment */
	while (next_frame(data, len, seed, &at, &f))
		sv->seen_lsn = most(sv->seen_lsn, f.kind == WAL_BATCH ? f.lsn : f.durable_lsn);
	return 0;
}

int wal_survey(int dirfd, const uint8_t pool_uuid[16], struct wal_survey *ret_survey)
{
	struct wal_identity id = { 0 };
	struct wal_survey sv = { 0 };
	struct wal_dir d = { 0 };
	memcpy(id.pool_uuid, pool_uuid, sizeof id.pool_uuid);
	int r = wal_dir_list(dirfd, pool_uuid, &d);
	size_t n = wal_dir_valid(&d);
	if (r == 0)
		r = wal_dir_versions(&d);
	if (r == 0 && !n)
		r = -ENOENT;
	if (r == 0)
		memcpy(sv.wal_id, d.files[n - 1].header.wal_id, sizeof sv.wal_id);
	memcpy(id.wal_id, sv.wal_id, sizeof id.wal_id);
	for (size_t i = 0; r == 0 && i < d.n; i++) {
		const struct wal_segment_header *h = &d.files[i].header;
		bool ours = i < n && !memcmp(h->wal_id, sv.wal_id, sizeof sv.wal_id);
		if (ours && (!sv.first_lsn || h->first_lsn < sv.first_lsn))
			sv.first_lsn = h->first_lsn;
		if (ours && h->first_lsn)
			sv.seen_lsn = most(sv.seen_lsn, h->first_lsn - 1);
		r = survey_file(dirfd, &id, &d.files[i], &sv);
	}
	wal_dir_done(&d);
	if (r == 0)
		*ret_survey = sv;
	return r;
}

/* ---- salvage ---- */

static int look_into(struct salvage *s, struct part *p)
{
	CLEANUP_FREE uint8_t *data = NULL;
	uint64_t seed = wal_segment_seed(&s->in->id, p->file->seq);
	const struct wal_segment_header *h = &p->file->header;
	struct wal_frame f;
	size_t len, at = WAL_FRAMES_AT;
	int r = wal_file_slurp(s->in->dirfd, p->file, &data, &len);
	if (r < 0)
		return r == -EUCLEAN ? 0 : r; /* longer than any segment */
	if (p->file->kind == WAL_HEADER_VALID && h->first_lsn &&
	    !memcmp(h->wal_id, s->in->id.wal_id, sizeof h->wal_id))
		s->proof = most(s->proof, h->first_lsn - 1);
	while (next_frame(data, len, seed, &at, &f)) {
		s->proof = most(s->proof, f.durable_lsn);
		if (f.kind == WAL_BATCH && !p->first_lsn)
			p->first_lsn = f.lsn;
	}
	return 0;
}

static int by_first(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	return (x->first_lsn > y->first_lsn) - (x->first_lsn < y->first_lsn);
}

/* A frame behind a gap that nothing proves is left out, and so is what follows it. */
static int take_batch(struct salvage *s, const struct wal_frame *f)
{
	struct wal_salvaged *out = s->out;
	struct slice payload;
	if (f->lsn <= out->last_lsn)
		return 0;
	uint64_t missing = f->lsn - out->last_lsn - 1;
	if (missing && f->lsn - 1 > s->proof)
		return 0;
	int r = wal_frame_payload(f, &s->scratch, &payload);
	if (r == -EUCLEAN)
		return 0;
	if (r == 0)
		r = s->in->apply(s->in->arg, f->lsn, payload);
	if (r < 0)
		return r;
	if (missing && !out->lost)
		out->gap_lsn = out->last_lsn;
	out->lost += missing;
	out->last_lsn = f->lsn;
	return 0;
}

static int take_part(struct salvage *s, const struct part *p)
{
	CLEANUP_FREE uint8_t *data = NULL;
	uint64_t seed = wal_segment_seed(&s->in->id, p->file->seq);
	struct wal_frame f;
	size_t len, at = WAL_FRAMES_AT;
	int r = p->first_lsn ? wal_file_slurp(s->in->dirfd, p->file, &data, &len) : 0;
	while (data && r == 0 && next_frame(data, len, seed, &at, &f))
		if (f.kind == WAL_BATCH)
			r = take_batch(s, &f);
	return r;
}

static int take_all(struct salvage *s)
{
	int r = 0;
	s->parts = calloc(s->dir.n + 1, sizeof *s->parts);
	if (!s->parts)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < s->dir.n; i++) {
		s->parts[i].file = &s->dir.files[i];
		r = look_into(s, &s->parts[i]);
	}
	qsort(s->parts, s->dir.n, sizeof *s->parts, by_first);
	for (size_t i = 0; r == 0 && i < s->dir.n; i++)
		r = take_part(s, &s->parts[i]);
	return r;
}

int wal_salvage(const struct wal_replay *in, struct wal_salvaged *ret_salvaged)
{
	struct salvage s = { .in = in, .out = ret_salvaged };
	*ret_salvaged = (struct wal_salvaged){ .last_lsn = in->checkpoint_lsn };
	int r = wal_dir_list(in->dirfd, in->id.pool_uuid, &s.dir);
	if (r == 0)
		r = wal_dir_versions(&s.dir);
	if (r == 0)
		r = take_all(&s);
	if (!ret_salvaged->lost)
		ret_salvaged->gap_lsn = ret_salvaged->last_lsn;
	free(s.parts);
	buf_done(&s.scratch);
	wal_dir_done(&s.dir);
	return r;
}
