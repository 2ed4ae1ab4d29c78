// SPDX-License-Identifier: MIT
/* Names against inodes: each leads to one, of the type it says; each inode has as many as its link
 * count says; and from the root every directory can be reached, on one way only. */
#include "check_impl.h"
#include "dirent_row.h"
#include <dirent.h>
#include <errno.h>

static void name_directory(struct check *k, struct check_inode *dir, struct check_inode *parent,
			   const struct dirent_row *row)
{
	struct inode_row full;
	parent->subdirs++;
	if (dir->parent) {
		check_error(k, "directory %lu has a second name, '%s' in %lu", dir->ino, row->name,
			    parent->ino);
		return;
	}
	dir->parent = (uint32_t)(parent - k->inodes) + 1;
	if (inode_row_get(k->pool->kv, dir->ino, &full) == 0 && full.parent != parent->ino)
		check_error_safe(k, "directory %lu lies in %lu, but says that it lies in %lu",
				 dir->ino, parent->ino, full.parent);
}

static int take_name(struct check *k, struct slice key, struct slice val)
{
	struct dirent_row row, found;
	int r = key.len == 16 ? dirent_decode(key, val, &row) : -EUCLEAN;
	if (r < 0)
		return r;
	uint64_t parent_ino = get_be64(key.at);
	struct check_inode *parent = check_find_inode(k, parent_ino);
	struct check_inode *in = check_find_inode(k, row.ino);
	k->res.names++;
	if (!parent || parent->type != DT_DIR) {
		check_error(k, "the name '%s' lies in %lu, which is no directory", row.name,
			    parent_ino);
		return 0;
	}
	parent->entries++;
	if (!in) {
		check_error(k,
			    "the name '%s' in directory %lu leads to inode %lu, which does not "
			    "exist",
			    row.name, parent_ino, row.ino);
		return 0;
	}
	in->names++;
	if (in->type != row.type)
		check_error_safe(k,
				 "the name '%s' in directory %lu says another type than its inode "
				 "%lu",
				 row.name, parent_ino, row.ino);
	if (in->type == DT_DIR)
		name_directory(k, in, parent, &row);
	r = k->opt->full ? dirent_get(k->pool->kv, parent_ino, row.name, &found) : 0;
	if (r == -ENOENT || (r == 0 && k->opt->full && found.cookie != row.cookie))
		check_error(k, "the name '%s' in directory %lu cannot be found by looking it up",
			    row.name, parent_ino);
	return r == -ENOENT || r == -EUCLEAN ? 0 : r;
}

/* Marks the directories on the way up as reached, or reports a way that does not end at the root. */
static void climb(struct check *k, size_t from)
{
	size_t at = from;
	bool reached = false;
	while (!(k->inodes[at].marks & CHECK_WALKING)) {
		struct check_inode *in = &k->inodes[at];
		if (in->ino == INO_ROOT || (in->marks & CHECK_REACHED)) {
			reached = true;
			break;
		}
		if (!in->parent)
			break; /* a nameless one: that is reported where names are counted */
		in->marks |= CHECK_WALKING;
		at = in->parent - 1;
	}
	bool circle = !reached && (k->inodes[at].marks & CHECK_WALKING);
	if (circle)
		check_error(k, "directory %lu lies in itself: nothing leads there from the root",
			    k->inodes[at].ino);
	for (at = from; k->inodes[at].marks & CHECK_WALKING; at = k->inodes[at].parent - 1) {
		k->inodes[at].marks &= (uint8_t)~CHECK_WALKING;
		if (reached || circle) /* a circle is told once */
			k->inodes[at].marks |= CHECK_REACHED;
	}
}

static void compare_directory(struct check *k, const struct check_inode *in)
{
	if (in->entries != in->size)
		check_error_safe(k, "directory %lu has %u entries, and says %lu", in->ino,
				 in->entries, in->size);
	if (!(in->marks & CHECK_ORPHAN) && in->nlink != 2 + in->subdirs)
		check_error_safe(k, "directory %lu has %u subdirectories, but the link count %u",
				 in->ino, in->subdirs, in->nlink);
	if (in->ino == INO_ROOT && in->names)
		check_error(k, "the root directory has a name");
	if (in->ino != INO_ROOT && !in->names && !(in->marks & CHECK_ORPHAN))
		check_error(k, "directory %lu has no name and does not wait to be deleted",
			    in->ino);
}

static void compare(struct check *k, const struct check_inode *in)
{
	if (in->type == DT_DIR) {
		compare_directory(k, in);
	} else if (!in->names && !(in->marks & CHECK_ORPHAN)) {
		check_error(k, "inode %lu has no name and does not wait to be deleted", in->ino);
	} else if (in->names != in->nlink) {
		check_error_safe(k, "inode %lu has %u names, but the link count %u", in->ino,
				 in->names, in->nlink);
	}
	if (in->names && (in->marks & CHECK_ORPHAN))
		check_error_safe(k, "inode %lu waits to be deleted, but has a name", in->ino);
	if (in->type == DT_DIR && in->entries && (in->marks & CHECK_ORPHAN))
		check_error(k, "directory %lu waits to be deleted, but is not empty", in->ino);
}

int check_names(struct check *k)
{
	struct check_inode *root = check_find_inode(k, INO_ROOT);
	if (!root || root->type != DT_DIR) {
		k->area |=
			CHECK_AREA_CHUNKS; /* an index that was begun anew knows no packs either */
		check_error(k, "the root directory is missing");
	}
	int r = check_each(k, KV_DIRENT, "names", take_name);
	for (size_t i = 0; r == 0 && i < k->n_inodes; i++) {
		compare(k, &k->inodes[i]);
		if (k->inodes[i].type == DT_DIR)
			climb(k, i);
	}
	return r;
}
