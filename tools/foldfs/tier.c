// SPDX-License-Identifier: MIT
#include "tier.h"
#include "client.h"
#include "pool.h"
#include "say.h"
#include "show.h"
#include "tier_status.h"
#include "tier_wishes.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static json_t *unmounted_status(const char *path)
{
	struct pool_error err = { 0 };
	struct pool *pool = NULL;
	json_t *status = NULL;
	if (pool_open(path, NULL, true, 0, &pool, &err) < 0) {
		complain("%s", err.text);
		return NULL;
	}
	int r = tier_status(pool, &status);
	if (r < 0)
		complain("%s: its packs could not be counted: %s", path, strerror(-r));
	pool_close(pool);
	return status;
}

static void show_tier(const json_t *t)
{
	char bytes[SHOW_SIZE], avail[SHOW_SIZE];
	bool limited = json_is_integer(json_object_get(t, "available"));
	const json_t *absent = json_object_get(t, "absent");
	printf("%-12s %10s in %" PRIu64 " packs", json_string_value(json_object_get(t, "name")),
	       show_size(show_number(t, "bytes"), bytes), show_number(t, "packs"));
	if (show_number(t, "age_s"))
		printf(", after %" PRIu64 " s without a read", show_number(t, "age_s"));
	if (show_number(t, "level"))
		printf(", zstd %" PRIu64, show_number(t, "level"));
	if (json_is_string(absent))
		printf("; absent: %s\n", json_string_value(absent));
	else
		printf("; %s%s%s%s\n", limited ? show_size(show_number(t, "available"), avail) : "",
		       limited ? " free in " : "in ",
		       json_string_value(json_object_get(t, "place")),
		       json_is_true(json_object_get(t, "declared"))
			       ? ""
			       : " (not declared in foldfs.conf: nothing moves there)");
}

static void show_mover(const json_t *m)
{
	char moved[SHOW_SIZE], waiting[SHOW_SIZE];
	const char *error = json_string_value(json_object_get(m, "error"));
	printf("\n%s moved since the mount, in %" PRIu64 " packs; %s to move now\n",
	       show_size(show_number(m, "bytes_moved"), moved), show_number(m, "packs_moved"),
	       show_size(show_number(m, "bytes_waiting"), waiting));
	if (error)
		printf("Trouble: %s\n", error);
}

int tier_show_status(const char *pool, bool json)
{
	json_t *status = NULL, *tier;
	size_t i;
	enum client_end e =
		client_ask(pool, json_pack("{s:s, s:s}", "command", "tier", "action", "status"),
			   NULL, &status);
	if (e == CLIENT_NOBODY)
		status = unmounted_status(pool);
	if (!status)
		return -1;
	if (json) {
		show_json(status);
	} else {
		json_array_foreach(json_object_get(status, "tiers"), i, tier) show_tier(tier);
		if (json_is_object(json_object_get(status, "mover")))
			show_mover(json_object_get(status, "mover"));
	}
	json_decref(status);
	return 0;
}

int tier_pin(char **paths, int n)
{
	for (int i = 0; i < n; i++)
		if (lsetxattr(paths[i], TIER_XATTR, "pin", 3, 0)) {
			complain("%s cannot be pinned: %s", paths[i], strerror(errno));
			return -1;
		}
	return 0;
}

int tier_unpin(char **paths, int n)
{
	char value[CONFIG_TIER_NAME] = "";
	for (int i = 0; i < n; i++) {
		ssize_t len = lgetxattr(paths[i], TIER_XATTR, value, sizeof value - 1);
		bool pinned = len == 3 && !memcmp(value, "pin", 3);
		if (len < 0 && errno == ENODATA) {
			complain("%s is not pinned itself; perhaps a directory above it is",
				 paths[i]);
			return -1;
		}
		if (len >= 0 && !pinned) {
			complain("%s is not pinned: its %s is another", paths[i], TIER_XATTR);
			return -1;
		}
		if (len < 0 || lremovexattr(paths[i], TIER_XATTR)) {
			complain("%s cannot be unpinned: %s", paths[i], strerror(errno));
			return -1;
		}
	}
	return 0;
}

void tier_show_moved(const json_t *r)
{
	char moved[SHOW_SIZE], shared[SHOW_SIZE];
	printf("Moved %s in %" PRIu64 " packs\n", show_size(show_number(r, "bytes_moved"), moved),
	       show_number(r, "packs_moved"));
	if (show_number(r, "packs_shared"))
		printf("Left %s in %" PRIu64 " packs, most of which is other files'\n",
		       show_size(show_number(r, "bytes_shared"), shared),
		       show_number(r, "packs_shared"));
}

bool tier_complain(const json_t *r, const char *pool)
{
	uint64_t failed = show_number(r, "packs_failed");
	if (failed)
		complain("%s: %" PRIu64 " packs could not be moved: %s", pool, failed,
			 json_string_value(json_object_get(r, "error")));
	return failed;
}
