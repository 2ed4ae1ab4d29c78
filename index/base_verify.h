// SPDX-License-Identifier: MIT
/* base_verify: is LMDB's file as LMDB and we wrote it? */
#ifndef FOLDFS_BASE_VERIFY_H
#define FOLDFS_BASE_VERIFY_H
#include <stddef.h>

/* Reads all of index/data.mdb that is in use, by its own reader: nothing in the file can make it
 * crash or loop. 0: every page is where it belongs, once, in order, no page is both used and free,
 * every row's checksum is right. -EUCLEAN and a clause for people in `why` otherwise; -ENOENT: there
 * is no file; -errno. Nobody may be writing. Takes a bit of memory per page. */
int base_verify(int index_fd, char *why, size_t size);
/* The same but for the checksums of tables' rows: LMDB can read the file, and each row can be judged by
 * itself. */
int base_verify_pages(int index_fd, char *why, size_t size);
#endif
