// SPDX-License-Identifier: MIT
/* config: the pool's options: defaults, a profile, POOL/foldfs.conf (INI), then -o options.
 *
 * One table describes every option (name, kind, range, default, help); the man pages are checked
 * against it. Sizes take K, M, G, T (1024), times ms, s, m, h, d.
 */
#ifndef FOLDFS_CONFIG_H
#define FOLDFS_CONFIG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum io_mode_choice { IO_MODE_AUTO, IO_MODE_NATIVE, IO_MODE_MEDIATED };

struct config {
	/* how writes land */
	int mode;		       /* enum io_mode_choice: mode=auto|native|mediated */
	uint64_t destage_delay_ms;     /* after the last close; default 5 s */
	uint64_t staging_limit;	       /* bytes; default 25 % of the backing filesystem, 0 here */
	uint64_t memory_limit;	       /* bytes of small files held in memory; default 64M */
	uint64_t small_file;	       /* held in memory up to this; default 128K, max 1M-64K */
	uint64_t wal_sync_interval_ms; /* default 1 s */
	int wal_backend;	       /* wal=standard|io_uring (kv.h) */
	char wal_dir[4096];	       /* empty: POOL/wal */
	/* how bytes are kept */
	int zstd_level;		/* default 3; 0 = raw */
	uint64_t pack_size;	/* default 128M */
	uint64_t verify_age_s;	/* default 30 d */
	uint64_t cache_size;	/* region; default 256M */
	uint64_t reserve_size;	/* POOL/reserve; default 64M */
	unsigned workers;	/* 0 = one per core */
	unsigned gc_min_live;	/* percent */
	uint64_t gc_rate;	/* bytes per second */
	uint64_t gc_interval_s; /* automatic passes when something was deleted; 0 = never */
	/* how it is mounted */
	bool read_only, allow_other, foreground;
	uint64_t attr_timeout_ms, entry_timeout_ms;
	unsigned threads; /* receive threads; 0 = automatic */
	uint64_t max_write, read_ahead_kb;
	int log_level;
	char log_file[4096];
	char profile[32];
	/* mkfs only */
	int chunker;
	uint64_t chunk_min, chunk_avg, chunk_max;
	char label[64];
};

/* One clear sentence for the user goes to err. */
struct config_error {
	char text[512];
};

enum config_scope { CONFIG_MKFS = 1, CONFIG_POOL = 2, CONFIG_MOUNT = 4 };

void config_defaults(struct config *c);
/* Comma-separated key=value or flags; `\,` escapes. -EINVAL with err->text naming the option, its
 * value and what is allowed. Options of fstab that do not concern us are accepted by the caller. */
int config_apply(struct config *c, const char *options, enum config_scope scope,
		 struct config_error *err);
int config_apply_one(struct config *c, const char *key, const char *value, enum config_scope scope,
		     struct config_error *err);
/* Reads an INI file; err names file, line and cause. */
int config_load(struct config *c, int dirfd, const char *name, struct config_error *err);
/* Describes options for help texts and tests: NULL after the last. */
struct config_option {
	const char *name, *kind, *range, *fallback, *help;
	unsigned scopes;
};
const struct config_option *config_option(size_t i);
#endif
