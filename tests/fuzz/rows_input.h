// SPDX-License-Identifier: MIT
/* rows_input: rows of an index made of an input's bytes, in an engine in memory.
 *
 *   row := u8 table, u8 length of the key, le16 length of the value; key; value
 */
#ifndef FOLDFS_FUZZ_ROWS_INPUT_H
#define FOLDFS_FUZZ_ROWS_INPUT_H
#include "fake_kv.h"
#include "fuzz.h"

/* Takes rows off the input until it ends. The caller frees with fake_kv_free(). */
struct kv *input_rows(struct slice *in);
/* Appends one; and all that the engine has. */
void input_row(struct buf *b, enum kv_table t, struct slice key, struct slice val);
void input_all_rows(struct buf *b, struct kv *kv);
#endif
