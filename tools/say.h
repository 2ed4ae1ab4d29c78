// SPDX-License-Identifier: MIT
/* say: what programs tell the person who started them. */
#ifndef FOLDFS_SAY_H
#define FOLDFS_SAY_H

struct config_option;

/* One line to stderr: the program's name and the sentence. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Adds the place where help is to be found. Returns `code`, for `return complain_usage(1, ...)`. */
int complain_usage(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of --help about an option that is given with -o. */
void say_option(const struct config_option *o);
/* Flushes stdout. `code`, or `failed` (with a complaint) when the output could not be written. */
int end_output(int code, int failed);
#endif
