// SPDX-License-Identifier: MIT
/* dump_impl: what dump.c and dump_read.c share. */
#ifndef FOLDFS_DUMP_IMPL_H
#define FOLDFS_DUMP_IMPL_H
#include "dump.h"
#include "dump_format.h"
#include <stdio.h>

#define DUMP_NAME_SIZE 32
#define DUMP_FRAME_RAW_MAX (4u << 20) /* a run of rows that reaches 256 KiB, and a row of 1 MiB */

static inline void dump_name(uint64_t generation, char ret_name[DUMP_NAME_SIZE])
{
	snprintf(ret_name, DUMP_NAME_SIZE, "dump-%016lx", generation);
}
/* In host byte order, as all is here. */
uint64_t dump_frame_sum(const struct dump_frame *f, const void *payload, uint64_t generation,
			uint64_t offset);
#endif
