// SPDX-License-Identifier: MIT
/* show: the daemon's answers for people. */
#ifndef FOLDFS_SHOW_H
#define FOLDFS_SHOW_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void show_json(const json_t *tree);
void show_df(const json_t *df);
void show_stats(const json_t *stats);
void show_du(const json_t *list);	/* objects that have "path", too */
void show_du_media(const json_t *list); /* and "media" */
void show_gc(const json_t *result);
void show_scrub(const json_t *result);
bool show_is_damaged(const json_t *scrub); /* found by the last pass, or there now */

/* "1.5 GiB"; `out` is returned. */
#define SHOW_SIZE 32
const char *show_size(uint64_t bytes, char out[SHOW_SIZE]);
/* A number of a JSON object; 0 when it has none. */
uint64_t show_number(const json_t *o, const char *name);
#endif
