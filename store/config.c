// SPDX-License-Identifier: MIT
/* Ranges and defaults stand in the table as the texts that users read, and are parsed when needed:
 * what the manual says is what the code does. `a|b|c` is a choice, stored as its position unless
 * `values` says otherwise; `min..max` a range in the option's own unit.
 */
#include "config.h"
#include "cleanup.h"
#include "io.h"
#include "kv.h"
#include "log.h"
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <strings.h>

#define CONF_FILE_MAX (1u << 20)
#define FIELD(f) offsetof(struct config, f), sizeof(((struct config *)0)->f)

enum { ALL = CONFIG_POOL | CONFIG_MOUNT };

struct option {
	struct config_option pub;
	size_t at, size;
	const int *values; /* of choices */
	unsigned divide;   /* the field's unit in the parser's: 1000 for times kept in seconds */
};

static const int log_levels[] = { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
				  LOG_LEVEL_DEBUG };
static const int chunkers[] = { CHUNKER_FASTCDC, CHUNKER_MINCDC };

/* clang-format off */
static const struct option table[] = {
	{ { "mode", "choice", "auto|native|mediated", "auto",
	    "who reads and writes: the kernel straight in the staging file (native) or the daemon; "
	    "auto takes native where the kernel and the privileges allow it", ALL }, FIELD(mode), NULL, 1 },
	{ { "destage_delay", "time", "0..7d", "5s",
	    "how long after its last close a staged file waits to be deduplicated", ALL },
	  FIELD(destage_delay_ms), NULL, 1 },
	{ { "staging_limit", "size", "0..16384T", "0",
	    "staged bytes past which writers wait for destage; 0 takes a quarter of the backing filesystem",
	    ALL }, FIELD(staging_limit), NULL, 1 },
	{ { "materialise_limit", "size", "0..16384T", "4G",
	    "bytes of copies for the kernel of files that are read again and again; 0 makes none; if "
	    "not given, at most 5 % of the backing filesystem", ALL }, FIELD(materialise_limit), NULL, 1 },
	{ { "materialise_min", "size", "1..16384T", "256K",
	    "files that are smaller get no such copy", ALL }, FIELD(materialise_min), NULL, 1 },
	{ { "materialise_after", "number", "1..1000", "3",
	    "times a file is opened to be read before it gets such a copy", ALL },
	  FIELD(materialise_after), NULL, 1 },
	{ { "materialise_rate", "size", "0..1T", "128M",
	    "bytes per second that are copied at most; 0 is no limit", ALL },
	  FIELD(materialise_rate), NULL, 1 },
	{ { "memory_limit", "size", "1M..64G", "64M",
	    "bytes of small files that may be held in memory before they are written down", ALL },
	  FIELD(memory_limit), NULL, 1 },
	{ { "small_file", "size", "0..960K", "128K",
	    "new files up to this size stay in memory until they are destaged", ALL },
	  FIELD(small_file), NULL, 1 },
	{ { "wal_sync_interval", "time", "10ms..1h", "1s",
	    "names, and content held in memory, become durable after at most this time", ALL },
	  FIELD(wal_sync_interval_ms), NULL, 1 },
	{ { "wal", "choice", "standard|io_uring", "standard",
	    "how the log is written; io_uring falls back to standard where the kernel refuses it", ALL },
	  FIELD(wal_backend), NULL, 1 },
	{ { "wal_dir", "path", "", "",
	    "directory of the log, to put it on another device; empty means POOL/wal", ALL },
	  FIELD(wal_dir), NULL, 1 },
	{ { "zstd_level", "number", "0..19", "3",
	    "compression level of new data; 0 stores it as it is", ALL }, FIELD(zstd_level), NULL, 1 },
	{ { "idle_level", "number", "0..22", "0",
	    "compression level that packs get while the machine has nothing else to do; 0 is never", ALL },
	  FIELD(idle_level), NULL, 1 },
	{ { "idle_age", "time", "0..3650d", "1h",
	    "younger packs are not compressed anew", ALL }, FIELD(idle_age_s), NULL, 1000 },
	{ { "idle_load", "percent", "1..100", "25%",
	    "what others may take of all processors' time while that is done", ALL },
	  FIELD(idle_load), NULL, 1 },
	{ { "pack_size", "size", "4M..2G", "128M", "size at which a pack file is sealed", ALL },
	  FIELD(pack_size), NULL, 1 },
	{ { "verify_age", "time", "0..3650d", "30d",
	    "a duplicate of data verified longer ago than this is read and compared first", ALL },
	  FIELD(verify_age_s), NULL, 1000 },
	{ { "cache_size", "size", "0..1T", "256M",
	    "size of the block cache, a file that is kept over remounts", ALL },
	  FIELD(cache_size), NULL, 1 },
	{ { "cache_huge_pages", "flag", "", "no",
	    "ask the kernel for huge pages for the block cache", ALL },
	  FIELD(cache_huge_pages), NULL, 1 },
	{ { "cache_numa", "choice", "local|interleave", "local",
	    "memory of the block cache is taken from the node of the thread that fills it, or from all "
	    "nodes in turn", ALL }, FIELD(cache_numa), NULL, 1 },
	{ { "reserve_size", "size", "0..16G", "64M",
	    "space held back so that deleting works on a full disk", ALL }, FIELD(reserve_size), NULL, 1 },
	{ { "workers", "number", "0..256", "0",
	    "threads that cut, hash and compress; 0 takes one per core", ALL }, FIELD(workers), NULL, 1 },
	{ { "gc_min_live", "percent", "1..100", "75%",
	    "packs with a smaller share of live data are rewritten", ALL },
	  FIELD(gc_min_live), NULL, 1 },
	{ { "gc_rate", "size", "0..1T", "64M",
	    "bytes per second that garbage collection rewrites at most; 0 is no limit", ALL },
	  FIELD(gc_rate), NULL, 1 },
	{ { "gc_interval", "time", "0..30d", "10m",
	    "how often garbage is collected when something was deleted; 0 is never", ALL },
	  FIELD(gc_interval_s), NULL, 1000 },
	{ { "dump_interval", "time", "1s..30d", "5m",
	    "how often the index is dumped for repair, if anything changed", ALL },
	  FIELD(dump_interval_s), NULL, 1000 },
	{ { "scrub_rate", "size", "0..1T", "0",
	    "bytes per second that scrub reads at most; 0 is no limit", ALL },
	  FIELD(scrub_rate), NULL, 1 },
	{ { "scrub_interval", "time", "0..3650d", "0",
	    "how often everything stored is read and verified; 0 is never", ALL },
	  FIELD(scrub_interval_s), NULL, 1000 },
	{ { "media", "choice", "on|keyframes|off", "on",
	    "what is done for films: pictures and sound gathered out of their container, chunks "
	    "begun at key pictures only, or nothing", ALL }, FIELD(media), NULL, 1 },
	{ { "media_min", "size", "64K..16M", "128K",
	    "smallest chunk of pictures, but at the ends of a film", ALL }, FIELD(media_min), NULL, 1 },
	{ { "media_target", "size", "64K..16M", "256K",
	    "size of chunks of pictures on average", ALL },
	  FIELD(media_target), NULL, 1 },
	{ { "media_max", "size", "64K..16M", "16M", "largest chunk of pictures", ALL },
	  FIELD(media_max), NULL, 1 },
	{ { "high_watermark", "percent", "1..100", "90%",
	    "share of the pool's disk in use above which packs move to the first tier, those not read "
	    "for longest first; only where tiers are declared", ALL }, FIELD(high_watermark), NULL, 1 },
	{ { "low_watermark", "percent", "1..100", "80%",
	    "share of the pool's disk in use at which that ends", ALL }, FIELD(low_watermark), NULL, 1 },
	{ { "tier_rate", "size", "0..1T", "64M",
	    "bytes per second that move between tiers at most; 0 is no limit", ALL },
	  FIELD(tier_rate), NULL, 1 },
	{ { "tier_interval", "time", "1s..30d", "1m",
	    "how often it is looked which packs shall move", ALL }, FIELD(tier_interval_s), NULL, 1000 },
	{ { "replicate", "time", "0..7d", "0",
	    "how often what is new is shipped to the replica; 0 is never", ALL },
	  FIELD(replicate_ms), NULL, 1 },
	{ { "replicate_to", "text", "", "",
	    "where the replica is: a directory (absolute) or s3://bucket/prefix, for this pool alone",
	    ALL }, FIELD(replicate_to), NULL, 1 },
	{ { "replicate_endpoint", "text", "", "",
	    "address of the replica's object store, if AWS's variables and files do not say", ALL },
	  FIELD(replicate_endpoint), NULL, 1 },
	{ { "replicate_region", "text", "", "", "its region, likewise", ALL },
	  FIELD(replicate_region), NULL, 1 },
	{ { "replicate_lease", "time", "1s..1d", "1m",
	    "how long another machine waits for a sign of life before it takes the pool over", ALL },
	  FIELD(replicate_lease_ms), NULL, 1 },
	{ { "replicate_grace", "time", "0..365d", "1d",
	    "how long what the replica does not need any more stays there", ALL },
	  FIELD(replicate_grace_ms), NULL, 1 },
	{ { "follow", "text", "", "",
	    "the replica whose newest state the pool shows; set by mkfs.foldfs --follow",
	    ALL }, FIELD(follow), NULL, 1 },
	{ { "follow_interval", "time", "100ms..1d", "10s",
	    "how often it is looked for a newer state", ALL }, FIELD(follow_interval_ms), NULL, 1 },
	{ { "ro", "flag", "", "no", "mount read-only; nothing in the pool changes", CONFIG_MOUNT },
	  FIELD(read_only), NULL, 1 },
	{ { "allow_other", "flag", "", "",
	    "let other users in too; on when root mounts, off otherwise", ALL },
	  FIELD(allow_other), NULL, 1 },
	{ { "attr_timeout", "time", "0..7d", "1h",
	    "how long the kernel may keep attributes", ALL }, FIELD(attr_timeout_ms), NULL, 1 },
	{ { "entry_timeout", "time", "0..7d", "1h", "how long the kernel may keep names", ALL },
	  FIELD(entry_timeout_ms), NULL, 1 },
	{ { "threads", "number", "0..256", "0",
	    "threads that receive requests; 0 chooses", ALL }, FIELD(threads), NULL, 1 },
	{ { "transport", "choice", "auto|dev|io_uring", "auto",
	    "how requests come from the kernel: read from /dev/fuse, or over io_uring; auto takes "
	    "that where it is offered", ALL },
	  FIELD(transport), NULL, 1 },
	{ { "near_caller", "flag", "", "yes",
	    "threads that receive requests run where the one process runs that makes them", ALL },
	  FIELD(near_caller), NULL, 1 },
	{ { "max_write", "size", "4K..1M", "1M",
	    "largest write request that the kernel may send", ALL }, FIELD(max_write), NULL, 1 },
	{ { "read_ahead_kb", "number", "0..65536", "128",
	    "how far the kernel reads ahead, in KiB; only root's mounts can set it", ALL },
	  FIELD(read_ahead_kb), NULL, 1 },
	{ { "log_level", "choice", "error|warning|info|debug", "info",
	    "what is written to the log", ALL }, FIELD(log_level), log_levels, 1 },
	{ { "log", "path", "", "",
	    "log file; empty means the journal under systemd, else POOL/foldfs.log", ALL },
	  FIELD(log_file), NULL, 1 },
	{ { "profile", "choice", "balanced|ingest|interactive|media|source", "balanced",
	    "sets the options that suit a use, as far as they are not set themselves",
	    ALL | CONFIG_MKFS }, FIELD(profile), NULL, 1 },
	{ { "chunker", "choice", "fastcdc|mincdc", "fastcdc", "how files are cut into chunks", CONFIG_MKFS },
	  FIELD(chunker), chunkers, 1 },
	{ { "chunk_min", "size", "1K..8M", "16K", "smallest chunk", CONFIG_MKFS },
	  FIELD(chunk_min), NULL, 1 },
	{ { "chunk_avg", "size", "2K..8M", "64K", "usual size of chunks, a power of two", CONFIG_MKFS },
	  FIELD(chunk_avg), NULL, 1 },
	{ { "chunk_max", "size", "4K..16M", "256K", "largest chunk", CONFIG_MKFS },
	  FIELD(chunk_max), NULL, 1 },
	{ { "label", "text", "", "", "name of the pool, at most 63 bytes", CONFIG_MKFS },
	  FIELD(label), NULL, 1 },
};

/* In the order of the option's choices. The chunk sizes count at mkfs only. */
static const struct { const char *name, *options; } profiles[] = {
	{ "balanced", "" },
	{ "ingest", "destage_delay=1s,zstd_level=1,gc_interval=1h,idle_level=9" },
	{ "interactive", "destage_delay=30s,cache_size=512M,gc_rate=32M" },
	{ "media", "destage_delay=10s,zstd_level=1,pack_size=256M,media_min=512K,media_target=1M,"
		   "chunk_min=64K,chunk_avg=256K,chunk_max=1M" },
	{ "source", "zstd_level=6,idle_level=19,small_file=512K,memory_limit=128M,"
		    "chunk_min=4K,chunk_avg=16K,chunk_max=64K" },
};
/* clang-format on */

#define N_OPTIONS (sizeof table / sizeof *table)
static_assert(N_OPTIONS <= 64, "config.given has a bit for each");

const struct config_option *config_option(size_t i)
{
	return i < N_OPTIONS ? &table[i].pub : NULL;
}

const char *config_profile(size_t i, const char **ret_name)
{
	if (i >= sizeof profiles / sizeof *profiles)
		return NULL;
	*ret_name = profiles[i].name;
	return profiles[i].options;
}

static bool is_kind(const struct option *o, const char *kind)
{
	return !strcmp(o->pub.kind, kind);
}

/* The factor of a unit, 0 if there is no such. Times are milliseconds here. */
static uint64_t unit_factor(const struct option *o, const char *unit)
{
	static const char *const times[] = { "ms", "s", "m", "h", "d" };
	static const uint64_t ms[] = { 1, 1000, 60000, 3600000, 86400000 };
	static const char sizes[] = "KMGTP";
	if (is_kind(o, "time")) {
		for (size_t i = 0; i < 5; i++)
			if (!strcasecmp(unit, times[i]))
				return ms[i];
		return *unit ? 0 : 1000;
	}
	if (!*unit || (is_kind(o, "percent") && !strcmp(unit, "%")))
		return 1;
	const char *at = strchr(sizes, unit[0] & ~0x20);
	bool rest = !unit[1] || !strcasecmp(unit + 1, "B") || !strcasecmp(unit + 1, "iB");
	return is_kind(o, "size") && at && rest ? 1ull << 10 * (at - sizes + 1) : 0;
}

/* A number with its unit; -EINVAL, or -ERANGE when it is too large for any range. */
static int parse_amount(const struct option *o, const char *text, size_t len, uint64_t *ret)
{
	char copy[64];
	size_t digits = len;
	if (len == 0 || len >= sizeof copy)
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	digits = strspn(copy, "0123456789.");
	uint64_t factor = unit_factor(o, copy + digits);
	char *dot = strchr(copy, '.');
	if (copy[0] < '0' || copy[0] > '9' || !factor || (dot && strchr(dot + 1, '.')) ||
	    (dot && (is_kind(o, "number") || is_kind(o, "percent"))))
		return -EINVAL;
	long double v = strtold(copy, NULL) * (long double)factor;
	if (v > 9e18L)
		return -ERANGE;
	*ret = (uint64_t)(v + 0.5L);
	return 0;
}

static bool in_range(const struct option *o, uint64_t v)
{
	uint64_t min = 0, max = 0;
	const char *range = o->pub.range, *dots = strstr(range, "..");
	assert(dots);
	int r = parse_amount(o, range, (size_t)(dots - range), &min);
	r = r ? r : parse_amount(o, dots + 2, strlen(dots + 2), &max);
	assert(r == 0);
	return r == 0 && v >= min && v <= max;
}

/* Position of the value among the choices, or -1. */
static int find_choice(const struct option *o, const char *value)
{
	const char *at = o->pub.range;
	for (int i = 0;; i++) {
		size_t n = strcspn(at, "|");
		if (n == strlen(value) && !memcmp(at, value, n))
			return i;
		if (!at[n])
			return -1;
		at += n + 1;
	}
}

static int find_flag(const char *value)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };
	for (int i = 0; value && i < 8; i++)
		if (!strcasecmp(value, words[i]))
			return i & 1;
	return value ? -1 : 1;
}

static void store_number(void *c, const struct option *o, uint64_t v)
{
	char *field = (char *)c + o->at;
	v = (v + o->divide - 1) / o->divide;
	if (o->size == sizeof(uint64_t)) {
		memcpy(field, &v, sizeof v);
	} else if (o->size == sizeof(bool)) {
		*(bool *)field = v != 0;
	} else {
		assert(o->size == sizeof(int));
		int i = (int)v;
		memcpy(field, &i, sizeof i);
	}
}

/* Says what is wrong with a value. */
static int explain(const struct option *o, const char *value, struct config_error *err)
{
	const char *name = o->pub.name, *range = o->pub.range;
	if (is_kind(o, "choice"))
		snprintf(err->text, sizeof err->text, "option %s=%.64s: it is one of %s", name,
			 value, range);
	else if (is_kind(o, "flag"))
		snprintf(err->text, sizeof err->text, "option %s=%.64s: it is yes or no", name,
			 value);
	else if (is_kind(o, "path"))
		snprintf(err->text, sizeof err->text,
			 "option %s=%.200s: an absolute path is wanted, of less than %zu bytes and "
			 "without control characters",
			 name, value, o->size);
	else if (is_kind(o, "text"))
		snprintf(err->text, sizeof err->text,
			 "option %s=%.64s: at most %zu bytes, no control characters", name, value,
			 o->size - 1);
	else
		snprintf(err->text, sizeof err->text, "option %s=%.64s: a %s%s within %s is wanted",
			 name, value, o->pub.kind, is_kind(o, "percent") ? "age" : "", range);
	return -EINVAL;
}

/* A line break would make more than one line of foldfs.conf. */
static bool has_control(const char *value)
{
	while (*value && (unsigned char)*value >= ' ')
		value++;
	return *value;
}

/* foldfs.conf would give it back cut short: a blank and a semicolon begin a comment there. */
static bool survives_the_file(const char *value)
{
	size_t n = strlen(value);
	bool ends = n && (strchr(" \t", value[0]) || strchr(" \t", value[n - 1]));
	return !ends && *value != ';' && !strstr(value, " ;") && !strstr(value, "\t;");
}

static int set_text(void *c, const struct option *o, const char *value, struct config_error *err)
{
	size_t n = strlen(value);
	if (!survives_the_file(value)) {
		snprintf(err->text, sizeof err->text,
			 "option %s=%.200s: a value has no blanks at its ends, and no blank before "
			 "a "
			 "semicolon",
			 o->pub.name, value);
		return -EINVAL;
	}
	if (n >= o->size || (is_kind(o, "path") && n && *value != '/') || has_control(value))
		return explain(o, value, err);
	memset((char *)c + o->at, 0, o->size);
	memcpy((char *)c + o->at, value, n);
	return 0;
}

/* `c` is a struct config, or what the option's place counts from. */
static int set(void *c, const struct option *o, const char *value, struct config_error *err)
{
	uint64_t v = 0;
	int choice;
	if (!value && !is_kind(o, "flag")) {
		snprintf(err->text, sizeof err->text, "option %s lacks its value: %s=%s",
			 o->pub.name, o->pub.name, *o->pub.range ? o->pub.range : o->pub.kind);
		return -EINVAL;
	}
	if (is_kind(o, "path") || is_kind(o, "text"))
		return set_text(c, o, value, err);
	if (is_kind(o, "choice") || is_kind(o, "flag")) {
		choice = is_kind(o, "flag") ? find_flag(value) : find_choice(o, value);
		if (choice < 0)
			return explain(o, value, err);
		v = (uint64_t)(o->values ? o->values[choice] : choice);
	} else if (parse_amount(o, value, strlen(value), &v) || !in_range(o, v)) {
		return explain(o, value, err);
	}
	store_number(c, o, v);
	return 0;
}

static const struct option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strlen(table[i].pub.name) == len && !memcmp(table[i].pub.name, name, len))
			return &table[i];
	return NULL;
}

static bool is_given(const struct config *c, const struct option *o)
{
	return c->given >> (o - table) & 1;
}

bool config_is_given(const struct config *c, const char *name)
{
	return is_given(c, find(name, strlen(name)));
}

static void set_default(struct config *c, const struct option *o)
{
	struct config_error err;
	if (o->at == offsetof(struct config, allow_other)) {
		c->allow_other = geteuid() == 0;
		return;
	}
	int r = set(c, o, o->pub.fallback, &err);
	assert(r == 0);
	(void)r;
}

/* Everything that was not given takes the profile's value, or else its default. */
void config_forget(struct config *c, const char *name)
{
	const struct option *o = find(name, strlen(name));
	c->given &= ~(1ull << (o - table));
	set_default(c, o);
}

static void take_profile(struct config *c)
{
	const char *at = profiles[c->profile].options;
	struct config_error err;
	char value[64];
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (!is_given(c, &table[i]) && table[i].at != offsetof(struct config, profile))
			set_default(c, &table[i]);
	while (*at) {
		size_t n = strcspn(at, ","), name = strcspn(at, "=");
		const struct option *o = find(at, name);
		assert(o && n - name - 1 < sizeof value);
		memcpy(value, at + name + 1, n - name - 1);
		value[n - name - 1] = 0;
		int r = is_given(c, o) ? 0 : set(c, o, value, &err);
		assert(r == 0);
		(void)r;
		at += n + (at[n] == ',');
	}
}

void config_defaults(struct config *c)
{
	memset(c, 0, sizeof *c);
	take_profile(c);
}

int config_apply_one(struct config *c, const char *key, const char *value, unsigned scope,
		     struct config_error *err)
{
	const struct option *o = find(key, strlen(key));
	if (!o) {
		snprintf(err->text, sizeof err->text, "there is no option %.64s%s%.64s", key,
			 value ? "=" : "", value ? value : "");
		return -EINVAL;
	}
	if (!(o->pub.scopes & scope)) {
		snprintf(err->text, sizeof err->text,
			 "option %s does not belong here: it is for %s", key,
			 o->pub.scopes & CONFIG_MKFS   ? "mkfs.foldfs"
			 : o->pub.scopes & CONFIG_POOL ? "foldfs.conf and mount.foldfs"
						       : "mount.foldfs");
		return -EINVAL;
	}
	int r = set(c, o, value, err);
	if (r < 0)
		return r;
	c->given |= 1ull << (o - table);
	if (o->at == offsetof(struct config, profile))
		take_profile(c);
	return 0;
}

/* The chunker's sizes are possible only together. */
static int check_chunks(const struct config *c, struct config_error *err)
{
	uint64_t avg = c->chunk_avg;
	if (c->chunk_min < avg && avg < c->chunk_max && (avg & (avg - 1)) == 0)
		return 0;
	snprintf(err->text, sizeof err->text,
		 "chunk_min=%lu, chunk_avg=%lu, chunk_max=%lu: each must be larger than the one "
		 "before it, and chunk_avg a power of two",
		 c->chunk_min, avg, c->chunk_max);
	return -EINVAL;
}

/* Copies the next option to out, unescaped, and steps over it. -EINVAL: too long. */
static int next_option(const char **at, char *out, size_t size)
{
	size_t n = 0;
	for (; **at && **at != ','; (*at)++) {
		if (**at == '\\' && ((*at)[1] == ',' || (*at)[1] == '\\'))
			(*at)++;
		if (n + 1 >= size)
			return -EINVAL;
		out[n++] = **at;
	}
	out[n] = 0;
	*at += **at == ',';
	return 0;
}

int config_apply(struct config *c, const char *options, unsigned scope, struct config_error *err)
{
	char one[8192];
	while (options && *options) {
		const char *start = options;
		if (next_option(&options, one, sizeof one)) {
			snprintf(err->text, sizeof err->text, "option %.32s... is too long", start);
			return -EINVAL;
		}
		char *value = strchr(one, '=');
		if (value)
			*value++ = 0;
		int r = *one || value ? config_apply_one(c, one, value, scope, err) : 0;
		if (r < 0)
			return r;
	}
	return scope & CONFIG_MKFS ? check_chunks(c, err) : 0;
}

struct load {
	struct config *config;
	struct config_error err;
	bool failed;
	const char *at;	     /* of the text, where the next line begins */
	int line, long_line; /* 1-based; long_line: the first that does not fit, 0 if none */
};

/* The library cuts lines that do not fit its buffer, and takes the rest for a line of its own. Long
 * comments are left out instead; any other long line ends the reading, and is complained of. A line that
 * begins with blanks the library takes for more of the value before it, so these are left out, too. */
static char *next_line(char *out, int size, void *stream)
{
	struct load *load = stream;
	if (!*load->at)
		return NULL;
	const char *from = load->at + strspn(load->at, " \t");
	size_t len = strcspn(from, "\n");
	bool comment = *from == '#' || *from == ';';
	load->at = from + len + (from[len] == '\n');
	load->line++;
	if (comment)
		len = 0;
	if (len + 2 > (size_t)size) {
		load->long_line = load->line;
		return NULL;
	}
	memcpy(out, from, len);
	memcpy(out + len, "\n", 2);
	return out;
}

/* Of a tier; `place` is judged apart. */
#define TIER_FIELD(f) offsetof(struct config_tier, f), sizeof(((struct config_tier *)0)->f)
static const struct option tier_table[] = {
	{ { "place", "path", "", "", "", 0 }, TIER_FIELD(place), NULL, 1 },
	{ { "age", "time", "1s..36500d", "", "", 0 }, TIER_FIELD(age_ms), NULL, 1 },
	{ { "level", "number", "1..22", "", "", 0 }, TIER_FIELD(level), NULL, 1 },
	{ { "endpoint", "text", "", "", "", 0 }, TIER_FIELD(endpoint), NULL, 1 },
	{ { "region", "text", "", "", "", 0 }, TIER_FIELD(region), NULL, 1 },
	{ { "class", "text", "", "", "", 0 }, TIER_FIELD(storage_class), NULL, 1 },
	{ { "timeout", "time", "1s..1h", "", "", 0 }, TIER_FIELD(timeout_ms), NULL, 1 },
};

/* The tier of that name, which is declared with its first line. */
static int find_tier(struct config *c, const char *name, struct config_tier **ret_tier,
		     struct config_error *err)
{
	size_t len = strlen(name);
	for (unsigned i = 0; i < c->n_tiers; i++)
		if (!strcmp(c->tiers[i].name, name)) {
			*ret_tier = &c->tiers[i];
			return 0;
		}
	bool word = len && len < CONFIG_TIER_NAME &&
		    strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
	if (!word || !strcmp(name, "hot") || !strcmp(name, "pin"))
		snprintf(err->text, sizeof err->text,
			 "[tier %.64s]: a tier's name is at most %u of a-z, 0-9, _ and -, and not "
			 "hot or "
			 "pin",
			 name, CONFIG_TIER_NAME - 1);
	else if (c->n_tiers == CONFIG_TIERS_MAX)
		snprintf(err->text, sizeof err->text, "[tier %s]: there are at most %u tiers", name,
			 CONFIG_TIERS_MAX);
	else {
		*ret_tier = &c->tiers[c->n_tiers++];
		memcpy((*ret_tier)->name, name, len + 1);
		return 0;
	}
	return -EINVAL;
}

static int take_tier(struct config *c, const char *name, const char *key, const char *value,
		     struct config_error *err)
{
	struct config_tier *tier;
	int r = find_tier(c, name, &tier, err);
	if (r < 0)
		return r;
	const struct option *o = NULL;
	for (size_t i = 0; i < sizeof tier_table / sizeof *tier_table; i++)
		if (!strcmp(tier_table[i].pub.name, key))
			o = &tier_table[i];
	if (!o) {
		snprintf(err->text, sizeof err->text,
			 "[tier %s] has no %.64s: place, age, level, endpoint, region, class and "
			 "timeout are known",
			 name, key);
		return -EINVAL;
	}
	if (o != tier_table)
		return set(tier, o, value, err);
	size_t len = strlen(value);
	bool bucket = !strncmp(value, "s3://", 5) && len > 5;
	if ((!bucket && (value[0] != '/' || len < 2)) || len >= o->size || has_control(value))
		return explain(o, value, err);
	memcpy(tier->place, value, len + 1);
	return 0;
}

static int take_line(void *user, const char *section, const char *name, const char *value)
{
	struct load *load = user;
	if (load->failed)
		return 1;
	if (section && !strncmp(section, "tier ", 5)) {
		load->failed = take_tier(load->config, section + 5, name, value, &load->err) < 0;
	} else if (section && *section && strcmp(section, "foldfs")) {
		snprintf(load->err.text, sizeof load->err.text,
			 "there is no section [%.64s]: options stand in none or in [foldfs], tiers "
			 "in [tier NAME]",
			 section);
		load->failed = true;
	} else {
		load->failed =
			config_apply_one(load->config, name, value, CONFIG_POOL, &load->err) < 0;
	}
	return !load->failed;
}

/* inih says which line was the first that is none, or that take_line() refused. */
static int bad_line(const char *name, int line, struct load *load, struct config_error *err)
{
	snprintf(err->text, sizeof err->text, "%s, line %d: %.400s", name, line,
		 load->failed ? load->err.text : "it is neither a comment nor `option = value`");
	return -EINVAL;
}

int config_parse(struct config *c, const char *text, const char *name, struct config_error *err)
{
	struct load load = { .config = c, .at = text };
	int r = ini_parse_stream(next_line, &load, take_line, &load);
	if (r < 0) {
		snprintf(err->text, sizeof err->text, "%s: not enough memory", name);
		return -ENOMEM;
	}
	if (r == 0 && load.long_line) {
		snprintf(err->text, sizeof err->text,
			 "%s, line %d: it is too long (at most 197 bytes); give a shorter path, or "
			 "the option with -o",
			 name, load.long_line);
		return -EINVAL;
	}
	return r ? bad_line(name, r, &load, err) : 0;
}

int config_load(struct config *c, int dirfd, const char *name, struct config_error *err)
{
	CLEANUP_FREE void *data = NULL;
	CLEANUP_FREE char *text = NULL;
	size_t len;
	int r = io_slurp(dirfd, name, CONF_FILE_MAX, &data, &len);
	if (r == -ENOENT)
		return 0;
	text = r < 0 ? NULL : malloc(len + 1);
	if (r == 0 && !text)
		r = -ENOMEM;
	if (r < 0) {
		snprintf(err->text, sizeof err->text, "%s cannot be read: %s", name, strerror(-r));
		return r;
	}
	memcpy(text, data, len);
	text[len] = 0;
	return config_parse(c, text, name, err);
}

static void print_value(const struct config *c, const struct option *o, struct buf *out)
{
	const char *field = (const char *)c + o->at;
	char number[32];
	uint64_t v = 0;
	if (is_kind(o, "path") || is_kind(o, "text")) {
		buf_put(out, field, strlen(field));
		return;
	}
	if (o->size == sizeof(uint64_t))
		memcpy(&v, field, sizeof v);
	else if (o->size == sizeof(bool))
		v = *(const bool *)field;
	else
		v = *(const unsigned *)(const void *)field;
	if (is_kind(o, "choice")) {
		const char *at = o->pub.range;
		for (size_t i = 0; (uint64_t)(o->values ? o->values[i] : (int)i) != v; i++)
			at += strcspn(at, "|") + 1;
		buf_put(out, at, strcspn(at, "|"));
		return;
	}
	unsigned unit = 0;
	while (is_kind(o, "size") && v && v % 1024 == 0 && unit < 4) {
		v /= 1024;
		unit++;
	}
	int n = snprintf(number, sizeof number, "%lu%s", v,
			 unit		       ? (const char *[]){ "", "K", "M", "G", "T" }[unit]
			 : !is_kind(o, "time") ? ""
			 : o->divide == 1      ? "ms"
					       : "s");
	buf_put(out, number, (size_t)n);
}

void config_print(const struct config *c, struct buf *ret_text)
{
	static const char head[] =
		"# Options of this foldfs pool, one `name = value` a line; see foldfs.conf(5).\n"
		"# Options given with -o at mount time override them.\n";
	buf_put(ret_text, head, sizeof head - 1);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		if (!is_given(c, &table[i]) || !(table[i].pub.scopes & CONFIG_POOL))
			continue;
		buf_put(ret_text, table[i].pub.name, strlen(table[i].pub.name));
		buf_put(ret_text, " = ", 3);
		print_value(c, &table[i], ret_text);
		buf_put_u8(ret_text, '\n');
	}
}
