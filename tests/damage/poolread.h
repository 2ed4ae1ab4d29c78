// SPDX-License-Identifier: MIT
/* poolread: everything that a pool says of its files, read without a mount and without trusting it. */
#ifndef FOLDFS_TEST_POOLREAD_H
#define FOLDFS_TEST_POOLREAD_H
#include <stdio.h>

/* Opens the pool read-only and writes a line per object:
 *   PATH KIND ATTRIBUTES SUM     PATH ! ERROR (it cannot be read)     ! SENTENCE (nor can the pool)
 * with "staged" behind a file of which bytes stand in staging, where nothing guards them. A path
 * that leads deeper than any tree that tests make ends with an error. */
void poolread(const char *pool, FILE *out);
#endif
