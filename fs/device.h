// SPDX-License-Identifier: MIT
/* device: by which number the kernel knows a mount. */
#ifndef FOLDFS_DEVICE_H
#define FOLDFS_DEVICE_H
#include <stdbool.h>

/* Of the filesystem that lies on top there. No request is sent to it. */
bool device_find(const char *mountpoint, unsigned *ret_major, unsigned *ret_minor);
#endif
