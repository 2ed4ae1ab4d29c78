// SPDX-License-Identifier: MIT
/* ids: numbers that are never handed out twice, across crashes too.
 *
 * Each sequence (inode, segment, staging generation, pack) reserves blocks in KV_META with ordinary
 * batches. A batch that uses an id is committed after the one that reserved its block, so log order
 * is enough; what a crash leaves of a block is skipped. Chunk ids are not here: they follow from
 * the packs (packer.c).
 */
#ifndef FOLDFS_IDS_H
#define FOLDFS_IDS_H
#include "kv.h"

struct ids;

int ids_open(struct kv *kv, const char *name, uint64_t first, struct ids **ret_ids);
int ids_next(struct ids *ids, uint64_t *ret_id);
/* This id was found in use, its reservation lost in a crash: it and those below are not handed out. A
 * batch that names it comes after this. -EUCLEAN: no id at all. */
int ids_take(struct ids *ids, uint64_t id);
/* Ids below this may have been used. */
uint64_t ids_reserved(struct ids *ids);
void ids_close(struct ids *ids);
#endif
