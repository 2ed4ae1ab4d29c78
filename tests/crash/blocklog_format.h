// SPDX-License-Identifier: MIT
/* blocklog_format: what a recorded block device has seen, in the order in which it saw it.
 *
 * The file is a sequence of records, each followed by its payload. A record's number is its place
 * in the file, from 0. Little-endian; scratch data of one test run, without versions.
 */
#ifndef FOLDFS_BLOCKLOG_FORMAT_H
#define FOLDFS_BLOCKLOG_FORMAT_H
#include <assert.h>
#include <stdint.h>

#define BLOCKLOG_MAGIC 0x474f4c42u

enum blocklog_kind {
	BLOCKLOG_WRITE =
		1, /* payload: the bytes; the kernel has not been told yet that it is done */
	BLOCKLOG_DONE = 2,  /* the kernel is told that write `at` is done */
	BLOCKLOG_FLUSH = 3, /* what was done before is on the medium from here on */
	BLOCKLOG_MARK = 4,  /* payload: a word from the test, "this much was acknowledged" */
};

struct blocklog_record {
	uint32_t magic;
	uint32_t kind;
	uint64_t at;	  /* byte offset of a write; number of the write that is done */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint32_t len;	  /* of the payload */
	uint32_t zero;
};
static_assert(sizeof(struct blocklog_record) == 32, "blocklog_record");
#endif
