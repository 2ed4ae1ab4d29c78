// SPDX-License-Identifier: MIT
/* wal_files: the log's files as they lie in their directory, in the order of the log. */
#ifndef FOLDFS_WAL_FILES_H
#define FOLDFS_WAL_FILES_H
#include "wal_segment.h"

struct wal_file {
	uint64_t seq;
	enum wal_header_kind kind;
	struct wal_segment_header header;
};

struct wal_dir {
	struct wal_file *files; /* with valid headers, by their LSNs; then the others */
	size_t n;
	uint64_t last_seq; /* the highest number in use */
};

/* -ESTALE: one of another pool; -errno. *d is to be freed in any case. */
int wal_dir_list(int dirfd, const uint8_t pool_uuid[16], struct wal_dir *d);
void wal_dir_done(struct wal_dir *d);
size_t wal_dir_valid(const struct wal_dir *d); /* so many have a valid header */
int wal_dir_versions(
	const struct wal_dir *d); /* -EPROTONOSUPPORT: there is one of a later version */

/* The whole file, to be freed; -EUCLEAN: it is longer than any segment. */
int wal_file_slurp(int dirfd, const struct wal_file *f, uint8_t **ret_data, size_t *ret_len);
#endif
