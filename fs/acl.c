// SPDX-License-Identifier: MIT
#include "acl.h"
#include "cleanup.h"
#include "xattr_row.h"

#define ACL_VERSION 2u
#define HEADER 4u
#define ENTRY 8u

enum {
	TAG_USER_OBJ = 1,
	TAG_USER = 2,
	TAG_GROUP_OBJ = 4,
	TAG_GROUP = 8,
	TAG_MASK = 16,
	TAG_OTHER = 32
};

static size_t entries_of(size_t len)
{
	return (len - HEADER) / ENTRY;
}

static uint8_t *entry_at(const void *acl, size_t i)
{
	return (uint8_t *)(uintptr_t)acl + HEADER + i * ENTRY;
}

int acl_check(const void *acl, size_t len)
{
	if (len < HEADER || (len - HEADER) % ENTRY || get_le32(acl) != ACL_VERSION)
		return -EINVAL;
	for (size_t i = 0; i < entries_of(len); i++) {
		uint16_t tag = get_le16(entry_at(acl, i)), perm = get_le16(entry_at(acl, i) + 2);
		if (!tag || (tag & (tag - 1)) || tag > TAG_OTHER || perm > 7)
			return -EINVAL;
	}
	return 0;
}

static uint8_t *find_tag(const void *acl, size_t len, uint16_t want)
{
	for (size_t i = 0; i < entries_of(len); i++)
		if (get_le16(entry_at(acl, i)) == want)
			return entry_at(acl, i);
	return NULL;
}

/* The entry that the group bits of the mode stand for. */
static uint8_t *group_class(const void *acl, size_t len)
{
	uint8_t *mask = find_tag(acl, len, TAG_MASK);
	return mask ? mask : find_tag(acl, len, TAG_GROUP_OBJ);
}

/* acl(5), object creation: the mode asked for and the inherited entries limit each other. */
static void limit_each_other(void *acl, size_t len, uint32_t *mode)
{
	uint8_t *classes[3] = { find_tag(acl, len, TAG_USER_OBJ), group_class(acl, len),
				find_tag(acl, len, TAG_OTHER) };
	for (unsigned i = 0; i < 3; i++) {
		unsigned shift = 6 - 3 * i;
		if (!classes[i])
			continue;
		uint16_t perm = get_le16(classes[i] + 2) & (uint16_t)(*mode >> shift);
		put_le16(classes[i] + 2, perm & 7);
		*mode = (*mode & ~(7u << shift)) | ((uint32_t)(perm & 7) << shift);
	}
}

int acl_inherit(struct fs *fs, const struct inode_row *parent, mode_t umask_bits,
		struct inode_row *row, struct kv_batch *b)
{
	if (S_ISLNK(row->mode))
		return 0;
	CLEANUP_BUF struct buf acl = { 0 };
	int r = parent->flags & INODE_ACL ? xattr_get(fs_kv(fs), parent->ino, ACL_DEFAULT, &acl)
					  : -ENODATA;
	if (r == -ENODATA || (r == 0 && acl_check(acl.data, acl.len) < 0)) {
		row->mode &= ~umask_bits;
		return 0;
	}
	if (r < 0)
		return r;
	if (S_ISDIR(row->mode)) {
		xattr_put(b, row->ino, ACL_DEFAULT, acl.data, acl.len);
		row->flags |= INODE_XATTRS | INODE_ACL;
	}
	limit_each_other(acl.data, acl.len, &row->mode);
	if (entries_of(acl.len) > 3) {
		xattr_put(b, row->ino, ACL_ACCESS, acl.data, acl.len);
		row->flags |= INODE_XATTRS | INODE_ACL;
	}
	return 0;
}

int acl_chmod(struct fs *fs, struct inode_row *row, struct kv_batch *b)
{
	if (!(row->flags & INODE_ACL))
		return 0;
	CLEANUP_BUF struct buf acl = { 0 };
	int r = xattr_get(fs_kv(fs), row->ino, ACL_ACCESS, &acl);
	if (r == -ENODATA)
		return 0;
	if (r < 0 || (r = acl_check(acl.data, acl.len)) < 0)
		return r;
	uint8_t *classes[3] = { find_tag(acl.data, acl.len, TAG_USER_OBJ),
				group_class(acl.data, acl.len),
				find_tag(acl.data, acl.len, TAG_OTHER) };
	for (unsigned i = 0; i < 3; i++)
		if (classes[i])
			put_le16(classes[i] + 2, (row->mode >> (6 - 3 * i)) & 7);
	xattr_put(b, row->ino, ACL_ACCESS, acl.data, acl.len);
	return 0;
}

int acl_take_mode(struct inode_row *row, const void *acl, size_t len, bool *ret_needed)
{
	int r = acl_check(acl, len);
	if (r < 0)
		return r;
	const uint8_t *classes[3] = { find_tag(acl, len, TAG_USER_OBJ), group_class(acl, len),
				      find_tag(acl, len, TAG_OTHER) };
	uint32_t mode = row->mode & ~0777u;
	for (unsigned i = 0; i < 3; i++) {
		if (!classes[i])
			return -EINVAL;
		mode |= (uint32_t)(get_le16(classes[i] + 2) & 7) << (6 - 3 * i);
	}
	row->mode = mode;
	*ret_needed = entries_of(len) > 3;
	return 0;
}
