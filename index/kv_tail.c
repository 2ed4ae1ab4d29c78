// SPDX-License-Identifier: MIT
/* The log's files are read while they are being written: up to what was durable before the first look,
 * so all of it lies in files, and whatever follows is none of our business. Files that are trimmed meanwhile
 * are gone, and then the caller's place in the log is, too.
 */
#include "cleanup.h"
#include "kv_internal.h"
#include "wal_files.h"
#include <errno.h>

#define LIST_TRIES 8u

struct tail {
	struct kv *kv;
	struct wal_identity id;
	uint64_t next, end; /* LSNs: the one that comes, the last that is wanted */
	uint64_t after;
	int (*fn)(void *arg, uint64_t lsn, struct slice payload);
	void *arg;
	struct buf scratch;
};

static int give(struct tail *t, const struct wal_frame *f)
{
	struct slice payload;
	if (f->lsn <= t->after)
		return 0;
	int r = wal_frame_payload(f, &t->scratch, &payload);
	return r < 0 ? r : t->fn(t->arg, f->lsn, payload);
}

static int read_file(struct tail *t, const struct wal_file *file)
{
	CLEANUP_FREE uint8_t *data = NULL;
	uint64_t seed = wal_segment_seed(&t->id, file->seq);
	struct wal_frame f;
	size_t len;
	int r = wal_file_slurp(t->kv->opt.wal_dirfd, file, &data, &len);
	for (size_t at = WAL_FRAMES_AT; r == 0 && at < len && t->next <= t->end; at += f.size) {
		if (!wal_frame_parse(data + at, len - at, seed, &f) || f.kind == WAL_END)
			break;
		if (f.kind != WAL_BATCH)
			continue;
		if (f.lsn != t->next)
			return -EUCLEAN;
		r = give(t, &f);
		t->next += r == 0;
	}
	return r == -ENOENT ? -ENODATA : r;
}

/* Files are in log order. A log that was given up may lie beside this one for a moment. */
static int read_files(struct tail *t, const struct wal_dir *d)
{
	size_t n = wal_dir_valid(d), first = n;
	int r = 0;
	for (size_t i = 0; i < n; i++)
		if (!memcmp(d->files[i].header.wal_id, t->id.wal_id, sizeof t->id.wal_id) &&
		    d->files[i].header.first_lsn <= t->after + 1)
			first = i;
	if (first == n)
		return -ENODATA;
	t->next = d->files[first].header.first_lsn;
	for (size_t i = first; i < n && r == 0 && t->next <= t->end; i++)
		r = d->files[i].header.first_lsn == t->next ? read_file(t, &d->files[i]) : -ENODATA;
	return r == 0 && t->next <= t->end ? -ENODATA : r;
}

/* A file may be trimmed between its name and its header. */
static int list_files(struct tail *t, struct wal_dir *d)
{
	int r = -ENOENT;
	for (unsigned i = 0; i < LIST_TRIES && r == -ENOENT; i++) {
		wal_dir_done(d);
		r = wal_dir_list(t->kv->opt.wal_dirfd, t->id.pool_uuid, d);
	}
	return r;
}

int kv_tail(struct kv *kv, uint64_t after, int (*fn)(void *arg, uint64_t lsn, struct slice payload),
	    void *arg, uint64_t *ret_last)
{
	struct tail t = {
		.kv = kv, .after = after, .end = kv_durable_lsn(kv), .fn = fn, .arg = arg
	};
	struct wal_dir d = { 0 };
	int r = 0;
	memcpy(t.id.pool_uuid, kv->opt.pool_uuid, sizeof t.id.pool_uuid);
	pthread_mutex_lock(&kv->lock);
	memcpy(t.id.wal_id, kv->state.wal_id, sizeof t.id.wal_id);
	pthread_mutex_unlock(&kv->lock);
	if (after > t.end)
		return -ENODATA;
	if (after < t.end)
		r = list_files(&t, &d);
	if (r == 0 && after < t.end)
		r = read_files(&t, &d);
	wal_dir_done(&d);
	buf_done(&t.scratch);
	if (r == 0)
		*ret_last = t.end;
	return r == -ENOENT ? -ENODATA : r;
}
