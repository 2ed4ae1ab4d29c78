// SPDX-License-Identifier: MIT
/* tiers: the colder places that packs may lie in.
 *
 * A pack's row names its tier by a small number. Which number is which tier, by name, place and a uuid
 * that the place's label has, too, is kept in KV_META and never changes, whatever foldfs.conf says
 * later: tiers may be renamed there, given another path, put in another order, or left out.
 * Number 0 is the pool itself, which is always there and has no row.
 *
 * A place that is not there, or not this tier's, leaves the tier *absent*: its packs cannot be read or
 * removed until it is back, and nothing is made in its stead.
 */
#ifndef FOLDFS_TIERS_H
#define FOLDFS_TIERS_H
#include "config.h"
#include "kv.h"
#include "place.h"

#define TIER_HOT 0u
#define TIERS_MAX (CONFIG_TIERS_MAX + 1) /* numbers are below */
/* KV_META: this and a u8 number -> u8 1, 16 bytes of uuid, u8 length of the name, name, place; of a bucket
 * also a newline, endpoint, a newline, region. */
#define TIER_KEY "tier."

struct tiers;

struct tiers_options {
	struct kv *kv;
	const struct config *config;
	int pool_dirfd, hot_dirfd; /* POOL, POOL/packs */
	uint8_t pool_uuid[16];
	bool claim; /* a tier that is declared for the first time gets number and label; else it is ignored */
	bool read_only;
};

struct tier_info {
	unsigned number;
	char name[CONFIG_TIER_NAME], where[256];
	char endpoint[128], region[32], storage_class[32]; /* of a bucket */
	unsigned timeout_ms;
	uint64_t age_ms;
	int level;	       /* zstd, for what is moved there; 0: as it is */
	bool declared, absent; /* in foldfs.conf; its place is */
	char why[400];	       /* it is absent */
};

/* The row of a tier, durable on return: for who makes an index. */
int tiers_put_row(struct kv *kv, const uint8_t id[16], const struct tier_info *info);
/* One sentence goes to `why` on failure, which is only about tiers declared for the first time. */
int tiers_open(const struct tiers_options *opt, struct tiers **ret_t, char *why, size_t size);
/* The daemon ends: requests to servers, also those under way, fail soon with -ECANCELED. NULL is fine. */
void tiers_quit(struct tiers *t);
void tiers_close(struct tiers *t);	       /* NULL is fine */
bool tiers_any(const struct tiers *t);	       /* besides the pool itself; NULL: no */
void tiers_look(struct tiers *t);	       /* are places back that were absent? */
uint64_t tiers_returns(const struct tiers *t); /* how many were, so far; NULL: none */
/* NULL: absent, or there is no such tier. Stays until tiers_close(). */
struct place *tiers_place(const struct tiers *t, unsigned number);
/* Has any a place without descriptors? */
bool tiers_any_far(const struct tiers *t);
/* The pack's descriptor; -ENOMEDIUM: the tier is absent; -EREMOTE: there are none in its place. */
int tiers_open_pack(const struct tiers *t, unsigned number, uint64_t pack);
/* The directory, borrowed; -ENOMEDIUM: the tier is absent; -EREMOTE: its place is none. */
int tiers_dirfd(const struct tiers *t, unsigned number);
/* Is it a directory that is there, and can be written to? */
bool tiers_writable(const struct tiers *t, unsigned number);
#define TIER_CALLED_MAX 80u
/* For sentences: "packs/", or "tier NAME". */
void tiers_called(const struct tiers *t, unsigned number, char out[TIER_CALLED_MAX]);
/* The i-th from hot to cold, hot among them; false after the last. */
bool tiers_nth(const struct tiers *t, unsigned i, struct tier_info *ret_info);
bool tiers_get(const struct tiers *t, unsigned number, struct tier_info *ret_info);
bool tiers_find(const struct tiers *t, const char *name, struct tier_info *ret_info);
/* Whoever looks into a place by itself: the place whatever its label says, the caller's; what its label
 * should say; and of the pool its uuid, and its index. */
int tiers_open_place(const struct tiers *t, unsigned number, struct place **ret_pl);
void tiers_label(const struct tiers *t, unsigned number, struct place_label *ret_label);
const uint8_t *tiers_uuid(const struct tiers *t);
struct kv *tiers_kv(const struct tiers *t);
/* Says in the log, at most once a second for each tier, that a pack cannot be reached. */
void tiers_say_absent(struct tiers *t, unsigned number, uint64_t pack);
#endif
