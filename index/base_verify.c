// SPDX-License-Identifier: MIT
/* LMDB trusts its pages: it has no checksums, and a flipped bit in a page header or in the list of
 * free pages can make it crash or, worse, write into pages that are in use. This reader trusts nothing.
 *
 * The file, as LMDB 0.9 writes it (data version 1, 64-bit, little-endian):
 *
 *   page 0, 1     meta: two, the one with the higher transaction number counts
 *   branch page   header, then offsets of nodes; node: child page, key (the first node's is ignored)
 *   leaf page     the same; node: value, or the number of its first overflow page, and key
 *   overflow      header with the number of pages, then the value
 *
 * What is verified: every page that the meta page leads to carries its own number and the right kind,
 * lies at the right depth, its nodes fill exactly the used part, and its keys ascend and lie
 * between the keys that lead to it. No page is reached twice, and none that is reached is in the list
 * of free pages: since a page that is replaced becomes free, an old version of a page is never
 * taken for the new one. Counts agree. Rows have their own checksums (lmdb_base.c). So what is not
 * seen here is in bytes that nobody reads.
 */
#include "base_verify.h"
#include "cleanup.h"
#include "digest.h"
#include "io.h"
#include "kv_format.h"
#include "lmdb_base.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

#define MAGIC 0xBEEFC0DEu
#define DATA_VERSION 1u
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 32u
#define PAGE_MIN 512u
#define PAGE_MAX 65536u
#define MAP_SIZE_MOST (1ull << 46) /* bytes */
#define HEAD 16u		   /* of a page */
#define NODE 8u			   /* of a node */

enum { BRANCH = 0x01, LEAF = 0x02, OVERFLOW = 0x04, META = 0x08 };
enum { BIG = 0x01, SUB = 0x02 };
#define INTEGER_KEYS 0x08u /* of the tree of free pages */

struct tree { /* MDB_db */
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branches, leaves, overflows, entries, root;
};
#define TREE_SIZE 48u

/* A tree that the main tree names. */
struct named {
	struct tree tree;
	int table; /* -1: the engine's */
};

struct verify {
	int fd;
	bool pages_only; /* rows may be rotten */
	uint32_t page_size;
	uint64_t last_page, txn;
	struct tree free_tree, main_tree;
	uint8_t *seen;	/* a bit per page */
	uint8_t *pages; /* DEPTH_MAX of them */
	struct buf big;
	struct tree counted; /* of the tree being walked */
	struct named named[KV_TABLES + 1];
	unsigned n_named;
	char *why;
	size_t size;
};

struct walk;
typedef int (*row_fn)(struct walk *wk, struct slice key, struct slice val, unsigned flags);

struct walk {
	struct verify *v;
	const struct tree *tree;
	enum kv_table table;
	row_fn row;
	bool numbers; /* keys are numbers in host order */
};

static int bad(struct verify *v, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(v->why, v->size, fmt, ap);
	va_end(ap);
	return -EUCLEAN;
}

static struct tree tree_parse(const uint8_t *p)
{
	return (struct tree){
		.pad = get_le32(p),
		.flags = get_le16(p + 4),
		.depth = get_le16(p + 6),
		.branches = get_le64(p + 8),
		.leaves = get_le64(p + 16),
		.overflows = get_le64(p + 24),
		.entries = get_le64(p + 32),
		.root = get_le64(p + 40),
	};
}

static int take_page(struct verify *v, uint64_t page)
{
	if (page < 2 || page > v->last_page)
		return bad(v, "it leads to page %lu, which is none", page);
	if (v->seen[page / 8] & 1u << page % 8)
		return bad(v, "page %lu is in use twice, or in use and free", page);
	v->seen[page / 8] |= (uint8_t)(1u << page % 8);
	return 0;
}

static int read_page(struct verify *v, uint64_t page, uint8_t *ret)
{
	int r = io_read_exact(v->fd, ret, v->page_size, (off_t)(page * v->page_size));
	if (r == -EUCLEAN)
		return bad(v, "it ends before page %lu", page);
	if (r == 0 && get_le64(ret) != page)
		return bad(v, "page %lu says that it is page %lu", page, get_le64(ret));
	return r;
}

/* A value that has pages of its own. */
static int read_big(struct verify *v, uint64_t first, uint64_t len, struct slice *ret_val)
{
	uint8_t head[HEAD];
	int r = take_page(v, first);
	if (r == 0)
		r = io_read_exact(v->fd, head, HEAD, (off_t)(first * v->page_size));
	if (r < 0)
		return r;
	uint64_t need = (HEAD - 1 + len) / v->page_size + 1, n = get_le32(head + 12);
	/* A shorter value may have been written over a longer one. */
	if (get_le64(head) != first || get_le16(head + 10) != OVERFLOW || n < need)
		return bad(v, "page %lu is not what leads to it says", first);
	for (uint64_t i = 1; r == 0 && i < n; i++)
		r = take_page(v, first + i);
	if (r < 0)
		return r;
	buf_reset(&v->big);
	uint8_t *to = buf_extend(&v->big, n * v->page_size);
	if (!to)
		return -ENOMEM;
	r = io_read_exact(v->fd, to, n * v->page_size, (off_t)(first * v->page_size));
	if (r < 0)
		return r == -EUCLEAN ? bad(v, "it ends before page %lu", first) : r;
	v->counted.overflows += n;
	*ret_val = slice_of(to + HEAD, len);
	return 0;
}

struct node {
	struct slice key;
	uint16_t flags;
	uint64_t child;
	uint32_t len;	    /* of the value */
	const uint8_t *val; /* in the page */
};

/* Parses node i of a page whose header is good; adds its size to *used. */
static int node_at(struct verify *v, const uint8_t *p, unsigned i, size_t *used, struct node *ret)
{
	unsigned at = get_le16(p + HEAD + 2 * i), upper = get_le16(p + 14);
	bool leaf = get_le16(p + 10) == LEAF;
	if (at < upper || at % 2 || at + NODE > v->page_size)
		return bad(v, "page %lu is not in order", get_le64(p));
	unsigned lo = get_le16(p + at), hi = get_le16(p + at + 2), key_len = get_le16(p + at + 6);
	*ret = (struct node){ .flags = get_le16(p + at + 4) };
	size_t size = NODE + key_len;
	if (leaf) {
		ret->len = lo | hi << 16;
		size += ret->flags & BIG ? 8 : ret->len;
	} else {
		ret->child = lo | (uint64_t)hi << 16 | (uint64_t)ret->flags << 32;
	}
	if (size > v->page_size - at || (leaf && (ret->flags & ~(BIG | SUB))))
		return bad(v, "page %lu is not in order", get_le64(p));
	ret->key = slice_of(p + at + NODE, key_len);
	ret->val = p + at + NODE + key_len;
	*used += (size + 1) & ~(size_t)1;
	return 0;
}

static int compare(const struct walk *wk, struct slice a, struct slice b)
{
	if (wk->numbers && a.len == 8 && b.len == 8) {
		uint64_t x = get_le64(a.at), y = get_le64(b.at);
		return (x > y) - (x < y);
	}
	size_t least = a.len < b.len ? a.len : b.len;
	int c = least ? memcmp(a.at, b.at, least) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int walk_row(struct walk *wk, const struct node *n)
{
	struct verify *v = wk->v;
	struct slice val = slice_of(n->val, n->len);
	v->counted.entries++;
	if (n->flags & BIG) {
		int r = read_big(v, get_le64(n->val), n->len, &val);
		if (r < 0)
			return r;
	}
	return wk->row(wk, n->key, val, n->flags);
}

static int page_nodes(struct walk *wk, const uint8_t *p, unsigned depth, unsigned *ret_n)
{
	struct verify *v = wk->v;
	unsigned lower = get_le16(p + 12), upper = get_le16(p + 14), flags = get_le16(p + 10);
	bool leaf = depth == wk->tree->depth;
	unsigned n = lower < HEAD ? 0 : (lower - HEAD) / 2;
	if (flags != (leaf ? LEAF : BRANCH) || lower < HEAD || lower % 2 || lower > upper ||
	    upper > v->page_size || !n)
		return bad(v, "page %lu is not in order", get_le64(p));
	*(leaf ? &v->counted.leaves : &v->counted.branches) += 1;
	*ret_n = n;
	return 0;
}

/* lo, hi: what the page's keys must lie between; at NULL: nothing. */
static int walk_page(struct walk *wk, uint64_t page, unsigned depth, struct slice lo,
		     struct slice hi)
{
	struct verify *v = wk->v;
	uint8_t *p = v->pages + (size_t)(depth - 1) * v->page_size;
	bool leaf = depth == wk->tree->depth;
	struct slice last = lo;
	size_t used = 0;
	struct node n, next = { 0 };
	unsigned count = 0;
	int r = take_page(v, page);
	if (r == 0)
		r = read_page(v, page, p);
	if (r == 0)
		r = page_nodes(wk, p, depth, &count);
	for (unsigned i = 0; r == 0 && i < count; i++) {
		bool first = !leaf && i == 0;
		if (i == 0)
			r = node_at(v, p, 0, &used, &next);
		n = next;
		if (r == 0 && i + 1 < count)
			r = node_at(v, p, i + 1, &used, &next);
		if (r < 0)
			return r;
		if (!first && last.at) {
			int c = compare(wk, n.key, last);
			if (c < 0 || (c == 0 && i > (leaf ? 0 : 1)))
				return bad(v, "page %lu is not in order", page);
		}
		if (!first && hi.at && compare(wk, n.key, hi) >= 0)
			return bad(v, "page %lu is not in order", page);
		if (!first)
			last = n.key;
		if (leaf)
			r = walk_row(wk, &n);
		else
			r = walk_page(wk, n.child, depth + 1, first ? lo : n.key,
				      i + 1 < count ? next.key : hi);
	}
	if (r == 0 && used != v->page_size - get_le16(p + 14))
		return bad(v, "page %lu is not in order", page);
	return r;
}

static int walk_tree(struct walk *wk)
{
	struct verify *v = wk->v;
	const struct tree *t = wk->tree;
	static const struct slice none;
	v->counted = (struct tree){ 0 };
	if (t->depth > DEPTH_MAX || (t->root == NO_PAGE) != (t->depth == 0))
		return bad(v, "a tree has no root");
	int r = t->depth ? walk_page(wk, t->root, 1, none, none) : 0;
	if (r == 0 && (v->counted.entries != t->entries || v->counted.branches != t->branches ||
		       v->counted.leaves != t->leaves || v->counted.overflows != t->overflows))
		return bad(v, "it does not hold as many rows or pages as it says");
	return r;
}

/* A transaction's freed pages: their number, then they, descending. */
static int free_row(struct walk *wk, struct slice key, struct slice val, unsigned flags)
{
	struct verify *v = wk->v;
	uint64_t n = val.len >= 8 ? get_le64(val.at) : 0;
	if (flags & SUB || key.len != 8 || get_le64(key.at) > v->txn || val.len % 8 ||
	    n >= val.len / 8)
		return bad(v, "its list of free pages is not in order");
	for (uint64_t i = 1; i <= n; i++) {
		uint64_t page = get_le64(val.at + 8 * i);
		if (i > 1 && page >= get_le64(val.at + 8 * (i - 1)))
			return bad(v, "its list of free pages is not in order");
		int r = take_page(v, page);
		if (r < 0)
			return r;
	}
	return 0;
}

static int table_row(struct walk *wk, struct slice key, struct slice val, unsigned flags)
{
	if (flags & SUB || !key.len || key.len > KV_KEY_MAX ||
	    (!wk->v->pages_only && lmdb_check_value(wk->table, key, &val) < 0))
		return bad(wk->v, "a row of table %u has a wrong checksum", wk->table);
	return 0;
}

static int engine_row(struct walk *wk, struct slice key, struct slice val, unsigned flags)
{
	size_t sum = offsetof(struct base_state_disk, checksum);
	if (flags & SUB || key.len != 5 || memcmp(key.at, "state", 5) ||
	    val.len != sizeof(struct base_state_disk) ||
	    get_le64(val.at + sum) != checksum64(val.at, sum))
		return bad(wk->v, "the engine's own row has a wrong checksum");
	return 0;
}

static int main_row(struct walk *wk, struct slice key, struct slice val, unsigned flags)
{
	struct verify *v = wk->v;
	int t = key.len == 6 && !memcmp(key.at, "engine", 6) ? -1 : 0;
	const char *name;
	while (t >= 0 && t < KV_TABLES) {
		name = lmdb_table_name((enum kv_table)t);
		if (strlen(name) == key.len && !memcmp(name, key.at, key.len))
			break;
		t++;
	}
	if (flags != SUB || val.len != TREE_SIZE || t == KV_TABLES ||
	    v->n_named == sizeof v->named / sizeof *v->named)
		return bad(v, "its list of tables is not in order");
	v->named[v->n_named++] = (struct named){ tree_parse(val.at), t };
	return 0;
}

static int walk_named(struct verify *v)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < v->n_named; i++) {
		const struct named *nt = &v->named[i];
		struct walk wk = { .v = v, .tree = &nt->tree, .row = engine_row };
		if (nt->table >= 0) {
			wk.table = (enum kv_table)nt->table;
			wk.row = table_row;
		}
		r = nt->tree.flags || nt->tree.pad ? bad(v, "its list of tables is not in order")
						   : walk_tree(&wk);
	}
	return r;
}

static bool is_page_size(uint32_t n)
{
	return n >= PAGE_MIN && n <= PAGE_MAX && !(n & (n - 1));
}

/* The meta page that counts; both must be sound, LMDB demands it too. */
static int read_metas(struct verify *v)
{
	uint8_t meta[2][HEAD + 136];
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *m = meta[i];
		int r = io_read_exact(v->fd, m, sizeof meta[i], (off_t)i * v->page_size);
		if (r < 0)
			return r == -EUCLEAN ? bad(v, "it is too short") : r;
		uint32_t page_size = get_le32(m + HEAD + 24);
		if (get_le64(m) != i || get_le16(m + 10) != META || get_le32(m + HEAD) != MAGIC ||
		    get_le32(m + HEAD + 4) != DATA_VERSION || !is_page_size(page_size) ||
		    (i && page_size != v->page_size))
			return bad(v, "meta page %u is damaged", i);
		v->page_size = page_size;
	}
	const uint8_t *m = meta[get_le64(meta[1] + HEAD + 128) > get_le64(meta[0] + HEAD + 128)];
	v->free_tree = tree_parse(m + HEAD + 24);
	v->main_tree = tree_parse(m + HEAD + 72);
	v->last_page = get_le64(m + HEAD + 120);
	v->txn = get_le64(m + HEAD + 128);
	/* The file may be shorter: pages that a transaction took and freed again are never written. Those in
	 * use are looked for there one by one. */
	uint64_t map_size = get_le64(m + HEAD + 16);
	if (v->last_page < 1 || v->last_page >= map_size / v->page_size || map_size > MAP_SIZE_MOST)
		return bad(v, "its meta pages are damaged");
	if (v->free_tree.flags != INTEGER_KEYS || v->main_tree.flags)
		return bad(v, "its meta pages are damaged");
	return 0;
}

static int verify(struct verify *v)
{
	struct walk free_walk = { .v = v, .tree = &v->free_tree, .row = free_row, .numbers = true };
	struct walk main_walk = { .v = v, .tree = &v->main_tree, .row = main_row };
	int r = read_metas(v);
	if (r < 0)
		return r;
	v->seen = calloc(1, v->last_page / 8 + 1);
	v->pages = malloc((size_t)DEPTH_MAX * v->page_size);
	if (!v->seen || !v->pages)
		return -ENOMEM;
	r = walk_tree(&main_walk);
	if (r == 0)
		r = walk_named(v);
	return r < 0 ? r : walk_tree(&free_walk);
}

static int verify_file(int index_fd, bool pages_only, char *why, size_t size)
{
	CLEANUP_CLOSE int fd = openat(index_fd, "data.mdb", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	struct verify v = { .fd = fd, .pages_only = pages_only, .why = why, .size = size };
	*why = 0;
	int r = verify(&v);
	free(v.seen);
	free(v.pages);
	buf_done(&v.big);
	return r;
}

int base_verify(int index_fd, char *why, size_t size)
{
	return verify_file(index_fd, false, why, size);
}

int base_verify_pages(int index_fd, char *why, size_t size)
{
	return verify_file(index_fd, true, why, size);
}
