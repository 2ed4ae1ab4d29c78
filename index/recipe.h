// SPDX-License-Identifier: MIT
/* recipe: the map of a file that fits its inode row, and its way to rows and back.
 *
 * Internal to index/.
 */
#ifndef FOLDFS_RECIPE_H
#define FOLDFS_RECIPE_H
#include "change.h"

uint64_t recipe_end(const struct inode_row *row);
/* Appends [from, to) to the list, with zeros for what lies beyond the recipe's end. */
int recipe_slice(const struct inode_row *row, uint64_t from, uint64_t to, struct piece_vec *l);
/* Makes these at most INODE_RECIPE_MAX pieces the file's whole map. */
int recipe_set(struct change *c, struct inode_row *row, const struct piece_vec *l);
/* Turns the recipe into rows (INODE_MAPPED), however few pieces it has. */
int recipe_to_rows(struct change *c, struct inode_row *row);
/* Turns the rows into a recipe if one can hold them. */
int recipe_from_rows(struct change *c, struct inode_row *row);
#endif
