// SPDX-License-Identifier: MIT
/* wal_flush: write bytes and make them durable, by system calls or by one io_uring submission. */
#ifndef FOLDFS_WAL_FLUSH_H
#define FOLDFS_WAL_FLUSH_H
#include "kv.h"

struct io_uring;

struct wal_flush {
	struct io_uring *ring; /* NULL: system calls */
};

void wal_flush_init(struct wal_flush *f, enum kv_wal_backend wanted);
void wal_flush_done(struct wal_flush *f);
const char *wal_flush_name(const struct wal_flush *f);
/* Durable on return. *ret_what names the step that failed. */
int wal_flush_write(struct wal_flush *f, int fd, struct slice bytes, uint64_t at,
		    const char **ret_what);
#endif
