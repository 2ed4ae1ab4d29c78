// SPDX-License-Identifier: MIT
/* config: the pool's options: defaults, a profile, POOL/foldfs.conf (INI), then -o options.
 *
 * One table describes every option (name, kind, range, default, help); the man pages are checked
 * against it. Sizes take K, M, G, T (powers of 1024), times ms, s, m, h, d (a bare number: seconds).
 * A profile sets what nothing else has set, wherever it is named. foldfs.conf also declares tiers, the
 * hottest first: sections [tier NAME], whose keys are few and belong nowhere else.
 */
#ifndef FOLDFS_CONFIG_H
#define FOLDFS_CONFIG_H
#include "bytes.h"
#include "chunker.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum io_mode_choice { IO_MODE_AUTO, IO_MODE_NATIVE, IO_MODE_MEDIATED };

enum numa_choice { NUMA_LOCAL, NUMA_INTERLEAVE };

enum media_choice { MEDIA_ON, MEDIA_KEYFRAMES, MEDIA_OFF };

#define CONFIG_TIERS_MAX 15u
#define CONFIG_TIER_NAME 32u

/* A colder place for packs than the pool itself. */
struct config_tier {
	char name[CONFIG_TIER_NAME];
	char place[256]; /* absolute path of a directory, or s3://bucket/prefix */
	uint64_t age_ms; /* packs not read for this long go there; 0: not by age */
	int level;	 /* zstd, for what is moved there; 0: as it is */
	/* of a bucket; empty and 0: see place.h */
	char endpoint[128], region[32], storage_class[32];
	uint64_t timeout_ms;
};

enum transport { TRANSPORT_AUTO, TRANSPORT_DEV, TRANSPORT_IO_URING };

struct config {
	/* how writes land */
	int mode;		    /* enum io_mode_choice */
	uint64_t destage_delay_ms;  /* after the last close */
	uint64_t staging_limit;	    /* bytes; 0: 25 % of the backing filesystem */
	uint64_t materialise_limit; /* bytes of copies; 0: none */
	uint64_t materialise_min;   /* bytes of a file */
	unsigned materialise_after; /* opens */
	uint64_t materialise_rate;  /* bytes per second, 0 = unlimited */
	uint64_t memory_limit;	    /* bytes of small files held in memory */
	uint64_t small_file;	    /* held in memory up to this */
	uint64_t wal_sync_interval_ms;
	int wal_backend;    /* enum kv_wal_backend */
	char wal_dir[4096]; /* empty: POOL/wal */
	/* how bytes are kept */
	int zstd_level; /* 0 = raw */
	int idle_level; /* zstd, once there is time; 0: never */
	uint64_t idle_age_s;
	unsigned idle_load; /* percent of all processors that others may take meanwhile */
	uint64_t pack_size;
	uint64_t verify_age_s;
	uint64_t cache_size; /* of the region; 0: none */
	bool cache_huge_pages;
	int cache_numa;		   /* enum numa_choice */
	uint64_t reserve_size;	   /* POOL/reserve */
	unsigned workers;	   /* 0 = one per core */
	unsigned gc_min_live;	   /* percent */
	uint64_t gc_rate;	   /* bytes per second, 0 = unlimited */
	uint64_t gc_interval_s;	   /* automatic passes when something was deleted; 0 = never */
	uint64_t dump_interval_s;  /* between dumps of the index */
	uint64_t scrub_rate;	   /* bytes per second, 0 = unlimited */
	uint64_t scrub_interval_s; /* automatic passes; 0 = never */
	int media;		   /* enum media_choice */
	uint64_t media_min, media_target, media_max; /* bytes of a chunk of pictures */
	/* where packs are kept */
	unsigned high_watermark, low_watermark; /* percent of the pool's disk */
	uint64_t tier_rate;			/* bytes per second, 0 = unlimited */
	uint64_t tier_interval_s;		/* between looks at what shall move */
	/* where a replica is kept */
	uint64_t replicate_ms; /* 0: nowhere */
	char replicate_to[256], replicate_endpoint[128], replicate_region[32];
	uint64_t replicate_lease_ms, replicate_grace_ms;
	char follow
		[256]; /* the replica of which the pool shows the newest state; empty: it is its own */
	uint64_t follow_interval_ms;
	struct config_tier tiers[CONFIG_TIERS_MAX];
	unsigned n_tiers;
	/* how it is mounted */
	bool read_only, allow_other;
	uint64_t attr_timeout_ms, entry_timeout_ms;
	unsigned threads; /* receive threads; 0 = automatic */
	int transport;	  /* enum transport */
	bool near_caller;
	uint64_t max_write, read_ahead_kb;
	int log_level;	     /* enum log_level */
	char log_file[4096]; /* empty: the program's choice */
	int profile;
	/* mkfs only */
	int chunker; /* enum chunker_kind */
	uint64_t chunk_min, chunk_avg, chunk_max;
	char label[64];

	uint64_t given; /* bit i: option i of the table was set by file or command line */
};

/* One clear sentence for the user goes to err. */
struct config_error {
	char text[512];
};

enum config_scope { CONFIG_MKFS = 1, CONFIG_POOL = 2, CONFIG_MOUNT = 4 };

void config_defaults(struct config *c);
/* Comma-separated key=value or flags; `\,` and `\\` escape. `scope`: which options may appear, ORed.
 * -EINVAL with err->text naming the option, its value and what is allowed; c is then undefined.
 * Options of fstab that do not concern us are the caller's to take out. */
int config_apply(struct config *c, const char *options, unsigned scope, struct config_error *err);
/* value NULL: a flag without one. */
int config_apply_one(struct config *c, const char *key, const char *value, unsigned scope,
		     struct config_error *err);
/* Reads an INI file, options of the scope CONFIG_POOL; err names file, line and cause. A missing
 * file is an empty one. */
int config_load(struct config *c, int dirfd, const char *name, struct config_error *err);
/* The same of a text that is in memory; err calls it `name`. */
int config_parse(struct config *c, const char *text, const char *name, struct config_error *err);
/* What is wrong only of several options together. -EINVAL. */
int config_check(const struct config *c, struct config_error *err);
/* The options given so far that have the scope CONFIG_POOL, as a file for config_load(). */
void config_print(const struct config *c, struct buf *ret_text);

/* Describes options for help texts and tests: NULL after the last. */
struct config_option {
	const char *name, *kind, *range, *fallback, *help;
	unsigned scopes;
};
const struct config_option *config_option(size_t i);
/* The option of this name was set by file or command line. */
bool config_is_given(const struct config *c, const char *name);
/* As if it had not been. */
void config_forget(struct config *c, const char *name);
/* What a profile sets, as `key=value,...`; NULL after the last. */
const char *config_profile(size_t i, const char **ret_name);
#endif
