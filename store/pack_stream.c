// SPDX-License-Identifier: MIT
/* Appending. A place is given out under the set's lock and written without it, so writers to one
 * pack run side by side; each reports back when its write is done.
 *
 *   filling --(target reached, or a write failed)--> retired --(last write reported)--> sealed
 *
 * The row of a new pack is committed while it is begun, before any frame can be in it: in log order
 * a pack's row always precedes those of its frames, and its later states follow. The row of a
 * sealed one carries a barrier like any other, so a crash finds either a durable footer or an open
 * pack to be scanned; sealing itself never waits for the disk.
 *
 * A write that failed leaves bytes of unknown content. If its place is still the last one given out
 * it is taken back (the disk was full: later attempts go to the same place); otherwise the pack is
 * retired, and its footer does not list the hole.
 */
#include "pack_set.h"
#include "clock.h"
#include "fault.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

void open_pack_free(struct open_pack *op)
{
	if (!op)
		return;
	if (op->fd >= 0)
		close(op->fd);
	free(op->frames);
	free(op);
}

static int create_file(struct packs *p, struct open_pack *op)
{
	char name[PACK_NAME_MAX];
	pack_name(op->id, name);
	op->fd = io_create(p->opt.dirfd, name, O_RDWR | O_EXCL, 0600);
	if (op->fd < 0)
		return op->fd;
	int r = fault_hit("pack_create");
	if (r == 0)
		r = pack_header_write(op->fd, op->id, p->opt.pool_uuid, op->created);
	if (r < 0)
		unlinkat(p->opt.dirfd, name, 0);
	return r;
}

/* Makes the file, lists it as live, and commits its row. Without the lock. */
static int begin_pack(struct packs *p, uint64_t first_chunk, struct open_pack **ret_op)
{
	struct open_pack *op = calloc(1, sizeof *op);
	if (!op)
		return -ENOMEM;
	op->fd = -1;
	op->end = sizeof(struct pack_header);
	op->created = clock_wall_ns() / 1000000000;
	op->first_chunk = first_chunk;
	op->written = 1;
	int r;
	do { /* a crash may take the reservation of an id and leave its file, kept by recovery */
		r = ids_next(p->ids, &op->id);
		if (r == 0)
			r = create_file(p, op);
	} while (r == -EEXIST);
	if (r < 0) {
		open_pack_free(op);
		return r;
	}
	struct pack_row row = {
		.id = op->id,
		.state = PACK_OPEN,
		.bytes = op->end,
		.first_chunk = first_chunk,
		.created = op->created,
		.verified = op->created,
	};
	/* live before its row is committed, so that the row's barrier covers its name */
	pthread_mutex_lock(&p->lock);
	op->next = p->live;
	p->live = op;
	p->names_dirty = true;
	p->bytes += op->end;
	p->count++;
	pthread_mutex_unlock(&p->lock);
	r = pack_row_commit(p, op->id, &row);
	if (r < 0) { /* the engine has failed; the next mount removes the file */
		SCOPED_LOCK(&p->lock);
		op->retired = true;
		return r;
	}
	*ret_op = op;
	return 0;
}

static int seal(struct packs *p, struct open_pack *op)
{
	uint64_t bytes;
	if (!op->n)
		return pack_row_commit(p, op->id, NULL);
	int r = pack_footer_write(op->fd, op->id, op->end, op->frames, op->n, op->last_chunk,
				  &bytes);
	if (r < 0)
		return r;
	struct pack_row row = {
		.id = op->id,
		.state = PACK_SEALED,
		.bytes = bytes,
		.first_chunk = op->first_chunk,
		.created = op->created,
		.verified = op->created,
	};
	pthread_mutex_lock(&p->lock);
	op->written++;
	p->bytes += bytes - op->end;
	op->end = bytes;
	pthread_mutex_unlock(&p->lock);
	return pack_row_commit(p, op->id, &row);
}

static void retire_locked(struct packs *p, struct open_pack *op)
{
	for (int i = 0; i < PACK_STREAMS; i++)
		if (p->streams[i] == op)
			p->streams[i] = NULL;
	op->retired = true;
}

/* Takes a retired pack to its end once nobody writes to it any more; lets go of the lock meanwhile,
 * and op may be gone afterwards. An error costs nothing but the footer: the pack stays open in the
 * index, and is sealed at the next mount. */
static int seal_if_idle_locked(struct packs *p, struct open_pack *op)
{
	if (!op->retired || op->writing || op->sealing)
		return 0;
	op->sealing = true;
	int r = op->failed ? op->failed : p->sync_failed;
	pthread_mutex_unlock(&p->lock);
	if (r == 0)
		r = seal(p, op);
	if (r < 0)
		log_warn("pack %016" PRIx64 " could not be sealed: %s", op->id, strerror(-r));
	if (r == -ENOSPC || r == -EDQUOT)
		r = 0; /* nothing is lost by it */
	pthread_mutex_lock(&p->lock);
	op->sealed = true;
	open_pack_reap_locked(p);
	pthread_cond_broadcast(&p->changed);
	return r;
}

static int room_for_entry(struct open_pack *op)
{
	size_t need = op->n + op->writing + 1;
	if (need <= op->cap)
		return 0;
	size_t cap = need * 2 < 64 ? 64 : need * 2;
	struct footer_entry *frames = realloc(op->frames, cap * sizeof *frames);
	if (!frames)
		return -ENOMEM;
	op->frames = frames;
	op->cap = cap;
	return 0;
}

static int reserve(struct packs *p, enum pack_stream stream, uint32_t len, uint64_t first_chunk,
		   struct open_pack **ret_op, uint64_t *ret_offset)
{
	SCOPED_LOCK(&p->lock);
	for (;;) {
		struct open_pack *op = p->streams[stream];
		if (p->sync_failed)
			return p->sync_failed;
		if (p->beginning[stream]) {
			pthread_cond_wait(&p->changed, &p->lock);
		} else if (op && (op->end == sizeof(struct pack_header) ||
				  op->end + len <= p->opt.target_bytes)) {
			int r = room_for_entry(op);
			if (r < 0)
				return r;
			op->writing++;
			*ret_op = op;
			*ret_offset = op->end;
			op->end += len;
			p->bytes += len;
			return 0;
		} else if (op) {
			retire_locked(p, op);
			seal_if_idle_locked(p, op);
		} else {
			p->beginning[stream] = true;
			pthread_mutex_unlock(&p->lock);
			int r = begin_pack(p, first_chunk, &op);
			pthread_mutex_lock(&p->lock);
			p->beginning[stream] = false;
			pthread_cond_broadcast(&p->changed);
			if (r < 0)
				return r;
			p->streams[stream] = op;
		}
	}
}

static void note_frame_locked(struct open_pack *op, const struct frame_row *row)
{
	uint64_t first = row->chunks[0].id, last = row->chunks[row->n - 1].id;
	if (!op->n || first < op->first_chunk)
		op->first_chunk = first;
	if (last > op->last_chunk)
		op->last_chunk = last;
	op->frames[op->n++] = (struct footer_entry){
		.offset = row->offset,
		.first_chunk = first,
		.stored_len = row->stored_len,
		.decoded_len = row->decoded_len,
	};
	op->written++;
}

static void report(struct packs *p, struct open_pack *op, const struct frame_row *row, int err)
{
	SCOPED_LOCK(&p->lock);
	op->writing--;
	if (!err) {
		note_frame_locked(op, row);
	} else if (op->end == row->offset + row->stored_len) {
		op->end = row->offset;
		p->bytes -= row->stored_len;
	} else {
		retire_locked(p, op);
	}
	seal_if_idle_locked(p, op);
}

int pack_append(struct packs *p, enum pack_stream stream, struct frame_builder *fb,
		struct kv_batch *batch, struct frame_chunk *chunks, struct frame_row *ret_row)
{
	struct open_pack *op;
	struct frame_row row;
	uint64_t offset;
	if (p->opt.read_only)
		return -EROFS;
	struct kv_barrier *barrier = batch ? pack_barrier(p) : NULL;
	if (batch && !barrier)
		return -ENOMEM;
	int r = reserve(p, stream, (uint32_t)fb->stored.len, fb->entries[0].id, &op, &offset);
	if (r == 0) {
		frame_place(fb, op->id, offset, chunks, &row);
		r = fault_hit("pack_write");
		if (r == 0)
			r = io_write(op->fd, fb->stored.data, fb->stored.len, (off_t)offset);
		report(p, op, &row, r);
	}
	if (r < 0) {
		if (barrier)
			barrier->release(barrier);
		return r;
	}
	if (batch)
		kv_batch_barrier(batch, barrier);
	*ret_row = row;
	return 0;
}

int packs_retire(struct packs *p)
{
	int first_error = 0;
	SCOPED_LOCK(&p->lock);
	for (int i = 0; i < PACK_STREAMS; i++) {
		struct open_pack *op = p->streams[i];
		if (!op)
			continue;
		retire_locked(p, op);
		int r = seal_if_idle_locked(p, op);
		first_error = first_error ? first_error : r;
	}
	return first_error;
}
