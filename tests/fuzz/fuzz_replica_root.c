// SPDX-License-Identifier: MIT
/* Input: u8 flags, then a root without its sum; or (TEXT) the text of an epoch. */
#include "fuzz.h"
#include "cleanup.h"
#include "digest.h"
#include "lease.h"
#include "replica_root.h"
#include <errno.h>

enum { SEAL = 1, TEXT = 2 };

static bool one_text(struct slice in)
{
	struct lease_record rec;
	int r = lease_parse((const char *)in.at, in.len, &rec);
	must(r == 0 || r == -EUCLEAN);
	must(r < 0 || memchr(rec.host, 0, sizeof rec.host));
	return r == 0;
}

static bool one_root(struct slice in, bool seal)
{
	CLEANUP_BUF struct buf bytes = { 0 }, again = { 0 };
	struct replica_root root;
	struct digest sum = { 0 };
	buf_put(&bytes, in.at, in.len);
	if (seal && in.len >= 12) {
		put_le64(bytes.data, REPLICA_MAGIC);
		put_le32(bytes.data + 8, REPLICA_VERSION);
		digest_of(bytes.data, bytes.len, &sum);
	}
	buf_put(&bytes, &sum, sizeof sum);
	int r = replica_root_parse(slice_of(bytes.data, bytes.len), &root);
	must(r == 0 || r == -EUCLEAN || r == -EPROTONOSUPPORT);
	if (r < 0)
		return false;
	for (size_t i = 0; i < root.n_items; i++)
		must(root.items[i].first + root.items[i].n <= root.n_blocks);
	replica_root_print(&root, &again);
	replica_root_done(&root);
	must(replica_root_parse(slice_of(again.data, again.len), &root) == 0);
	replica_root_done(&root);
	return true;
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	if (in.bad)
		return false;
	return flags & TEXT ? one_text(in) : one_root(in, flags & SEAL);
}

void fuzz_seeds(void)
{
	static const char text[] = "foldfs-epoch 1\npool 00112233445566778899aabbccddeeff\n"
				   "owner 0123456789abcdef0123456789abcdef\nhost h\nlease 5\n"
				   "base 3 4\nclaim 0123456789abcdef0123456789abcdef\n";
	struct replica_item dump = { .kind = REPLICA_DUMP, .a = 3, .b = 100, .size = 9000 };
	struct replica_item log = { .kind = REPLICA_LOG, .a = 101, .b = 120, .size = 77 };
	struct replica_item pack = { .kind = REPLICA_PACK, .a = 5, .size = 1u << 27 };
	struct replica_block block = { .len = 1000, .digest = { "digest" } };
	struct replica_root root = { .epoch = 2, .seq = 9, .lsn = 120 };
	struct buf b = { 0 }, t = { 0 };
	must(replica_root_add(&root, &dump) == 0 && replica_root_add_block(&root, &block) == 0);
	must(replica_root_add(&root, &log) == 0 && replica_root_add_block(&root, &block) == 0);
	must(replica_root_add(&root, &pack) == 0);
	buf_put_u8(&b, SEAL);
	replica_root_print(&root, &b);
	b.len -= sizeof(struct digest);
	replica_root_done(&root);
	fuzz_seed_buf("root", &b);
	buf_put_u8(&t, TEXT);
	buf_put(&t, text, sizeof text - 1);
	fuzz_seed_buf("epoch", &t);
}
