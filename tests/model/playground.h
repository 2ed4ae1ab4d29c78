// SPDX-License-Identifier: MIT
/* playground: one directory on both sides, with what is open and mapped in it. */
#ifndef FOLDFS_PLAYGROUND_H
#define FOLDFS_PLAYGROUND_H
#include "model.h"

/* Opens (and makes, if need be) ROOT/NAME on both sides. Ends the process on failure. */
struct playground *playground_open(const char *name);
/* Closes every slot and mapping and frees the playground. */
void playground_close(struct playground *playground);

/* Draws a path: often one that was there a moment ago, else any of a small world of names. */
void playground_draw_path(struct rng *rng, struct playground *playground, char path[PATH_SIZE]);
/* The same, never a recent one. */
void playground_draw_new_path(struct rng *rng, char path[PATH_SIZE]);
/* As the whole of a call's draw function: into call->path. */
bool draw_path(struct rng *rng, struct playground *playground, struct call *call);
void playground_remember(struct playground *playground, const char *path);

/* A slot of the given kinds (a mask of 1 << enum slot_kind), or -1. */
int playground_draw_slot(struct rng *rng, const struct playground *playground, unsigned kinds);
int playground_draw_map(struct rng *rng, const struct playground *playground, bool used);

/* An offset that matters for the file in the slot (-1: no file): its end, a page, any, far away. */
int64_t playground_draw_offset(struct rng *rng, const struct playground *playground, int slot);
uint64_t draw_length(struct rng *rng);

/* Empties a slot or a mapping on one side; nothing happens if it is empty. */
int side_close_slot(struct side *side, int slot);
void side_unmap(struct side *side, int map, uint64_t len);

/* LEN bytes that SEED stands for: zeros, repeats, blocks that recur, or noise. */
void fill_data(unsigned char *data, size_t len, uint64_t seed);

/* Sorts the names and puts them, NUL-terminated, into the outcome's data. */
void side_put_names(struct side *side, const char **names, size_t count, struct outcome *out);

/* Marks the inode's times as unsure (it was stored to through a mapping), and asks for the mark. */
void loose_add(uint64_t ino);
bool loose_has(uint64_t ino);
#endif
