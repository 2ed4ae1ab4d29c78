// SPDX-License-Identifier: MIT
#include "check_impl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRESS_EVERY 65536u

static const char *const table_names[KV_TABLES] = {
	[KV_META] = "meta",
	[KV_INODE] = "inode",
	[KV_DIRENT] = "name",
	[KV_XATTR] = "attribute",
	[KV_EXTENT] = "extent",
	[KV_SEGMENT] = "segment",
	[KV_SEGREF] = "segment reference",
	[KV_CHUNK] = "chunk",
	[KV_DIGEST] = "digest",
	[KV_PACK] = "pack",
	[KV_ORPHAN] = "orphan",
	[KV_INLINE] = "inline content",
};

static void say_error(struct check *k, const char *fmt, va_list ap)
{
	char sentence[4608]; /* a path may be in it */
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	k->res.errors++;
	k->res.areas |= k->area;
	k->opt->error(k->opt->arg, sentence);
}

void check_error(struct check *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say_error(k, fmt, ap);
	va_end(ap);
}

void check_error_safe(struct check *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say_error(k, fmt, ap);
	va_end(ap);
	k->res.safe++;
}

void check_error_beside(struct check *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say_error(k, fmt, ap);
	va_end(ap);
	k->res.beside++;
}

void check_note(struct check *k, const char *fmt, ...)
{
	char sentence[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	k->res.notes++;
	if (k->opt->note)
		k->opt->note(k->opt->arg, sentence);
}

void check_absent(struct check *k, const char *fmt, ...)
{
	char sentence[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	if (k->opt->absent)
		k->opt->absent(k->opt->arg, sentence);
}

void check_progress(struct check *k, const char *what, uint64_t done, uint64_t total)
{
	if (k->opt->progress)
		k->opt->progress(k->opt->arg, what, done, total);
}

/* A key as people may search for it: its first 8 bytes as a number, the rest in hex. */
static void name_key(struct slice key, char *out, size_t size)
{
	size_t n = 0;
	if (key.len >= 8)
		n = (size_t)snprintf(out, size, "%lu%s", get_be64(key.at), key.len > 8 ? "/" : "");
	for (size_t i = key.len >= 8 ? 8 : 0; i < key.len && i < 40 && n + 3 < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%02x", key.at[i]);
	out[n] = 0;
}

int check_each(struct check *k, enum kv_table t, const char *what, check_row_fn *fn)
{
	struct kv_stats stats;
	struct slice key, val;
	char name[128];
	uint64_t n = 0;
	int r;
	kv_get_stats(k->pool->kv, &stats);
	struct kv_iter *it = kv_iter_new(k->pool->kv, t, NULL, 0, false);
	if (!it)
		return -ENOMEM;
	while ((r = kv_iter_next(it, &key, &val)) > 0 || r == -EUCLEAN) {
		if (n++ % PROGRESS_EVERY == 0) {
			check_progress(k, what, n, stats.rows[t]);
			if (k->opt->stopped && k->opt->stopped(k->opt->arg)) {
				r = -EINTR;
				break;
			}
		}
		name_key(key, name, sizeof name);
		uint64_t before = k->res.errors;
		if (r == -EUCLEAN)
			check_error(k, "the %s row %s has a wrong checksum", table_names[t], name);
		else if ((r = fn(k, key, val)) == -EUCLEAN)
			check_error(k, "the %s row %s cannot be read", table_names[t], name);
		k->res.rotten += r == -EUCLEAN && k->res.errors > before;
		if (r < 0 && r != -EUCLEAN)
			break;
	}
	kv_iter_free(it);
	return r;
}

struct check_inode *check_find_inode(struct check *k, uint64_t ino)
{
	size_t lo = 0, hi = k->n_inodes;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (k->inodes[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < k->n_inodes && k->inodes[lo].ino == ino ? &k->inodes[lo] : NULL;
}

struct check_segment *check_find_segment(struct check *k, uint64_t id)
{
	size_t lo = 0, hi = k->n_segments;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (k->segments[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < k->n_segments && k->segments[lo].id == id ? &k->segments[lo] : NULL;
}

static void check_itself(struct check *k)
{
	struct super super;
	bool damaged = false;
	if (super_read(k->pool->dirfd, &super, &damaged) == 0 && damaged)
		check_error_safe(k, "one of the two copies of the superblock is damaged");
	if (k->pool->recovery.damaged)
		check_error(k, "the log is damaged after entry %lu: what was changed later is lost",
			    k->pool->recovery.last_lsn);
	if (k->pool->recovery.torn_tail)
		check_note(k, "the log ends in an unfinished entry, as it may after a crash");
}

void check_done(struct check *k)
{
	free(k->inodes);
	free(k->segments);
	check_forget_lengths(k);
	free(k->lost);
	free(k->unstaged);
	*k = (struct check){ .pool = k->pool, .opt = k->opt };
}

int check_pool(struct pool *pool, const struct check_options *opt, struct check_result *ret_result)
{
	static int (*const parts[])(
		struct check * k) = { check_chunks, check_segments, check_inodes, check_names,
				      check_maps,   check_staging,  check_ids,	  check_tell_lost };
	struct check k = { .pool = pool, .opt = opt, .area = CHECK_AREA_POOL };
	int r = 0;
	check_itself(&k);
	for (size_t i = 0; r == 0 && i < sizeof parts / sizeof *parts; i++) {
		k.area = i ? CHECK_AREA_FILES : CHECK_AREA_CHUNKS;
		r = parts[i](&k);
	}
	*ret_result = k.res;
	check_done(&k);
	return r;
}
