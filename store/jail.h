// SPDX-License-Identifier: MIT
/* jail: what a process gives up before it looks at bytes of strangers. */
#ifndef FOLDFS_JAIL_H
#define FOLDFS_JAIL_H
#include <stdint.h>

#define JAIL_IN 3  /* may be read from, with pread */
#define JAIL_OUT 4 /* may be written to */

/* Root's rights, and the way to new ones. 0 or -errno. */
int jail_drop_rights(void);
/* Memory, processor time and, by a timer, time as such; what goes beyond is killed. 0 or -errno. */
int jail_limit(uint64_t memory_bytes, unsigned seconds);
/* From now on any other system call kills the process. -ENOSYS: this machine has no such filter. */
int jail_close(void);
#endif
