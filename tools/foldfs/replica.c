// SPDX-License-Identifier: MIT
#include "replica.h"
#include "show.h"
#include <inttypes.h>
#include <stdio.h>

static void show_following(const json_t *status)
{
	char bytes[SHOW_SIZE];
	const char *error = json_string_value(json_object_get(status, "error"));
	const json_t *age = json_object_get(status, "age_s");
	printf("follows %s: shows root %" PRIu64 " of epoch %" PRIu64 ", up to LSN %" PRIu64,
	       json_string_value(json_object_get(status, "follows")), show_number(status, "root"),
	       show_number(status, "epoch"), show_number(status, "lsn"));
	if (json_is_integer(age))
		printf(", shipped %" PRIu64 " s ago", show_number(status, "age_s"));
	if (json_is_integer(json_object_get(status, "looked_s")))
		printf("; looked for a newer one %" PRIu64 " s ago",
		       show_number(status, "looked_s"));
	printf("\n%" PRIu64 " newer states since the mount, %s fetched for them\n",
	       show_number(status, "states"), show_size(show_number(status, "bytes"), bytes));
	if (error)
		printf("Trouble: %s\n", error);
}

void replica_show(const json_t *status)
{
	char bytes[SHOW_SIZE];
	const char *error = json_string_value(json_object_get(status, "error"));
	const char *place = json_string_value(json_object_get(status, "place"));
	uint64_t lsn = show_number(status, "shipped_lsn"), last = show_number(status, "last_lsn");
	if (!json_is_object(status)) {
		puts("no replica: replicate and replicate_to are not given");
		return;
	}
	if (json_object_get(status, "follows")) {
		show_following(status);
		return;
	}
	if (json_is_integer(json_object_get(status, "root")))
		printf("shipped to %s: up to LSN %" PRIu64 " of %" PRIu64 ", %" PRIu64
		       " s ago, as root %" PRIu64 " of epoch %" PRIu64 "\n",
		       place, lsn, last, show_number(status, "age_s"), show_number(status, "root"),
		       show_number(status, "epoch"));
	else
		printf("nothing has been shipped to %s since the mount\n", place);
	printf("%s in %" PRIu64 " ships since the mount, with %" PRIu64 " whole packs\n",
	       show_size(show_number(status, "bytes"), bytes), show_number(status, "ships"),
	       show_number(status, "packs"));
	if (error)
		printf("Trouble: %s\n", error);
}
