// SPDX-License-Identifier: MIT
/* control: how `foldfs` commands reach the daemon: POOL/control, a UNIX socket.
 *
 * One request per connection: a JSON object {"command": NAME, ...} and a newline; the answers are
 * JSON objects, one a line: any number of {"progress": {...}} and one {"ok": true, ...} or
 * {"ok": false, "error": SENTENCE}. Only the pool's owner and root may connect.
 */
#ifndef FOLDFS_CONTROL_H
#define FOLDFS_CONTROL_H
#include "fs.h"

struct control;
int control_start(struct fs *fs, struct control **ret_control);
void control_stop(struct control *c); /* ends connections and removes the socket; NULL is fine */
#endif
