// SPDX-License-Identifier: MIT
/* Both objects are short texts, so that people can see who owns what:
 *
 *     epochs/N    foldfs-epoch 1          the version
 *                 pool 5f3c...            the pool's uuid, 32 digits
 *                 owner 9a1e...           of whoever began it, 32 digits
 *                 host NAME
 *                 lease 60000             ms
 *                 base EPOCH SEQ          of a root
 *                 claim 77ab...           random: no two tries to begin an epoch have the same text
 *     eN/beat     beat COUNT RANDOM open|closed
 */
#include "lease.h"
#include "cleanup.h"
#include "clock.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#define RECORD_MAX 512u
#define POLL_MIN_MS 20u
#define POLL_MAX_MS 1000u
#define FORM                                                                                       \
	"foldfs-epoch 1\npool %s\nowner %s\nhost %s\nlease %" PRIu64 "\nbase %" PRIu64 " %" PRIu64 \
	"\nclaim %s\n"

static void hex_of(const uint8_t id[16], char ret_hex[33])
{
	for (size_t i = 0; i < 16; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", id[i]);
}

static int id_of(const char *hex, uint8_t ret_id[16])
{
	for (size_t i = 0; i < 16; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &ret_id[i]) != 1)
			return -EUCLEAN;
	return 0;
}

static int print(const struct lease_record *rec, const char *claim, char out[RECORD_MAX])
{
	char pool[33], owner[33];
	hex_of(rec->pool, pool);
	hex_of(rec->owner, owner);
	return snprintf(out, RECORD_MAX, FORM, pool, owner, rec->host, rec->lease_ms,
			rec->base_epoch, rec->base_seq, claim);
}

int lease_parse(const char *text, size_t len, struct lease_record *ret_record)
{
	char copy[RECORD_MAX], again[RECORD_MAX], pool[33], owner[33], claim[33];
	struct lease_record rec = { 0 };
	if (len >= sizeof copy)
		return -EUCLEAN;
	memcpy(copy, text, len);
	copy[len] = 0;
	if (sscanf(copy,
		   "foldfs-epoch 1\npool %32s\nowner %32s\nhost %64s\nlease %15" SCNu64
		   "\nbase %19" SCNu64 " %19" SCNu64 "\nclaim %32s",
		   pool, owner, rec.host, &rec.lease_ms, &rec.base_epoch, &rec.base_seq,
		   claim) != 7 ||
	    id_of(pool, rec.pool) || id_of(owner, rec.owner))
		return -EUCLEAN;
	if (print(&rec, claim, again) != (int)len || memcmp(again, text, len))
		return -EUCLEAN;
	*ret_record = rec;
	return 0;
}

static void epoch_name(uint64_t epoch, char name[DEPOT_NAME_MAX])
{
	snprintf(name, DEPOT_NAME_MAX, "epochs/%016" PRIx64, epoch);
}

static void beat_name(uint64_t epoch, char name[DEPOT_NAME_MAX])
{
	snprintf(name, DEPOT_NAME_MAX, "e%016" PRIx64 "/beat", epoch);
}

static int take_epoch(void *arg, const char *name)
{
	uint64_t *newest = arg, n;
	char again[DEPOT_NAME_MAX];
	if (sscanf(name, "epochs/%16" SCNx64, &n) != 1)
		return 0;
	epoch_name(n, again);
	if (!strcmp(name, again) && n > *newest)
		*newest = n;
	return 0;
}

static int read_record(struct depot *d, uint64_t epoch, struct lease_record *ret_record)
{
	CLEANUP_BUF struct buf text = { 0 };
	char name[DEPOT_NAME_MAX];
	epoch_name(epoch, name);
	int r = d->ops->get(d, name, RECORD_MAX, &text);
	if (r == -EFBIG)
		return -EUCLEAN;
	return r < 0 ? r : lease_parse((const char *)text.data, text.len, ret_record);
}

/* No beat yet is one, too. */
static int read_beat(struct depot *d, uint64_t epoch, char beat[LEASE_BEAT_MAX])
{
	CLEANUP_BUF struct buf text = { 0 };
	char name[DEPOT_NAME_MAX];
	beat_name(epoch, name);
	int r = d->ops->get(d, name, LEASE_BEAT_MAX - 1, &text);
	if (r < 0 && r != -ENOENT)
		return r == -EFBIG ? -EUCLEAN : r;
	memset(beat, 0, LEASE_BEAT_MAX);
	if (r == 0 && text.len)
		memcpy(beat, text.data, text.len);
	return 0;
}

static bool is_closed(const char *beat)
{
	size_t len = strlen(beat);
	return len > 8 && !strcmp(beat + len - 8, " closed\n");
}

int lease_look(struct depot *d, struct lease_seen *ret_seen)
{
	struct lease_seen seen = { 0 };
	int r = d->ops->list(d, "epochs/", take_epoch, &seen.epoch);
	if (r == 0 && !seen.epoch)
		r = -ENOENT;
	if (r == 0)
		r = read_record(d, seen.epoch, &seen.record);
	if (r == 0)
		r = read_beat(d, seen.epoch, seen.beat);
	if (r < 0)
		return r;
	seen.closed = is_closed(seen.beat);
	*ret_seen = seen;
	return 0;
}

static int random_hex(char hex[33])
{
	uint8_t id[16];
	if (getrandom(id, sizeof id, 0) != sizeof id)
		return -EIO;
	hex_of(id, hex);
	return 0;
}

int lease_begin(struct depot *d, uint64_t epoch, const struct lease_record *record)
{
	char name[DEPOT_NAME_MAX], text[RECORD_MAX], claim[33];
	int r = random_hex(claim);
	if (r < 0)
		return r;
	int len = print(record, claim, text);
	epoch_name(epoch, name);
	r = d->ops->create(d, name, slice_of(text, (size_t)len));
	return r < 0 ? r : lease_beat(d, epoch, 0, false);
}

int lease_beat(struct depot *d, uint64_t epoch, uint64_t count, bool closed)
{
	char name[DEPOT_NAME_MAX], text[LEASE_BEAT_MAX], random[33];
	int r = random_hex(random);
	if (r < 0)
		return r;
	beat_name(epoch, name);
	int len = snprintf(text, sizeof text, "beat %" PRIu64 " %s %s\n", count, random,
			   closed ? "closed" : "open");
	return d->ops->put(d, name, slice_of(text, (size_t)len));
}

/* Is there a later one? What reads as rubbish may be from somebody between, who answers whatever is asked. */
static int is_listed(struct depot *d, uint64_t epoch)
{
	uint64_t newest = 0;
	int r = d->ops->list(d, "epochs/", take_epoch, &newest);
	return r < 0 ? r : newest > epoch ? -EUCLEAN : -EIO;
}

int lease_is_lost(struct depot *d, uint64_t epoch, struct lease_record *ret_by)
{
	struct lease_record by = { .host = "another machine" };
	int r = read_record(d, epoch + 1, &by);
	if (r == -ENOENT)
		return 0;
	if (r == -EUCLEAN)
		r = is_listed(d, epoch);
	if (r < 0 && r != -EUCLEAN)
		return r;
	if (ret_by)
		*ret_by = by;
	return 1;
}

int lease_wait(struct depot *d, const struct lease_seen *seen,
	       int (*go_on)(void *arg, uint64_t left_ms), void *arg)
{
	uint64_t lease = seen->record.lease_ms, until = clock_mono_ms() + lease;
	uint64_t poll = lease / 20;
	poll = poll < POLL_MIN_MS ? POLL_MIN_MS : poll > POLL_MAX_MS ? POLL_MAX_MS : poll;
	if (seen->closed)
		return 0;
	for (;;) {
		char beat[LEASE_BEAT_MAX];
		uint64_t now = clock_mono_ms();
		int r = lease_is_lost(d, seen->epoch, NULL);
		if (r == 0)
			r = read_beat(d, seen->epoch, beat);
		if (r != 0)
			return r > 0 ? -ESTALE : r;
		if (is_closed(beat))
			return 0;
		if (strcmp(beat, seen->beat))
			return -EBUSY;
		if (now >= until)
			return 0;
		r = go_on ? go_on(arg, until - now) : 0;
		if (r != 0)
			return r;
		uint64_t left = until - now, ms = left < poll ? left : poll;
		struct timespec ts = { .tv_sec = (time_t)(ms / 1000),
				       .tv_nsec = (long)(ms % 1000) * 1000000 };
		nanosleep(&ts, NULL);
	}
}
