// SPDX-License-Identifier: MIT
#include "sabotage.h"
#include <string.h>

static void other_bytes(struct call *call)
{
	call->seed ^= 1 << 16 | 7;
}

static void one_further(struct call *call)
{
	call->off++;
}

static void page_further(struct call *call)
{
	call->off += 4096;
}

static void other_mode(struct call *call)
{
	call->mode ^= 0100;
}

static void other_owner(struct call *call)
{
	call->gid = call->gid == 13000 ? 0 : 13000;
}

static void one_nanosecond(struct call *call)
{
	if (call->times[1].tv_nsec < 999999999)
		call->times[1].tv_nsec++;
}

static const struct breakage {
	const char *name, *kind;
	void (*alter)(struct call *call); /* NULL: the call is lost */
} breakages[] = {
	{ "pwrite", "pwrite", other_bytes },
	{ "lost-write", "write", NULL },
	{ "truncate", "ftruncate", one_further },
	{ "punch", "fallocate", page_further },
	{ "copy", "copy_file_range", one_further },
	{ "chmod", "chmod", other_mode },
	{ "chown", "chown", other_owner },
	{ "utimens", "utimens", one_nanosecond },
	{ "setxattr", "setxattr", other_bytes },
	{ "lost-removexattr", "removexattr", NULL },
	{ "setacl", "setacl", other_bytes },
	{ "lost-unlink", "unlink", NULL },
	{ "lost-rename", "rename", NULL },
	{ "lost-mkdir", "mkdir", NULL },
	{ "store", "store", other_bytes },
	{ "lost-flock", "flock", NULL },
	{ "seek", "seek", one_further },
	{ "lost-link", "link", NULL },
};

bool sabotage(struct call *call, uint64_t step)
{
	if (!options.sabotage || step < 100)
		return false;
	for (size_t i = 0; i < sizeof breakages / sizeof *breakages; i++) {
		const struct breakage *b = &breakages[i];
		if (strcmp(b->name, options.sabotage) != 0 ||
		    strcmp(b->kind, call->kind->name) != 0)
			continue;
		if (b->alter)
			b->alter(call);
		return !b->alter;
	}
	return false;
}

void sabotage_list(FILE *out)
{
	for (size_t i = 0; i < sizeof breakages / sizeof *breakages; i++)
		fprintf(out, "%s\n", breakages[i].name);
}
