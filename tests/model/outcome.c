// SPDX-License-Identifier: MIT
/* Times. Both sides stamp with the same clock, the reference a moment after the target. So a stamp
 * of the run itself may be later on the reference by as much as the slowest pair of calls took, and
 * must not be earlier, but for the tick by which a kernel's coarse clock lags. A stamp from outside
 * of the run was set by utimensat, and must be equal to the nanosecond. */
#include "outcome.h"
#include "playground.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define CLOCK_LAG_NS 20000000

static int64_t nanoseconds(struct timespec t)
{
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static bool same(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool times_agree(struct timespec target, struct timespec reference)
{
	if (same(target, reference))
		return true;
	if (target.tv_sec < board->started.tv_sec || reference.tv_sec < board->started.tv_sec ||
	    target.tv_sec > board->started.tv_sec + 1000000)
		return false;
	if (options.loose_times && reference.tv_sec <= time(NULL) && target.tv_sec <= time(NULL))
		return true;
	int64_t later = nanoseconds(reference) - nanoseconds(target);
	return later >= -CLOCK_LAG_NS &&
	       later <= (int64_t)atomic_load(&board->longest_pair) + CLOCK_LAG_NS;
}

static bool differ(char *why, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool differ(char *why, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return false;
}

static bool time_of_agrees(const char *what, struct timespec t, struct timespec r, char *why,
			   size_t size)
{
	return times_agree(t, r) ||
	       differ(why, size, "%s: %lld.%09ld and %lld.%09ld (slowest pair %.3f s)", what,
		      (long long)t.tv_sec, t.tv_nsec, (long long)r.tv_sec, r.tv_nsec,
		      (double)atomic_load(&board->longest_pair) / 1e9);
}

bool stats_agree(const struct stat *t, const struct stat *r, char *why, size_t size)
{
	if (t->st_mode != r->st_mode)
		return differ(why, size, "mode: %o and %o", t->st_mode, r->st_mode);
	if (t->st_uid != r->st_uid || t->st_gid != r->st_gid)
		return differ(why, size, "owner: %u:%u and %u:%u", t->st_uid, t->st_gid, r->st_uid,
			      r->st_gid);
	if (!S_ISDIR(r->st_mode) && t->st_size != r->st_size)
		return differ(why, size, "size: %lld and %lld", (long long)t->st_size,
			      (long long)r->st_size);
	if (t->st_nlink != r->st_nlink && !(S_ISDIR(r->st_mode) && t->st_nlink == 1))
		return differ(why, size, "nlink: %lu and %lu", t->st_nlink, r->st_nlink);
	if (t->st_rdev != r->st_rdev)
		return differ(why, size, "rdev: %lx and %lx", t->st_rdev, r->st_rdev);
	if (loose_has(r->st_ino))
		return true;
	return time_of_agrees("mtime", t->st_mtim, r->st_mtim, why, size) &&
	       time_of_agrees("ctime", t->st_ctim, r->st_ctim, why, size);
}

static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t len)
{
	size_t i = 0;
	while (i < len && a[i] == b[i])
		i++;
	return i;
}

bool outcomes_agree(struct playground *playground, const struct call *call,
		    const struct outcome out[SIDES], char *why, size_t size)
{
	(void)call;
	const struct outcome *t = &out[TARGET], *r = &out[REFERENCE];
	if (t->ret != r->ret || t->err != r->err)
		return differ(why, size, "results");
	if (t->data_len != r->data_len)
		return differ(why, size, "lengths: %zu and %zu", t->data_len, r->data_len);
	size_t at = first_difference(playground->side[TARGET].data,
				     playground->side[REFERENCE].data, t->data_len);
	if (at < t->data_len)
		return differ(why, size, "bytes from %zu of %zu: %02x and %02x", at, t->data_len,
			      playground->side[TARGET].data[at],
			      playground->side[REFERENCE].data[at]);
	return !t->has_stat || stats_agree(&t->st, &r->st, why, size);
}

void outcome_text(const struct outcome *out, char *text, size_t size)
{
	const char *name = out->err == SIGBUS_ERR ? "SIGBUS" : strerrorname_np(out->err);
	if (out->err)
		snprintf(text, size, "%lld %s", (long long)out->ret, name ? name : "?");
	else
		snprintf(text, size, "%lld", (long long)out->ret);
}

static void add(char *text, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text + used, size - used, fmt, ap);
	va_end(ap);
}

static void add_path(char *text, size_t size, const char *path)
{
	for (const char *p = path; *p; p++)
		add(text, size, (*p > ' ' && *p < 127) || *p == ' ' ? "%c" : "\\x%02x",
		    (unsigned char)*p);
	add(text, size, ", ");
}

void call_text(const struct call *c, char *text, size_t size)
{
	unsigned uses = c->kind->uses;
	snprintf(text, size, "%s(", c->kind->name);
	if (uses & USES_PATH)
		add_path(text, size, c->path);
	if (uses & USES_PATH2)
		add_path(text, size, c->path2);
	if (uses & USES_NAME)
		add_path(text, size, c->name);
	struct {
		unsigned use;
		const char *name;
		int64_t value;
	} numbers[] = {
		{ USES_SLOT, "slot", c->slot },	      { USES_SLOT2, "slot2", c->slot2 },
		{ USES_MAP, "map", c->map },	      { USES_WHENCE, "whence", c->whence },
		{ USES_OWNER, "uid", c->uid },	      { USES_OWNER, "gid", c->gid },
		{ USES_OFF, "off", c->off },	      { USES_OFF2, "off2", c->off2 },
		{ USES_LEN, "len", (int64_t)c->len }, { USES_SEED, "seed", (int64_t)c->seed },
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (uses & numbers[i].use)
			add(text, size, "%s=%lld, ", numbers[i].name, (long long)numbers[i].value);
	if (uses & USES_FLAGS)
		add(text, size, "flags=%#x, ", (unsigned)c->flags);
	if (uses & USES_MODE)
		add(text, size, "mode=%#o, ", c->mode);
	if (uses & USES_UMASK)
		add(text, size, "umask=%#o, ", c->umask);
	if (uses & USES_TIMES)
		add(text, size, "mtime=%lld.%ld, ", (long long)c->times[1].tv_sec,
		    c->times[1].tv_nsec);
	size_t used = strlen(text);
	if (used > 2 && text[used - 2] == ',')
		text[used - 2] = 0;
	add(text, size, c->as ? ") as %d" : ")", c->as);
}
