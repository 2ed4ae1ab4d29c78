// SPDX-License-Identifier: MIT
/* scrubber: the thread that scrub runs on: when asked, every scrub_interval, and at the begin of a mount
 * when the last one interrupted it. */
#ifndef FOLDFS_SCRUBBER_H
#define FOLDFS_SCRUBBER_H
#include "fs.h"

int scrubber_start(struct fs *fs);
void scrubber_stop(struct fs *fs); /* interrupts a pass */
/* Begins a pass, or goes on with one that was stopped. False: one is running already. */
bool scrubber_ask(struct fs *fs);
/* Waits until none is running, for so long at most. True: one is. */
bool scrubber_wait(struct fs *fs, unsigned ms);
#endif
