// SPDX-License-Identifier: MIT
/* fake_kv: kv.h over sorted arrays in memory, for the unit tests of what lives above the engine.
 *
 * Linked before the library, it takes the engine's place. Nothing is durable; keys, values and
 * batches behave as kv.h says, from any thread.
 */
#ifndef FOLDFS_FAKE_KV_H
#define FOLDFS_FAKE_KV_H
#include "kv.h"

struct kv *fake_kv_new(void);
void fake_kv_free(struct kv *kv);
size_t fake_kv_rows(struct kv *kv, enum kv_table t);
/* Bytes of keys and values. */
size_t fake_kv_bytes(struct kv *kv, enum kv_table t);
/* Reading this row gives -EUCLEAN from now on. */
void fake_kv_damage(struct kv *kv, enum kv_table t, const void *key, size_t klen);
/* Every commit fails with this error; 0 ends it. */
void fake_kv_fail_commits(struct kv *kv, int err);
/* Lets other threads run after each get and before each commit, where a race would show. */
void fake_kv_yield(struct kv *kv);
/* How many gets, and how many iterators there were. */
void fake_kv_counts(struct kv *kv, uint64_t *ret_gets, uint64_t *ret_iters);
/* Puts or deletes (val NULL) one row. */
void fake_kv_set(struct kv *kv, enum kv_table t, const void *key, size_t klen, const void *val,
		 size_t vlen);
#endif
