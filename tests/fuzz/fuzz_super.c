// SPDX-License-Identifier: MIT
/* Input: u8 flags, le16 length of the file, then the fields of the two copies; what lies between the
 * fields and the sum is zeros and costs the input nothing. */
#include "fuzz.h"
#include "digest.h"
#include "super.h"
#include "super_format.h"
#include <errno.h>

enum { SEAL_FIRST = 1, SEAL_SECOND = 2, WHOLE = 4 };
#define FIELDS offsetof(struct super_disk, reserved)

static void lay_out(struct slice in, struct super_disk file[2], size_t *ret_len)
{
	uint8_t flags = take_u8(&in);
	struct slice len = take_up_to(&in, 2);
	*ret_len = flags & WHOLE || len.len < 2 ? 8192 : get_le16(len.at) % 8193;
	for (unsigned i = 0; i < 2; i++) {
		struct slice fields = take_up_to(&in, FIELDS);
		if (fields.len)
			memcpy(&file[i], fields.at, fields.len);
		if (flags & (i ? SEAL_SECOND : SEAL_FIRST)) {
			put_le64(&file[i].magic, SUPER_MAGIC);
			put_le64(&file[i].sum,
				 checksum64(&file[i], offsetof(struct super_disk, sum)));
		}
	}
}

bool fuzz_one(struct slice in)
{
	static struct super_disk file[2];
	struct super s, again;
	bool damaged = false;
	size_t len;
	memset(file, 0, sizeof file);
	lay_out(in, file, &len);
	fuzz_put_file(fuzz_dirfd(), "super", file, len);
	int r = super_read(fuzz_dirfd(), &s, &damaged);
	if (r < 0) {
		must(r == -EUCLEAN || r == -EPROTONOSUPPORT);
		return false;
	}
	must(chunker_check(&s.chunker) == 0 && memchr(s.label, 0, sizeof s.label));
	must(super_write(fuzz_dirfd(), &s) == 0);
	must(super_read(fuzz_dirfd(), &again, &damaged) == 0 && !damaged);
	must(again.created == s.created && again.dirent_seed == s.dirent_seed &&
	     !strcmp(again.label, s.label) &&
	     !memcmp(&again.chunker, &s.chunker, sizeof s.chunker));
	return true;
}

void fuzz_seeds(void)
{
	struct super_disk d = {
		.version = htole32(SUPER_VERSION),
		.digest = htole32(SUPER_DIGEST_BLAKE3),
		.uuid = "a uuid of a pool",
		.created = (int64_t)htole64(1700000000),
		.chunker = htole32(CHUNKER_FASTCDC),
		.chunk_min = htole32(16384),
		.chunk_avg = htole32(65536),
		.chunk_max = htole32(262144),
		.label = "films",
	};
	for (unsigned copies = SEAL_FIRST; copies <= (SEAL_FIRST | SEAL_SECOND); copies++) {
		struct buf b = { 0 };
		buf_put_u8(&b, (uint8_t)(copies | WHOLE));
		buf_put(&b, "\0", 2);
		buf_put(&b, &d, FIELDS);
		buf_put(&b, &d, FIELDS);
		fuzz_seed_buf(copies == SEAL_FIRST    ? "first"
			      : copies == SEAL_SECOND ? "second"
						      : "both",
			      &b);
	}
}
