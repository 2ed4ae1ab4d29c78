// SPDX-License-Identifier: MIT
/* passthrough: files that the kernel reads and writes itself, which is what native mode is made of.
 * Whether it can, only the attempt tells; the first that fails ends native mode for this mount.
 */
#ifndef FOLDFS_PASSTHROUGH_H
#define FOLDFS_PASSTHROUGH_H
#include "ops.h"

/* Registers the open file with the kernel. An id above 0 for fuse_file_info.backing_id, to be given
 * back by fuse_passthrough_close(); 0: it refuses, and fs->native_why_not says so. */
int passthrough_register(fuse_req_t req, int fd);
/* The same once per mount with the pool's lock file, so that what stats say is true before anybody
 * opens a file. Cheap when it has been done. */
void passthrough_probe(fuse_req_t req);
#endif
