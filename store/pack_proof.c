// SPDX-License-Identifier: MIT
/* Header, frames and footer carry sums, and each is proved by its own. One that does not prove right is read
 * from the source once more, past the cache: right now, then the bytes that went by are wrong; wrong again,
 * then it lies there so (gc gave the frame back, or it is rotten), and goes by as it is.
 *
 * Where there is no footer to say where frames lie, all is read twice instead, and compared.
 */
#include "pack_proof.h"
#include "digest.h"
#include "frame.h"
#include "log.h"
#include "pack_scan.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX (2 * FRAME_DECODED_MAX)

struct pack_proof {
	struct pack_source *source;
	const uint8_t *pool_uuid;
	struct footer_entry *frames; /* NULL: there is no footer */
	size_t n;
	uint64_t footer_at, at; /* what is next */
	/* the part at hand: 0 is the header, then frames, n + 1 the footer */
	size_t part, have, cap;
	uint8_t *bytes, *again; /* cap each */
};

static void where(const struct pack_proof *p, uint64_t *ret_at, size_t *ret_len)
{
	*ret_at = 0;
	*ret_len = sizeof(struct pack_header);
	if (p->part > p->n) {
		*ret_at = p->footer_at;
		*ret_len = (size_t)(p->source->bytes - p->footer_at);
	} else if (p->part) {
		*ret_at = p->frames[p->part - 1].offset;
		*ret_len = p->frames[p->part - 1].stored_len;
	}
}

static bool frame_is_right(const struct pack_proof *p, const uint8_t *bytes, uint64_t at,
			   size_t len)
{
	struct frame_head head;
	size_t need;
	return frame_parse_head(bytes, len, p->source->pack, at, &head, &need) == 0 &&
	       head.stored_len == len && frame_check_sums(&head, bytes) == 0;
}

static bool is_right(const struct pack_proof *p, const uint8_t *bytes, uint64_t at, size_t len)
{
	if (!p->part)
		return pack_header_is((const void *)bytes, p->source->pack, p->pool_uuid);
	if (p->part <= p->n)
		return frame_is_right(p, bytes, at, len);
	return checksum64(bytes, len - 8) == get_le64(bytes + len - 8);
}

static int refuse(const struct pack_proof *p, uint64_t at)
{
	log_error("pack %016" PRIx64 ": at %" PRIu64
		  " other bytes were read than lie there: it stays "
		  "where it is",
		  p->source->pack, at);
	return -EIO;
}

static int prove_part(struct pack_proof *p)
{
	uint64_t at;
	size_t len;
	where(p, &at, &len);
	if (is_right(p, p->bytes, at, len))
		return 0;
	int r = pack_source_again(p->source, p->again, len, at);
	if (r == 0 && is_right(p, p->again, at, len))
		return refuse(p, at);
	return r;
}

static int compare(struct pack_proof *p, const void *data, size_t len)
{
	if (len > p->cap) {
		free(p->again);
		p->again = malloc(len);
		p->cap = p->again ? len : 0;
	}
	if (!p->again)
		return -ENOMEM;
	int r = pack_source_again(p->source, p->again, len, p->at);
	return r == 0 && memcmp(p->again, data, len) ? refuse(p, p->at) : r;
}

static int take_parts(struct pack_proof *p, const uint8_t *data, size_t len)
{
	uint64_t end = p->at + len, at;
	size_t part_len;
	int r = 0;
	while (p->part <= p->n + 1 && r == 0) {
		where(p, &at, &part_len);
		uint64_t from = at + p->have;
		size_t left = part_len - p->have;
		if (from >= end)
			break;
		size_t n = left < end - from ? left : (size_t)(end - from);
		memcpy(p->bytes + p->have, data + (from - p->at), n);
		p->have += n;
		if (p->have < part_len)
			break;
		r = prove_part(p);
		p->part++;
		p->have = 0;
	}
	return r;
}

int pack_proof_feed(struct pack_proof *p, const void *data, size_t len)
{
	int r = p->frames ? take_parts(p, data, len) : compare(p, data, len);
	p->at += len;
	return r;
}

static int read_once(void *arg, void *buf, size_t len, uint64_t at)
{
	return pack_source_peek(arg, buf, len, at);
}

static int read_again(void *arg, void *buf, size_t len, uint64_t at)
{
	return pack_source_again(arg, buf, len, at);
}

/* -ENOENT: there is none that can be relied on. */
static int find_footer(struct pack_proof *p)
{
	struct pack_bytes from = { read_once, p->source, p->source->bytes };
	uint64_t pack = p->source->pack;
	int r = pack_footer_find(&from, pack, &p->frames, &p->n, &p->footer_at);
	if (r == -ENOENT) {
		from.read = read_again;
		r = pack_footer_find(&from, pack, &p->frames, &p->n, &p->footer_at);
	}
	for (size_t i = 0; i < p->n && r == 0; i++)
		if (p->frames[i].stored_len > FRAME_MAX)
			r = -ENOENT;
	return r;
}

static int make_room(struct pack_proof *p)
{
	size_t footer = (size_t)(p->source->bytes - p->footer_at);
	p->cap = footer > FRAME_MAX ? footer : FRAME_MAX;
	p->bytes = malloc(p->cap);
	p->again = malloc(p->cap);
	return p->bytes && p->again ? 0 : -ENOMEM;
}

int pack_proof_new(struct pack_source *source, const uint8_t pool_uuid[16],
		   struct pack_proof **ret_proof)
{
	struct pack_proof *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->source = source;
	p->pool_uuid = pool_uuid;
	int r = find_footer(p);
	if (r == 0) {
		r = make_room(p);
	} else if (r == -ENOENT) {
		free(p->frames);
		p->frames = NULL;
		p->n = 0;
		r = 0;
	}
	if (r < 0) {
		pack_proof_free(p);
		return r;
	}
	*ret_proof = p;
	return 0;
}

void pack_proof_free(struct pack_proof *p)
{
	if (!p)
		return;
	free(p->frames);
	free(p->bytes);
	free(p->again);
	free(p);
}
