// SPDX-License-Identifier: MIT
#include "super.h"
#include "bytes.h"
#include "cleanup.h"
#include "digest.h"
#include "io.h"
#include "super_format.h"
#include <errno.h>

static uint64_t sum_of(const struct super_disk *d)
{
	return checksum64(d, offsetof(struct super_disk, sum));
}

static bool copy_valid(const struct super_disk *d)
{
	return le64toh(d->magic) == SUPER_MAGIC && le64toh(d->sum) == sum_of(d);
}

static int decode(const struct super_disk *d, struct super *ret_super)
{
	struct super s = {
		.version = le32toh(d->version),
		.compat = le64toh(d->compat),
		.ro_compat = le64toh(d->ro_compat),
		.incompat = le64toh(d->incompat),
		.created = (int64_t)le64toh((uint64_t)d->created),
		.chunker = { .kind = (enum chunker_kind)le32toh(d->chunker),
			     .min = le32toh(d->chunk_min),
			     .avg = le32toh(d->chunk_avg),
			     .max = le32toh(d->chunk_max) },
		.dirent_seed = le64toh(d->dirent_seed),
	};
	memcpy(s.uuid, d->uuid, sizeof s.uuid);
	memcpy(s.label, d->label, sizeof s.label);
	s.label[sizeof s.label - 1] = 0;
	int r = chunker_check(&s.chunker);
	if (s.version > SUPER_VERSION || s.incompat & ~(uint64_t)SUPER_INCOMPAT ||
	    le32toh(d->digest) != SUPER_DIGEST_BLAKE3 || r == -ENOTSUP)
		return -EPROTONOSUPPORT;
	if (s.version == 0 || r < 0)
		return -EUCLEAN;
	*ret_super = s;
	return 0;
}

/* One copy that is right will do; `ret_bad` counts the others. */
static int parse(struct slice bytes, struct super *ret_super, unsigned *ret_bad)
{
	const struct super_disk *good = NULL;
	*ret_bad = 0;
	for (size_t i = 0; i < 2; i++) {
		const struct super_disk *d = (const void *)(bytes.at + i * SUPER_COPY_SIZE);
		if (bytes.len < (i + 1) * SUPER_COPY_SIZE || !copy_valid(d))
			++*ret_bad;
		else if (!good)
			good = d;
	}
	return good ? decode(good, ret_super) : -EUCLEAN;
}

int super_parse(struct slice bytes, struct super *ret_super)
{
	unsigned bad;
	return parse(bytes, ret_super, &bad);
}

int super_read(int pool_dirfd, struct super *ret_super, bool *ret_damaged)
{
	CLEANUP_FREE void *data = NULL;
	size_t len = 0;
	unsigned bad;
	int r = io_slurp(pool_dirfd, "super", 64 * 1024, &data, &len);
	if (r < 0)
		return r == -ENOTDIR ? -ENOENT : r;
	r = parse(slice_of(data, len), ret_super, &bad);
	if (ret_damaged)
		*ret_damaged = bad > 0;
	return r;
}

int super_write(int pool_dirfd, const struct super *s)
{
	CLEANUP_FREE struct super_disk *copies = calloc(2, sizeof *copies);
	if (!copies)
		return -ENOMEM;
	copies[0] = (struct super_disk){
		.magic = htole64(SUPER_MAGIC),
		.version = htole32(s->version),
		.digest = htole32(SUPER_DIGEST_BLAKE3),
		.compat = htole64(s->compat),
		.ro_compat = htole64(s->ro_compat),
		.incompat = htole64(s->incompat),
		.created = (int64_t)htole64((uint64_t)s->created),
		.chunker = htole32(s->chunker.kind),
		.chunk_min = htole32(s->chunker.min),
		.chunk_avg = htole32(s->chunker.avg),
		.chunk_max = htole32(s->chunker.max),
		.dirent_seed = htole64(s->dirent_seed),
	};
	memcpy(copies[0].uuid, s->uuid, sizeof s->uuid);
	memcpy(copies[0].label, s->label, sizeof s->label);
	copies[0].sum = htole64(sum_of(&copies[0]));
	copies[1] = copies[0];
	return io_replace_file(pool_dirfd, "super", copies, 2 * sizeof *copies, 0600);
}
