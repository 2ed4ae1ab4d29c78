// SPDX-License-Identifier: MIT
/* speed_dir: a directory in which files are made to be measured. Whoever works in one holds its lock (flock), so what a
 * killed bench has left is known by its being free. */
#ifndef FOLDFS_SPEED_DIR_H
#define FOLDFS_SPEED_DIR_H

#define SPEED_DIR_FILES 4000u /* f0, f1, ... */

struct speed_dir {
	char name[64];
	int parent, fd; /* the first is the caller's */
};

/* 0, or -errno: then there is none. */
int speed_dir_make(int parent, struct speed_dir *ret);
/* With what it has of "large", "small", "stored". Returns r, or what went wrong after it. */
int speed_dir_remove(struct speed_dir *d, int r);
/* Those that others of the same user have left in `parent`. What can't be removed stays. */
void speed_dir_remove_left(int parent);
#endif
