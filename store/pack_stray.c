// SPDX-License-Identifier: MIT
/* What could ever refer to the file?
 *
 *   rows of frames         have ids up to last_chunk, and the file's frames all lie beyond
 *   the log                has been replayed to its end: what it says is in the rows
 *   a dump                 shows rows of up to its last LSN; one that is newer than the index proves
 *                          that somebody has put back an older index
 *   inodes and segments    refer to chunks whose rows precede theirs in the log: a reference to a chunk
 *                          beyond last_chunk proves that rows were lost
 *   digests                are hints, made of rows, and lead nowhere without one
 *   a repair               made the index anew, or without part of its log, and has yet to take the
 *                          file in: there is no root, or META_LOG_LOST
 *
 * So when nothing of this is there, no state on this disk can have the file's chunks, and their ids
 * will be given to others. Where rows were lost that must not happen, and the pool is damaged. The last two questions cost a walk over the metadata, as gc's marking does,
 * and are asked only when there is such a file.
 */
#include "pack_stray.h"
#include "cleanup.h"
#include "dump.h"
#include "chunk_row.h"
#include "extents.h"
#include "inode_row.h"
#include "packer.h"
#include "rows_format.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* The last chunk id that is never given out again. */
int stray_index_init(struct stray_index *index, struct packs *p)
{
	CLEANUP_BUF struct buf val = { 0 };
	struct kv *kv = p->opt.kv;
	*index = (struct stray_index){ .p = p };
	int r = chunk_last_id(kv, &index->last_chunk);
	if (r == -EUCLEAN && p->opt.read_only)
		return 0; /* it says what is kept of unsealed packs, and nothing is sealed now */
	if (r == 0 && kv_get(kv, KV_META, PACKER_NEXT_KEY, strlen(PACKER_NEXT_KEY), &val) == 0 &&
	    val.len == 8 && get_le64(val.data) > index->last_chunk)
		index->last_chunk = get_le64(val.data) - 1;
	return r;
}

struct beyond {
	uint64_t most;
};

static void note_beyond(void *arg, uint64_t chunk)
{
	struct beyond *b = arg;
	b->most = chunk > b->most ? chunk : b->most;
}

static bool has_row(struct kv *kv, enum kv_table t, const void *key, size_t len)
{
	CLEANUP_BUF struct buf val = { 0 };
	return kv_get(kv, t, key, len, &val) == 0;
}

static const char *ask_index(struct stray_index *index)
{
	const struct packs_options *opt = &index->p->opt;
	struct dump_place place = { .dirfd = opt->dirfd };
	struct dump_info dump;
	struct beyond beyond = { 0 };
	struct stray_index now = *index;
	uint8_t root[8];
	memcpy(place.pool_uuid, opt->pool_uuid, sizeof place.pool_uuid);
	int unread, n = dump_list(&place, &dump, 1, &unread);
	if (n < 0 || unread)
		return "the dumps of the index cannot be looked at";
	if (n > 0 && dump.end_lsn > kv_last_lsn(opt->kv))
		return "a dump of the index is newer than the index";
	if (extents_scan_rows(opt->kv, note_beyond, &beyond) < 0)
		return "the index cannot be read";
	/* chunks are known before anything refers to them, while others write, too */
	if (beyond.most > now.last_chunk && stray_index_init(&now, index->p) < 0)
		return "the index cannot be read";
	index->damaged = beyond.most > now.last_chunk;
	if (index->damaged)
		return "no row names it, and files need chunks of which no row is left";
	put_be64(root, INO_ROOT);
	if (!has_row(opt->kv, KV_INODE, root, sizeof root) ||
	    has_row(opt->kv, KV_META, META_LOG_LOST, strlen(META_LOG_LOST)))
		return "a repair of the index has not come to its end";
	return NULL;
}

const char *stray_index_lacks(struct stray_index *index)
{
	if (!index->asked)
		index->lacks = ask_index(index);
	index->asked = true;
	return index->lacks;
}

/* By its footer, which also names frames whose heads are gone. */
static bool lists_known(int fd, uint64_t pack, uint64_t last_chunk)
{
	CLEANUP_FREE struct footer_entry *entries = NULL;
	uint64_t at;
	size_t n = 0;
	bool known = false;
	if (pack_footer_read(fd, pack, &entries, &n, &at) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		known |= entries[i].first_chunk <= last_chunk;
	return known;
}

const char *pack_stray_needed(struct stray_index *index, int fd, uint64_t pack)
{
	struct stat st;
	if (fstat(fd, &st) == 0 && st.st_size <= (off_t)sizeof(struct pack_header))
		return NULL;
	if (lists_known(fd, pack, index->last_chunk))
		return "its footer names chunks that the index knows, and they cannot be read";
	return stray_index_lacks(index);
}

static int note_known(void *arg, uint64_t offset, const struct frame_head *head)
{
	(void)offset;
	return head->entries[0].id <= *(const uint64_t *)arg;
}

enum stray_fate pack_stray_fate(struct stray_index *index, uint64_t pack, const char **ret_why)
{
	char name[PACK_NAME_MAX];
	uint64_t end, known = index->last_chunk;
	pack_name(pack, name);
	*ret_why = "it cannot be read";
	CLEANUP_CLOSE int fd = openat(index->p->opt.dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return STRAY_STAYS;
	int r = pack_scan_fd(fd, pack, 0, note_known, &known, &end);
	if (r < 0 && r != -EUCLEAN)
		return STRAY_STAYS;
	if (end > sizeof(struct pack_header) &&
	    pack_header_check(fd, pack, index->p->opt.pool_uuid) < 0)
		return STRAY_FOREIGN;
	if (r > 0)
		return STRAY_KNOWN;
	*ret_why = pack_stray_needed(index, fd, pack);
	return *ret_why ? STRAY_STAYS : STRAY_GOES;
}
