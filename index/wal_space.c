// SPDX-License-Identifier: MIT
/* Room for frames before they are accepted. Segments are prepared by a thread of their own, because
 * allocating and syncing one takes milliseconds; a commit that finds none waits for one attempt
 * and is refused with that attempt's error. So a full disk never meets an accepted frame.
 *
 * Of the WAL_SPARES prepared segments the last one is for batches that free space (deletes): an
 * ordinary batch is accepted only while at least one spare stays untouched behind it.
 *
 * A commit that had to wait raises the number of spares for the rest of the run. On a nearly full disk there
 * is but one.
 *
 * Frames that are in the base and kept only for repair (wal_keep()) give way when the disk is full.
 *
 * A frame larger than an ordinary segment gets a segment of its own size, made for it.
 */
#include "wal_internal.h"
#include "io.h"
#include "log.h"
#include <errno.h>
#include <sys/statvfs.h>

#define ROOM_LEAST ((uint64_t)4 << 20)
#define SEGMENT_LEAST ((size_t)64 << 10)
#define ROOM_SHORT ((uint64_t)128 << 20) /* bytes free; then one spare will do */

static bool fits_tail(const struct wal *w, size_t size)
{
	return size <= wal_segment_room(w->tail);
}

static void use_segment_locked(struct wal *w, struct wal_segment *s)
{
	s->next = NULL;
	s->prev_seq = w->tail->seq;
	s->first_lsn = w->last_lsn + 1;
	w->tail->next = s;
	w->tail = s;
}

static bool try_place_locked(struct wal *w, size_t size, bool may_use_reserve)
{
	unsigned keep = may_use_reserve ? 0 : 1;
	if (fits_tail(w, size))
		return w->spares >= keep;
	if (w->big && wal_segment_room(w->big) >= size && w->spares >= keep) {
		struct wal_segment *s = w->big;
		w->big = NULL;
		use_segment_locked(w, s);
		return true;
	}
	if (w->spares <= keep || wal_segment_room(w->spare) < size)
		return false;
	struct wal_segment *s = w->spare;
	w->spare = s->next;
	w->spares--;
	use_segment_locked(w, s);
	pthread_cond_signal(&w->maker_wake);
	return true;
}

int wal_place_locked(struct wal *w, size_t frame_size, bool may_use_reserve)
{
	int made = 0;
	while (!try_place_locked(w, frame_size, may_use_reserve)) {
		if (made < 0)
			return made;
		uint64_t tries = w->make_tries;
		w->wanted = (WAL_FRAMES_AT + frame_size + WAL_END_SIZE + WAL_BLOCK - 1) &
			    ~(size_t)(WAL_BLOCK - 1);
		pthread_cond_signal(&w->maker_wake);
		while (w->make_tries == tries && !w->failed && !w->stopping)
			pthread_cond_wait(&w->made, &w->lock);
		w->wanted = 0;
		if (w->failed)
			return w->failed;
		if (w->stopping)
			return -ESHUTDOWN;
		made = w->make_result;
		if (made == 0 && w->spares_wanted < WAL_SPARES_MAX)
			w->spares_wanted++; /* the next burst need not wait */
	}
	return 0;
}

static bool wants_big_locked(const struct wal *w)
{
	return w->wanted > w->opt.segment_bytes && (!w->big || w->big->size < w->wanted);
}

/* What is left of a nearly full disk, be it the pool's reserve, is for checkpoints and gc as well. */
static bool room_below(const struct wal *w, uint64_t bytes)
{
	struct statvfs st;
	if (fstatvfs(w->opt.dirfd, &st))
		return false;
	return (uint64_t)st.f_bavail * st.f_frsize < bytes;
}

static bool wants_spare_locked(const struct wal *w)
{
	return w->spares < w->spares_wanted && (!w->spares || !room_below(w, ROOM_SHORT));
}

/* A full disk is asked again only when a commit needs it or something was trimmed. */
static bool wants_segment_locked(const struct wal *w)
{
	if (w->failed)
		return false;
	return wants_big_locked(w) || w->wanted || (w->make_result == 0 && wants_spare_locked(w));
}

static bool is_full(int err)
{
	return err == -ENOSPC || err == -EDQUOT;
}

static bool is_passing(int err)
{
	return is_full(err) || err == -ENOMEM || err == -EMFILE || err == -ENFILE;
}

static void keep_spare_locked(struct wal *w, struct wal_segment *s)
{
	struct wal_segment **at = &w->spare;
	while (*at)
		at = &(*at)->next;
	*at = s;
	w->spares++;
}

static void keep_big_locked(struct wal *w, struct wal_segment *s)
{
	if (w->big) {
		w->big->next = w->doomed;
		w->doomed = w->big;
	}
	w->big = s;
}

static void make_segment(struct wal *w)
{
	bool big = wants_big_locked(w);
	size_t size = big ? w->wanted : w->opt.segment_bytes;
	size_t least = w->wanted > SEGMENT_LEAST ? w->wanted : SEGMENT_LEAST;
	uint64_t seq = ++w->last_seq;
	struct wal_segment *s;
	pthread_mutex_unlock(&w->lock);
	/* A small one will do for deleting, and for opening a pool on a nearly full disk; but if the disk has
	 * nothing left for checkpoints either, nothing more is accepted. */
	int r = wal_segment_create(w->opt.dirfd, seq, size, &s);
	while (is_full(r) && size / 2 >= least && !room_below(w, ROOM_LEAST)) {
		size = size / 2 & ~(size_t)(WAL_BLOCK - 1);
		r = wal_segment_create(w->opt.dirfd, seq, size, &s);
	}
	if (r < 0 && !is_passing(r))
		wal_fail(w, r, "log segment");
	pthread_mutex_lock(&w->lock);
	if (r == 0) {
		w->bytes_on_disk += size;
		if (big)
			keep_big_locked(w, s);
		else
			keep_spare_locked(w, s);
	}
	if (is_full(r) && wal_give_room_locked(w))
		return; /* once that is gone, again */
	w->wanted = 0;
	w->make_result = r;
	w->make_tries++;
	pthread_cond_broadcast(&w->made);
}

static void remove_doomed(struct wal *w)
{
	struct wal_segment *s = w->doomed;
	w->doomed = NULL;
	pthread_mutex_unlock(&w->lock);
	size_t bytes = 0;
	for (struct wal_segment *next; s; s = next) {
		next = s->next;
		bytes += s->size;
		uint64_t seq = s->seq;
		int r = wal_segment_remove(w->opt.dirfd, s);
		if (r < 0)
			log_warn("log segment %llu cannot be removed: %s", (unsigned long long)seq,
				 strerror(-r));
	}
	pthread_mutex_lock(&w->lock);
	w->bytes_on_disk -= bytes;
	w->make_result = 0; /* there may be space again */
}

void *wal_maker_main(void *arg)
{
	struct wal *w = arg;
	pthread_setname_np(pthread_self(), "wal-space");
	pthread_mutex_lock(&w->lock);
	while (!w->stopping) {
		if (w->doomed)
			remove_doomed(w);
		else if (wants_segment_locked(w))
			make_segment(w);
		else
			pthread_cond_wait(&w->maker_wake, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* A segment may go when the next one holds a frame that is in the base too: that frame was durable
 * before the checkpoint, and so was its segment's header. The one that the base names stays until the
 * base names a later one. */
void wal_trim_locked(struct wal *w)
{
	uint64_t lsn = w->trimmed_lsn < w->keep_after ? w->trimmed_lsn : w->keep_after;
	while (w->oldest != w->tail && w->oldest->next->first_lsn <= lsn &&
	       wal_seq_tag(w->oldest->seq) != w->opt.named) {
		struct wal_segment *s = w->oldest;
		w->oldest = s->next;
		s->next = w->doomed;
		w->doomed = s;
	}
	if (w->doomed)
		pthread_cond_signal(&w->maker_wake);
}

bool wal_give_room_locked(struct wal *w)
{
	struct wal_segment *before = w->oldest;
	if (w->keep_after < w->keep_least) {
		w->keep_after = w->keep_least;
		wal_trim_locked(w);
	}
	if (w->oldest == before && w->keep_after < w->trimmed_lsn) {
		w->keep_after = w->trimmed_lsn;
		wal_trim_locked(w);
	}
	return w->oldest != before;
}
