// SPDX-License-Identifier: MIT
/* remount: changes the flags of a live mount (ro, nosuid, ...): the kernel heeds them alone. */
#ifndef FOLDFS_REMOUNT_H
#define FOLDFS_REMOUNT_H
#include "mount_options.h"

/* 0 or -errno. foldfs' own options cannot be changed so; the caller has seen to that. */
int remount(const char *dir, const struct mount_options *options);
#endif
