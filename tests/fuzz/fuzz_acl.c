// SPDX-License-Identifier: MIT
/* Input: le16 mode; the ACL as it lies in an attribute. */
#include "acl.h"
#include "fuzz.h"

bool fuzz_one(struct slice in)
{
	struct slice mode = take_up_to(&in, 2);
	struct inode_row row = { .ino = 1 };
	bool needed = false;
	if (mode.len < 2)
		return false;
	row.mode = get_le16(mode.at);
	int checked = acl_check(in.at, in.len), r = acl_take_mode(&row, in.at, in.len, &needed);
	must((checked == 0 || checked == -EINVAL) && (r == 0 || r == -EINVAL));
	must(checked == 0 || r < 0);
	must((row.mode & ~0777u) == (get_le16(mode.at) & ~0777u));
	return r == 0;
}

void fuzz_seeds(void)
{
	fuzz_seed("small",
		  "\xa4\x81\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0"
		  "\x04\0\xff\xff\xff\xff",
		  30);
	fuzz_seed("mask",
		  "\xa4\x81\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x07\0\xe8\x03\0\0\x04\0\x04"
		  "\0\xff\xff\xff\xff\x10\0\x05\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff",
		  46);
}
