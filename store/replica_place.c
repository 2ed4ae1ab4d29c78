// SPDX-License-Identifier: MIT
/* What whoever ships and whoever takes over have to agree on. */
#include "cleanup.h"
#include "replica_format.h"
#include "replicator.h"
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define TIER_FOLDER "tier"

int replica_open_tier(const struct place_options *opt, bool make, struct place **ret_place,
		      char *why, size_t size)
{
	char where[512];
	struct place_options tier = *opt;
	int n = snprintf(where, sizeof where, "%s/" TIER_FOLDER, opt->where);
	if (n >= (int)sizeof where) {
		snprintf(why, size, "%s is too long", opt->where);
		return -ENAMETOOLONG;
	}
	tier.where = where;
	if (make && strncmp(where, "s3://", 5) && mkdir(where, 0700) && errno != EEXIST) {
		int r = -errno;
		snprintf(why, size, "%s cannot be made: %s", where, strerror(-r));
		return r;
	}
	return place_open(&tier, ret_place, why, size);
}

int replica_owner_write(int pool_dirfd, const uint8_t owner[16])
{
	char text[34];
	for (size_t i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", owner[i]);
	text[32] = '\n';
	return io_replace_file(pool_dirfd, REPLICA_OWNER_FILE, text, 33, 0600);
}

int replica_owner(int pool_dirfd, uint8_t ret_owner[16])
{
	CLEANUP_FREE void *data = NULL;
	uint8_t owner[16];
	size_t len;
	int r = io_slurp(pool_dirfd, REPLICA_OWNER_FILE, 64, &data, &len);
	if (r == -ENOENT) {
		if (getrandom(owner, sizeof owner, 0) != sizeof owner)
			return -EIO;
		r = replica_owner_write(pool_dirfd, owner);
	} else if (r == 0) {
		r = len == 33 ? 0 : -EUCLEAN;
		for (size_t i = 0; r == 0 && i < 16; i++)
			if (sscanf((const char *)data + 2 * i, "%2hhx", &owner[i]) != 1)
				r = -EUCLEAN;
	}
	if (r == 0)
		memcpy(ret_owner, owner, sizeof owner);
	return r;
}

/* As a word. */
void replica_host(char *host, size_t size)
{
	if (gethostname(host, size) || !*host)
		snprintf(host, size, "unknown");
	host[size - 1] = 0;
	for (char *at = host; *at; at++)
		if (*at <= ' ' || *at > '~')
			*at = '_';
}
