// SPDX-License-Identifier: MIT
/* fuse_switch: whether the kernel's FUSE offers requests over io_uring, which the machine's administrator decides. */
#ifndef FOLDFS_FUSE_SWITCH_H
#define FOLDFS_FUSE_SWITCH_H

enum fuse_switch {
	FUSE_SWITCH_NONE, /* a kernel before 6.14, or one without it */
	FUSE_SWITCH_OFF,
	FUSE_SWITCH_ON
};

enum fuse_switch fuse_switch(void);
#endif
