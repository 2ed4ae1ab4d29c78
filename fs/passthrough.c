// SPDX-License-Identifier: MIT
/* An attempt needs the connection as it is after INIT has been answered, hence a request. The probe
 * comes with the first question for the root's attributes, which precedes everything that a mount is
 * used for.
 */
#include "passthrough.h"
#include "log.h"

int passthrough_register(fuse_req_t req, int fd)
{
	struct fs *fs = fs_of(req);
	const char *none = NULL, *why = "the kernel refuses to register backing files (it wants "
					"CAP_SYS_ADMIN, and a backing filesystem that is not "
					"stacked)";
	int id = fuse_passthrough_open(req, fd);
	if (id > 0)
		return id;
	if (atomic_compare_exchange_strong(&fs->native_why_not, &none, why))
		log_warn("native mode is off for this mount: %s", why);
	return 0;
}

void passthrough_probe(fuse_req_t req)
{
	struct fs *fs = fs_of(req);
	if (atomic_load(&fs->native_why_not) || atomic_exchange(&fs->native_probed, true))
		return;
	int id = passthrough_register(req, fs->pool->lockfd);
	if (id > 0)
		fuse_passthrough_close(req, id);
}
