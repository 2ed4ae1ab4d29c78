// SPDX-License-Identifier: MIT
/* The row in KV_META is the end of the block being handed out; closing gives back what is left. */
#include "ids.h"
#include "cleanup.h"
#include "rows_format.h"
#include <errno.h>
#include <stdio.h>

#define IDS_BLOCK 4096u
#define IDS_MAX ((uint64_t)INT64_MAX)

struct ids {
	struct kv *kv;
	pthread_mutex_t lock; /* of the two numbers */
	uint64_t next, reserved;
	size_t key_len;
	char key[64];
};

static int reserve_up_to(struct ids *ids, uint64_t end)
{
	uint8_t val[8];
	put_le64(val, end);
	struct kv_batch *b = kv_batch_new();
	if (!b)
		return -ENOMEM;
	kv_batch_set_reserve(b); /* cutting a file's map on a full disk may need a segment */
	kv_batch_put(b, KV_META, ids->key, ids->key_len, val, sizeof val);
	int r = kv_commit(ids->kv, b, NULL);
	if (!r)
		ids->reserved = end;
	return r;
}

int ids_open(struct kv *kv, const char *name, uint64_t first, struct ids **ret_ids)
{
	CLEANUP_BUF struct buf val = { 0 };
	CLEANUP_FREE struct ids *ids = calloc(1, sizeof *ids);
	if (!ids)
		return -ENOMEM;
	int len = snprintf(ids->key, sizeof ids->key, "%s%s", META_IDS_PREFIX, name);
	if (len < 0 || (size_t)len >= sizeof ids->key)
		return -EINVAL;
	ids->kv = kv;
	ids->key_len = (size_t)len;
	ids->next = first;
	int r = kv_get(kv, KV_META, ids->key, ids->key_len, &val);
	if (r && r != -ENOENT)
		return r;
	if (!r) {
		if (val.len != 8 || get_le64(val.data) < first || get_le64(val.data) > IDS_MAX)
			return -EUCLEAN;
		ids->next = get_le64(val.data);
	}
	ids->reserved = ids->next;
	r = -pthread_mutex_init(&ids->lock, NULL);
	if (!r)
		*ret_ids = TAKE_PTR(ids);
	return r;
}

int ids_next(struct ids *ids, uint64_t *ret_id)
{
	SCOPED_LOCK(&ids->lock);
	if (ids->next == ids->reserved) {
		if (ids->reserved > IDS_MAX - IDS_BLOCK)
			return -ENOSPC;
		int r = reserve_up_to(ids, ids->reserved + IDS_BLOCK);
		if (r)
			return r;
	}
	*ret_id = ids->next++;
	return 0;
}

int ids_take(struct ids *ids, uint64_t id)
{
	SCOPED_LOCK(&ids->lock);
	if (id >= IDS_MAX)
		return -EUCLEAN;
	int r = id < ids->reserved ? 0 : reserve_up_to(ids, id + 1);
	if (r == 0 && id >= ids->next)
		ids->next = id + 1;
	return r;
}

uint64_t ids_reserved(struct ids *ids)
{
	SCOPED_LOCK(&ids->lock);
	return ids->reserved;
}

void ids_close(struct ids *ids)
{
	if (!ids)
		return;
	/* If the engine refuses, the rest of the block is skipped, as after a crash. */
	if (ids->next != ids->reserved)
		(void)reserve_up_to(ids, ids->next);
	pthread_mutex_destroy(&ids->lock);
	free(ids);
}
