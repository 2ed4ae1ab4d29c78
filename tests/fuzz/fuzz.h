// SPDX-License-Identifier: MIT
/* fuzz: what every fuzz target has, and what is there to help it.
 *
 * A target is fuzz_<noun>.c with the two functions declared first. Its input is whatever bytes; it
 * brings them into the form the parser reads and *seals* them, that is, puts right the checksums that
 * a flag in the input asks for: a fuzzer never guesses one, and would see nothing of what lies behind.
 * What must hold of any input is said with must().
 *
 * Built with clang and the option `fuzz`, a target is a libFuzzer program. Otherwise it gets the
 * main() of replay.c, which runs the seeds and the inputs it is given: that is how ./check sees that
 * no input of the corpus does harm any more, and that seeds are still valid.
 */
#ifndef FOLDFS_FUZZ_H
#define FOLDFS_FUZZ_H
#include "bytes.h"
#include <stdio.h>
#include <stdlib.h>

/* True when the parser took the input to be valid. */
bool fuzz_one(struct slice in);
/* Calls fuzz_seed() for inputs that fuzz_one() finds valid. They are the corpus' first. */
void fuzz_seeds(void);
void fuzz_seed(const char *name, const void *data, size_t len);
extern void (*fuzz_take_seed)(const char *name, const void *data, size_t len);
/* The same; frees the buffer. */
void fuzz_seed_buf(const char *name, struct buf *b);

/* Unlike assert() it is always there. */
#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,          \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* What is left is shorter than asked for: the rest, and no error. Never NULL. */
struct slice take_up_to(struct slice *s, size_t len);
/* The rest as text. NUL bytes end it early. The caller frees. */
char *take_text(struct slice *s);

/* A directory of the process's own, in memory if possible, removed at exit. */
int fuzz_dirfd(void);
const char *fuzz_dir(void);
void fuzz_put_file(int dirfd, const char *name, const void *data, size_t len);
/* Removes all files in it. */
void fuzz_empty_dir(int dirfd);

/* A file in memory with these bytes. */
int fuzz_file(const void *data, size_t len);
#endif
