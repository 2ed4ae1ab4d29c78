// SPDX-License-Identifier: MIT
/* Pack ids are dense, so this is an array in pages that are made when needed. Numbers beyond what
 * it holds are those of a pool of a million terabytes, or damaged: their packs count as never read.
 *
 * Bytes read are counted in units of 4 KiB.
 */
#include "access.h"
#include "cleanup.h"
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#define PAGES 65536u
#define UNIT 4096u
#define SAVE_STEP_S 60u /* a row is not worth writing for less */

struct page {
	atomic_uint when[ACCESS_PER_ROW], units[ACCESS_PER_ROW];
	uint32_t saved[ACCESS_PER_ROW]; /* by who saves: one thread */
};

struct access {
	struct kv *kv;
	struct page *_Atomic pages[PAGES];
};

static struct page *page_of(struct access *a, uint64_t pack, bool make)
{
	uint64_t i = pack / ACCESS_PER_ROW;
	struct page *page = i < PAGES ? atomic_load(&a->pages[i]) : NULL;
	if (page || !make || i >= PAGES)
		return page;
	struct page *fresh = calloc(1, sizeof *fresh);
	if (fresh && !atomic_compare_exchange_strong(&a->pages[i], &page, fresh)) {
		free(fresh);
		return page;
	}
	return fresh;
}

static void take_row(struct access *a, uint64_t i, struct slice val)
{
	struct page *page =
		val.len == 4 * ACCESS_PER_ROW ? page_of(a, i * ACCESS_PER_ROW, true) : NULL;
	for (unsigned k = 0; page && k < ACCESS_PER_ROW; k++) {
		page->saved[k] = get_le32(val.at + 4 * k);
		atomic_store(&page->when[k], page->saved[k]);
	}
}

static int load(struct access *a)
{
	static const size_t prefix = sizeof ACCESS_KEY - 1;
	struct kv_iter *it = kv_iter_new(a->kv, KV_META, ACCESS_KEY, prefix, false);
	struct slice key, val;
	int r = it ? 0 : -ENOMEM, more;
	while (r == 0 && (more = kv_iter_next(it, &key, &val)) != 0) {
		if (key.len < prefix || memcmp(key.at, ACCESS_KEY, prefix))
			break;
		if (more > 0 && key.len == prefix + 8)
			take_row(a, get_be64(key.at + prefix), val);
		r = more < 0 && more != -EUCLEAN ? more : 0;
	}
	kv_iter_free(it);
	return r;
}

int access_open(struct kv *kv, struct access **ret_a)
{
	struct access *a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->kv = kv;
	int r = load(a);
	if (r < 0) {
		access_close(a);
		return r;
	}
	*ret_a = a;
	return 0;
}

void access_close(struct access *a)
{
	for (size_t i = 0; a && i < PAGES; i++)
		free(atomic_load(&a->pages[i]));
	free(a);
}

void access_note(struct access *a, uint64_t pack, uint32_t bytes)
{
	struct timespec now;
	struct page *page = page_of(a, pack, true);
	if (!page || clock_gettime(CLOCK_REALTIME_COARSE, &now))
		return;
	atomic_uint *when = &page->when[pack % ACCESS_PER_ROW];
	if (atomic_load_explicit(when, memory_order_relaxed) != (unsigned)now.tv_sec)
		atomic_store_explicit(when, (unsigned)now.tv_sec, memory_order_relaxed);
	atomic_fetch_add_explicit(&page->units[pack % ACCESS_PER_ROW], (bytes + UNIT - 1) / UNIT,
				  memory_order_relaxed);
}

int64_t access_time(struct access *a, uint64_t pack)
{
	struct page *page = page_of(a, pack, false);
	return page ? atomic_load(&page->when[pack % ACCESS_PER_ROW]) : 0;
}

void access_set(struct access *a, uint64_t pack, int64_t when)
{
	struct page *page = page_of(a, pack, true);
	if (page && when > atomic_load(&page->when[pack % ACCESS_PER_ROW]))
		atomic_store(&page->when[pack % ACCESS_PER_ROW], (unsigned)when);
}

uint64_t access_bytes(struct access *a, uint64_t pack)
{
	struct page *page = page_of(a, pack, false);
	return page ? (uint64_t)atomic_load(&page->units[pack % ACCESS_PER_ROW]) * UNIT : 0;
}

void access_fade(struct access *a)
{
	for (size_t i = 0; i < PAGES; i++) {
		struct page *page = atomic_load(&a->pages[i]);
		for (unsigned k = 0; page && k < ACCESS_PER_ROW; k++)
			atomic_store(&page->units[k], atomic_load(&page->units[k]) / 2);
	}
}

static bool is_due(struct page *page)
{
	for (unsigned k = 0; k < ACCESS_PER_ROW; k++)
		if (atomic_load(&page->when[k]) > page->saved[k] + SAVE_STEP_S)
			return true;
	return false;
}

int access_save(struct access *a)
{
	struct kv_batch *batch = kv_batch_new();
	if (!batch)
		return -ENOMEM;
	for (size_t i = 0; i < PAGES; i++) {
		uint8_t key[sizeof ACCESS_KEY - 1 + 8], val[4 * ACCESS_PER_ROW];
		struct page *page = atomic_load(&a->pages[i]);
		if (!page || !is_due(page))
			continue;
		for (unsigned k = 0; k < ACCESS_PER_ROW; k++) {
			page->saved[k] = atomic_load(&page->when[k]);
			put_le32(val + 4 * k, page->saved[k]);
		}
		memcpy(key, ACCESS_KEY, sizeof ACCESS_KEY - 1);
		put_be64(key + sizeof ACCESS_KEY - 1, i);
		kv_batch_put(batch, KV_META, key, sizeof key, val, sizeof val);
	}
	if (!kv_batch_empty(batch))
		return kv_commit(a->kv, batch, NULL);
	kv_batch_free(batch);
	return 0;
}
