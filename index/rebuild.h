// SPDX-License-Identifier: MIT
/* rebuild: an LMDB file that grows beside the index's own and takes its place when it is whole. */
#ifndef FOLDFS_REBUILD_H
#define FOLDFS_REBUILD_H
#include "lmdb_base.h"

#define REBUILD_DIR "restore" /* in the index directory, while it grows */

struct rebuild;

/* Removes what an interrupted one left. `copy`: begins with all that the old file holds, else with
 * nothing. Nobody may have the index open. */
int rebuild_begin(int index_fd, const char *index_path, bool copy, struct rebuild **ret_rebuild);
/* Rows in any order; in key order, table by table, they make the densest file. */
int rebuild_put(struct rebuild *b, enum kv_table t, struct slice key, struct slice val);
int rebuild_delete(struct rebuild *b, enum kv_table t, struct slice key);
/* Makes everything durable and puts the file in its place, by one rename; frees, whatever the result.
 * The old file stays under another name (aside.h).
 * On failure the index is what it was, or (when only the last sync failed) may be either. */
int rebuild_finish(struct rebuild *b, const struct base_state *state);
void rebuild_abort(struct rebuild *b); /* removes what there is of it; NULL is fine */
#endif
