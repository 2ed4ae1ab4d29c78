// SPDX-License-Identifier: MIT
#include "replica_root.h"
#include "cleanup.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void *grown(void *v, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return v;
	size_t more = *cap ? *cap * 2 : 64;
	void *to = realloc(v, more * size);
	if (to)
		*cap = more;
	return to;
}

int replica_root_add(struct replica_root *root, const struct replica_item *item)
{
	struct replica_item *v =
		grown(root->items, root->n_items, &root->cap_items, sizeof *root->items);
	if (!v)
		return -ENOMEM;
	root->items = v;
	struct replica_item *added = &v[root->n_items++];
	*added = *item;
	added->first = root->n_blocks;
	added->n = 0;
	return 0;
}

int replica_root_add_block(struct replica_root *root, const struct replica_block *block)
{
	struct replica_block *v =
		grown(root->blocks, root->n_blocks, &root->cap_blocks, sizeof *root->blocks);
	if (!v)
		return -ENOMEM;
	root->blocks = v;
	v[root->n_blocks++] = *block;
	root->items[root->n_items - 1].n++;
	return 0;
}

int replica_root_copy(struct replica_root *to, const struct replica_root *from, size_t item)
{
	const struct replica_item *it = &from->items[item];
	int r = replica_root_add(to, it);
	for (size_t i = 0; r == 0 && i < it->n; i++)
		r = replica_root_add_block(to, &from->blocks[it->first + i]);
	return r;
}

static int compare_items(const void *a, const void *b)
{
	const struct replica_item *x = a, *y = b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return (x->b > y->b) - (x->b < y->b);
}

void replica_root_sort(struct replica_root *root)
{
	if (root->n_items)
		qsort(root->items, root->n_items, sizeof *root->items, compare_items);
}

const struct replica_item *replica_root_find(const struct replica_root *root,
					     enum replica_kind kind, uint64_t a, uint64_t b)
{
	struct replica_item key = { .kind = kind, .a = a, .b = b };
	return root->n_items ? bsearch(&key, root->items, root->n_items, sizeof key, compare_items)
			     : NULL;
}

void replica_root_done(struct replica_root *root)
{
	free(root->items);
	free(root->blocks);
	*root = (struct replica_root){ 0 };
}

void replica_root_print(const struct replica_root *root, struct buf *out)
{
	struct replica_header h = { .magic = htole64(REPLICA_MAGIC),
				    .version = htole32(REPLICA_VERSION),
				    .epoch = htole64(root->epoch),
				    .seq = htole64(root->seq),
				    .lsn = htole64(root->lsn),
				    .time = (int64_t)htole64((uint64_t)root->time),
				    .items = htole64(root->n_items) };
	struct digest sum;
	size_t from = out->len;
	memcpy(h.pool_uuid, root->pool_uuid, sizeof h.pool_uuid);
	buf_put(out, &h, sizeof h);
	for (size_t i = 0; i < root->n_items; i++) {
		const struct replica_item *it = &root->items[i];
		buf_put_u8(out, (uint8_t)it->kind);
		buf_put_varint(out, it->a);
		buf_put_varint(out, it->b);
		buf_put_varint(out, it->size);
		buf_put_svarint(out, it->mtime);
		buf_put_varint(out, it->n);
		for (size_t k = 0; k < it->n; k++) {
			const struct replica_block *b = &root->blocks[it->first + k];
			buf_put_varint(out, b->at);
			buf_put_varint(out, b->len);
			buf_put(out, &b->digest, sizeof b->digest);
		}
	}
	if (out->failed)
		return;
	digest_of(out->data + from, out->len - from, &sum);
	buf_put(out, &sum, sizeof sum);
}

static int parse_block(struct slice *s, const struct replica_item *it, struct replica_root *root)
{
	struct replica_block b = { .at = take_varint(s) };
	uint64_t len = take_varint(s);
	const uint8_t *digest = take_bytes(s, sizeof b.digest);
	bool in_file = it->kind == REPLICA_LOG || (b.at <= it->size && len <= it->size - b.at);
	if (s->bad || !len || len > REPLICA_OBJECT_MAX || !in_file)
		return -EUCLEAN;
	b.len = (uint32_t)len;
	memcpy(&b.digest, digest, sizeof b.digest);
	return replica_root_add_block(root, &b);
}

static int parse_item(struct slice *s, struct replica_root *root)
{
	struct replica_item it = { .kind = (enum replica_kind)take_u8(s) };
	it.a = take_varint(s);
	it.b = take_varint(s);
	it.size = take_varint(s);
	it.mtime = take_svarint(s);
	uint64_t n = take_varint(s);
	if (s->bad || it.kind < REPLICA_SUPER || it.kind >= REPLICA_KINDS || it.size > INT64_MAX ||
	    (it.kind == REPLICA_LOG && (n != 1 || it.b < it.a)))
		return -EUCLEAN;
	int r = replica_root_add(root, &it);
	for (uint64_t i = 0; r == 0 && i < n; i++)
		r = parse_block(s, &it, root);
	return r;
}

/* From the dump on, each batch once. */
static bool logs_are_whole(const struct replica_root *root)
{
	uint64_t at = 0;
	bool dump = false;
	for (size_t i = 0; i < root->n_items; i++) {
		const struct replica_item *it = &root->items[i];
		if (it->kind == REPLICA_DUMP && dump)
			return false;
		if (it->kind == REPLICA_DUMP) {
			dump = true;
			at = it->b;
		}
		if (it->kind == REPLICA_LOG && (!dump || it->a != at + 1))
			return false;
		if (it->kind == REPLICA_LOG)
			at = it->b;
	}
	return dump && at == root->lsn;
}

int replica_root_parse(struct slice bytes, struct replica_root *ret_root)
{
	struct replica_root root = { 0 };
	struct replica_header h;
	struct digest sum;
	if (bytes.len < sizeof h + sizeof sum)
		return -EUCLEAN;
	digest_of(bytes.at, bytes.len - sizeof sum, &sum);
	memcpy(&h, bytes.at, sizeof h);
	if (le64toh(h.magic) != REPLICA_MAGIC ||
	    memcmp(&sum, bytes.at + bytes.len - sizeof sum, sizeof sum))
		return -EUCLEAN;
	if (le32toh(h.version) != REPLICA_VERSION)
		return -EPROTONOSUPPORT;
	struct slice s = slice_of(bytes.at + sizeof h, bytes.len - sizeof h - sizeof sum);
	memcpy(root.pool_uuid, h.pool_uuid, sizeof root.pool_uuid);
	root.epoch = le64toh(h.epoch);
	root.seq = le64toh(h.seq);
	root.lsn = le64toh(h.lsn);
	root.time = (int64_t)le64toh((uint64_t)h.time);
	int r = 0;
	for (uint64_t i = 0; r == 0 && i < le64toh(h.items); i++)
		r = parse_item(&s, &root);
	if (r == 0 && (s.len || !logs_are_whole(&root)))
		r = -EUCLEAN;
	if (r < 0) {
		replica_root_done(&root);
		return r;
	}
	*ret_root = root;
	return 0;
}

void replica_root_name(uint64_t epoch, uint64_t seq, char name[DEPOT_NAME_MAX])
{
	snprintf(name, DEPOT_NAME_MAX, "e%016" PRIx64 "/root.%016" PRIx64, epoch, seq);
}

void replica_object_name(uint64_t epoch, const struct digest *digest, char name[DEPOT_NAME_MAX])
{
	int n = snprintf(name, DEPOT_NAME_MAX, "e%016" PRIx64 "/o.", epoch);
	for (size_t i = 0; i < sizeof digest->bytes; i++)
		n += snprintf(name + n, DEPOT_NAME_MAX - (size_t)n, "%02x", digest->bytes[i]);
}

static int take_name(void *arg, const char *name)
{
	uint64_t *newest = arg, epoch, seq;
	if (sscanf(name, "e%16" SCNx64 "/root.%16" SCNx64, &epoch, &seq) == 2 && seq > *newest)
		*newest = seq;
	return 0;
}

int replica_root_newest(struct depot *d, uint64_t epoch, uint64_t *ret_seq)
{
	char prefix[DEPOT_NAME_MAX];
	uint64_t newest = 0;
	snprintf(prefix, sizeof prefix, "e%016" PRIx64 "/root.", epoch);
	int r = d->ops->list(d, prefix, take_name, &newest);
	if (r == 0 && !newest)
		r = -ENOENT;
	if (r == 0)
		*ret_seq = newest;
	return r;
}

int replica_root_read(struct depot *d, uint64_t epoch, uint64_t seq, struct replica_root *ret_root)
{
	CLEANUP_BUF struct buf bytes = { 0 };
	char name[DEPOT_NAME_MAX];
	struct replica_root root = { 0 };
	replica_root_name(epoch, seq, name);
	int r = d->ops->get(d, name, REPLICA_ROOT_MAX, &bytes);
	if (r == -EFBIG)
		r = -EUCLEAN;
	if (r == 0)
		r = replica_root_parse(slice_of(bytes.data, bytes.len), &root);
	if (r == 0 && (root.epoch != epoch || root.seq != seq))
		r = -EUCLEAN;
	if (r < 0) {
		replica_root_done(&root);
		return r;
	}
	*ret_root = root;
	return 0;
}

int replica_block_read(struct depot *d, uint64_t epoch, const struct replica_block *block,
		       struct buf *out)
{
	char name[DEPOT_NAME_MAX];
	struct digest digest;
	size_t from = out->len;
	replica_object_name(epoch, &block->digest, name);
	int r = d->ops->get(d, name, block->len, out);
	if (r < 0)
		return r == -EFBIG ? -EUCLEAN : r;
	if (out->len - from != block->len)
		return -EUCLEAN;
	digest_of(out->data + from, block->len, &digest);
	return digest_equal(&digest, &block->digest) ? 0 : -EUCLEAN;
}
