// SPDX-License-Identifier: MIT
/* Calls about attributes: stat, modes, owners, times, extended attributes and ACLs. */
#include "playground.h"
#include "model.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool draw_slot(struct rng *rng, struct playground *playground, struct call *call)
{
	call->slot = playground_draw_slot(rng, playground, ~(1u << SLOT_EMPTY));
	return call->slot >= 0;
}

static void run_stat(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fstatat(side->dirfd, call->path, &out->st, call->flags));
	out->has_stat = out->ret == 0;
}

static bool draw_stat(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = rng_chance(rng, 70) ? AT_SYMLINK_NOFOLLOW : 0;
	return draw_path(rng, playground, call);
}

static void run_fstat(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fstat(side->fd[call->slot], &out->st));
	out->has_stat = out->ret == 0;
}

/* ---- mode, owner, times */

/* setgid without group execute permission: kernels and filesystems differ in when it is dropped. */
static unsigned draw_mode(struct rng *rng)
{
	unsigned mode = (unsigned)rng_below(rng, 010000);
	if (rng_chance(rng, 60))
		mode |= 0777;
	if (!rng_chance(rng, 20))
		mode &= 01777;
	return mode & 02000 ? mode | 00010 : mode;
}

static bool draw_chmod(struct rng *rng, struct playground *playground, struct call *call)
{
	call->mode = draw_mode(rng);
	return draw_path(rng, playground, call);
}

static void run_chmod(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fchmodat(side->dirfd, call->path, call->mode, 0));
}

static bool draw_fchmod(struct rng *rng, struct playground *playground, struct call *call)
{
	call->mode = draw_mode(rng);
	return draw_slot(rng, playground, call);
}

static void run_fchmod(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fchmod(side->fd[call->slot], call->mode));
}

static bool draw_chown(struct rng *rng, struct playground *playground, struct call *call)
{
	static const int ids[] = { -1, 0, 12001, 12002, 13000 };
	call->uid = rng_pick(rng, ids);
	call->gid = rng_pick(rng, ids);
	call->flags = rng_chance(rng, 50) ? AT_SYMLINK_NOFOLLOW : 0;
	if (call->uid < 0 && call->gid < 0)
		call->as = 0; /* looks like the echo of a write through another descriptor */
	return draw_path(rng, playground, call);
}

static void run_chown(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, fchownat(side->dirfd, call->path, (uid_t)call->uid, (gid_t)call->gid,
				  call->flags));
}

static struct timespec draw_time(struct rng *rng)
{
	static const int64_t seconds[] = { 0,		1,	    -1,
					   -2000000000, 1000000000, 2147483647,
					   2147483648,	4294967296, 9000000000 };
	switch (rng_below(rng, 8)) {
	case 0:
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	case 1:
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	case 2:
		return (struct timespec){ rng_pick(rng, seconds), 999999999 };
	default:
		return (struct timespec){ rng_pick(rng, seconds),
					  (long)rng_below(rng, 1000000000) };
	}
}

static bool draw_utimens(struct rng *rng, struct playground *playground, struct call *call)
{
	call->times[0] = draw_time(rng);
	call->times[1] = draw_time(rng);
	call->flags = rng_chance(rng, 50) ? AT_SYMLINK_NOFOLLOW : 0;
	return draw_path(rng, playground, call);
}

static void run_utimens(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, utimensat(side->dirfd, call->path, call->times, call->flags));
}

static bool draw_futimens(struct rng *rng, struct playground *playground, struct call *call)
{
	call->times[0] = draw_time(rng);
	call->times[1] = draw_time(rng);
	return draw_slot(rng, playground, call);
}

static void run_futimens(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, futimens(side->fd[call->slot], call->times));
}

/* ---- extended attributes, of the path's last component itself */

static const char *const xattr_names[] = {
	"user.a",     "user.b",		 "user.a.long.name.with.dots",
	"trusted.t",  "security.s",	 "user.",
	"nonsense.x", "system.nonsense", "plain"
};

static bool draw_xattr(struct rng *rng, struct playground *playground, struct call *call)
{
	size_t usual = rng_chance(rng, 92) ? 5 : sizeof xattr_names / sizeof *xattr_names;
	strcpy(call->name, xattr_names[rng_below(rng, usual)]);
	call->len = rng_chance(rng, 10) ? 0 : 1 + rng_below(rng, 120);
	call->seed = rng_next(rng) >> 1;
	call->flags = rng_chance(rng, 25) ? (int)rng_below(rng, 3) : 0;
	return draw_path(rng, playground, call);
}

static const char *full_path(const struct side *side, const struct call *call)
{
	static char path[2 * PATH_SIZE];
	snprintf(path, sizeof path, "%s/%s", side->root, call->path);
	return path;
}

static void run_setxattr(struct side *side, const struct call *call, struct outcome *out)
{
	fill_data(side->data, call->len, call->seed);
	outcome_set(out, lsetxattr(full_path(side, call), call->name, side->data, call->len,
				   call->flags));
}

static void run_getxattr(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, lgetxattr(full_path(side, call), call->name, side->data, call->len * 4));
	out->data_len = out->ret > 0 && call->len ? (size_t)out->ret : 0;
}

static void run_removexattr(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, lremovexattr(full_path(side, call), call->name));
}

static void run_listxattr(struct side *side, const struct call *call, struct outcome *out)
{
	char list[8192];
	const char *names[128];
	size_t count = 0;
	outcome_set(out, llistxattr(full_path(side, call), list, sizeof list));
	/* setfsuid() has left us CAP_SYS_ADMIN, by which some tell who may know of trusted names */
	for (int64_t at = 0; at < out->ret && count < 128; at += (int64_t)strlen(list + at) + 1)
		if (!call->as || strncmp(list + at, "trusted.", 8))
			names[count++] = list + at;
	if (call->as && out->ret > 0)
		out->ret = 0;
	side_put_names(side, names, count, out);
}

/* ---- ACLs: as the kernel wants them, now and then not */

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

static size_t draw_acl(uint64_t seed, unsigned char *data)
{
	struct rng rng = { seed };
	struct acl_entry entries[8];
	size_t n = 0;
	bool named = rng_chance(&rng, 70);
	uint32_t version = rng_chance(&rng, 97) ? 2 : 1;
	entries[n++] = (struct acl_entry){ 1, (uint16_t)rng_below(&rng, 8), ~0u };
	if (named)
		entries[n++] = (struct acl_entry){ 2, (uint16_t)rng_below(&rng, 8), 12001 };
	entries[n++] = (struct acl_entry){ 4, (uint16_t)rng_below(&rng, 8), ~0u };
	if (named && rng_chance(&rng, 50))
		entries[n++] = (struct acl_entry){ 8, (uint16_t)rng_below(&rng, 8), 13000 };
	if (named || rng_chance(&rng, 30))
		entries[n++] = (struct acl_entry){ 16, (uint16_t)rng_below(&rng, 8), ~0u };
	if (rng_chance(&rng, 97))
		entries[n++] = (struct acl_entry){ 32, (uint16_t)rng_below(&rng, 8), ~0u };
	memcpy(data, &version, sizeof version);
	memcpy(data + sizeof version, entries, n * sizeof *entries);
	return sizeof version + n * sizeof *entries;
}

static bool draw_setacl(struct rng *rng, struct playground *playground, struct call *call)
{
	call->flags = rng_chance(rng, 50);
	call->seed = rng_next(rng) >> 1;
	strcpy(call->name, call->flags ? "system.posix_acl_default" : "system.posix_acl_access");
	return draw_path(rng, playground, call);
}

static void run_setacl(struct side *side, const struct call *call, struct outcome *out)
{
	size_t len = draw_acl(call->seed, side->data);
	outcome_set(out, lsetxattr(full_path(side, call), call->name, side->data, len, 0));
}

static void run_getacl(struct side *side, const struct call *call, struct outcome *out)
{
	outcome_set(out, lgetxattr(full_path(side, call), call->name, side->data, 1024));
	out->data_len = out->ret > 0 ? (size_t)out->ret : 0;
}

#define TIMES (USES_TIMES | USES_PATH | USES_FLAGS)
#define XATTR (USES_PATH | USES_NAME)

const struct call_kind meta_calls[] = {
	{ "stat", 7, USES_PATH | USES_FLAGS, draw_stat, run_stat, NULL, NULL },
	{ "fstat", 5, USES_SLOT, draw_slot, run_fstat, NULL, NULL },
	{ "chmod", 2, USES_PATH | USES_MODE, draw_chmod, run_chmod, NULL, NULL },
	{ "fchmod", 1, USES_SLOT | USES_MODE, draw_fchmod, run_fchmod, NULL, NULL },
	{ "chown", 2, USES_PATH | USES_OWNER | USES_FLAGS, draw_chown, run_chown, NULL, NULL },
	{ "utimens", 2, TIMES, draw_utimens, run_utimens, NULL, NULL },
	{ "futimens", 1, USES_SLOT | USES_TIMES, draw_futimens, run_futimens, NULL, NULL },
	{ "setxattr", 3, XATTR | USES_LEN | USES_SEED | USES_FLAGS, draw_xattr, run_setxattr, NULL,
	  NULL },
	{ "getxattr", 3, XATTR | USES_LEN, draw_xattr, run_getxattr, NULL, NULL },
	{ "removexattr", 1, XATTR, draw_xattr, run_removexattr, NULL, NULL },
	{ "listxattr", 2, USES_PATH, draw_path, run_listxattr, NULL, NULL },
	{ "setacl", 1, XATTR | USES_SEED, draw_setacl, run_setacl, NULL, NULL },
	{ "removeacl", 1, XATTR, draw_setacl, run_removexattr, NULL, NULL },
	{ "getacl", 1, XATTR, draw_setacl, run_getacl, NULL, NULL },
	{ .name = NULL },
};
