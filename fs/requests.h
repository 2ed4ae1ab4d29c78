// SPDX-License-Identifier: MIT
/* requests: how many of each kind the kernel has sent: round trips are what a FUSE filesystem's speed
 * is made of. `foldfs stats` shows them, and tests/integration/test_requests.py pins how many an
 * operation takes.
 */
#ifndef FOLDFS_REQUESTS_H
#define FOLDFS_REQUESTS_H
#include <stdatomic.h>

/* clang-format off */
#define REQUEST_KINDS(X) \
	X(lookup) X(forget) X(getattr) X(setattr) X(readlink) X(mknod) X(mkdir) X(unlink) X(rmdir) \
	X(symlink) X(rename) X(link) X(open) X(create) X(tmpfile) X(release) X(read) X(write) \
	X(fsync) X(fallocate) X(lseek) X(copy_file_range) X(opendir) X(readdir) \
	X(readdirplus) X(fsyncdir) X(statfs) X(setxattr) X(getxattr) X(listxattr) X(removexattr)
/* clang-format on */

#define REQUEST_COUNT(kind) atomic_ullong kind;
struct request_counts {
	REQUEST_KINDS(REQUEST_COUNT)
};
#undef REQUEST_COUNT

struct fuse_lowlevel_ops;
/* All entry points, each counted. */
extern const struct fuse_lowlevel_ops request_operations;
#endif
