// SPDX-License-Identifier: MIT
/* Labels are text, so that people can tell by them which place is whose:
 *
 *     pool 5f3c...                                the pool's uuid, 32 digits
 *     tier 2 9a1e...                              number and uuid of the tier
 */
#include "place.h"
#ifdef FOLDFS_HAVE_S3
#include "place_s3.h"
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORM "pool %s\ntier %u %s\n"

static void hex_of(const uint8_t id[16], char ret_hex[33])
{
	for (size_t i = 0; i < 16; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", id[i]);
}

size_t place_label_print(const struct place_label *label, char out[PLACE_LABEL_MAX])
{
	char pool[33], tier[33];
	hex_of(label->pool, pool);
	hex_of(label->tier, tier);
	return (size_t)snprintf(out, PLACE_LABEL_MAX, FORM, pool, label->number, tier);
}

static int id_of(const char *hex, uint8_t ret_id[16])
{
	for (size_t i = 0; i < 16; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &ret_id[i]) != 1)
			return -ESTALE;
	return 0;
}

int place_label_parse(const char *text, size_t len, struct place_label *ret_label)
{
	char copy[PLACE_LABEL_MAX], again[PLACE_LABEL_MAX], pool[33], tier[33];
	struct place_label label;
	if (len >= sizeof copy)
		return -ESTALE;
	memcpy(copy, text, len);
	copy[len] = 0;
	if (sscanf(copy, "pool %32s\ntier %2u %32s", pool, &label.number, tier) != 3 ||
	    id_of(pool, label.pool) || id_of(tier, label.tier))
		return -ESTALE;
	if (place_label_print(&label, again) != len || memcmp(again, text, len))
		return -ESTALE;
	*ret_label = label;
	return 0;
}

#ifdef FOLDFS_HAVE_S3
static const char *given(const char *text)
{
	return text && *text ? text : NULL;
}

static int open_bucket(const struct place_options *opt, struct place **ret_place, char *why,
		       size_t size)
{
	char said[S3_TEXT_MAX] = "";
	struct s3_options so;
	s3_defaults(&so);
	so.place = opt->where;
	so.endpoint = given(opt->endpoint);
	so.region = given(opt->region);
	if (opt->timeout_ms)
		so.timeout_ms = so.stall_ms = opt->timeout_ms;
	so.connect_ms = so.connect_ms < so.timeout_ms ? so.connect_ms : so.timeout_ms;
	int r = place_s3_open(&so, given(opt->storage_class), said, ret_place);
	if (r < 0)
		snprintf(why, size, "%s", said);
	return r;
}
#else
static int open_bucket(const struct place_options *opt, struct place **ret_place, char *why,
		       size_t size)
{
	(void)ret_place;
	snprintf(why, size, "%s: this foldfs was built without object stores", opt->where);
	return -EPROTONOSUPPORT;
}
#endif

int place_open(const struct place_options *opt, struct place **ret_place, char *why, size_t size)
{
	if (!strncmp(opt->where, "s3://", 5))
		return open_bucket(opt, ret_place, why, size);
	int r = place_dir_open(opt->where, ret_place);
	if (r < 0)
		snprintf(why, size, "%s cannot be opened: %s", opt->where, strerror(-r));
	return r;
}

void place_close(struct place *pl)
{
	if (pl)
		pl->ops->close(pl);
}
