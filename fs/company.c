// SPDX-License-Identifier: MIT
/* Threads read what to do after each request, each for itself, so a few come late; nothing but time is lost. Where a
 * process runs is asked for again and again, as the kernel moves it. It may do so with every answer: it wakes the
 * process on an idle processor, if it can have one at once. To go after that one gains nothing, so it is given up for
 * a while.
 */
#include "company.h"
#include "processors.h"

#define SERIAL_LEAST 16u /* requests of one thread before it is followed */
#define SERIAL_LOOK 64u	 /* and after so many more it is looked for */
#define STRAYS 3u	 /* so often in a row it was elsewhere: */
#define REST 4096u	 /* it isn't followed for so many requests */
#define ANYWHERE (-1)
#define UNKNOWN (-2) /* a new thread may have inherited anything */

static _Thread_local int confined_to = UNKNOWN;

void company_begin(struct fs *fs)
{
	atomic_store(&fs->company.processor, ANYWHERE);
	fs->company.follows = fs->pool->config.near_caller && processors_note();
}

static void spread(struct company_state *c)
{
	atomic_store_explicit(&c->serial, 0, memory_order_relaxed);
	atomic_store_explicit(&c->processor, ANYWHERE, memory_order_relaxed);
}

static void look_for(struct company_state *c, pid_t pid)
{
	int processor = processors_of(pid),
	    before = atomic_load_explicit(&c->processor, memory_order_relaxed);
	bool strayed = before >= 0 && processor != before;
	unsigned strays = strayed ? atomic_load_explicit(&c->strays, memory_order_relaxed) + 1 : 0;
	if (strays == STRAYS) {
		strays = 0;
		processor = ANYWHERE;
		atomic_store_explicit(&c->rest, REST, memory_order_relaxed);
	}
	atomic_store_explicit(&c->strays, strays, memory_order_relaxed);
	atomic_store_explicit(&c->processor, processor < 0 ? ANYWHERE : processor,
			      memory_order_relaxed);
}

void company_enter(struct fs *fs, pid_t pid, enum company kind)
{
	struct company_state *c = &fs->company;
	if (!c->follows || kind == COMPANY_ASIDE || !pid)
		return;
	if (atomic_load_explicit(&c->rest, memory_order_relaxed) > 0) {
		atomic_fetch_sub_explicit(&c->rest, 1, memory_order_relaxed);
		return;
	}
	if (kind == COMPANY_AT_ONCE || pid != atomic_load_explicit(&c->pid, memory_order_relaxed)) {
		atomic_store_explicit(&c->pid, pid, memory_order_relaxed);
		spread(c);
		return;
	}
	unsigned serial = atomic_fetch_add_explicit(&c->serial, 1, memory_order_relaxed);
	if (serial % SERIAL_LOOK == SERIAL_LEAST)
		look_for(c, pid);
}

void company_leave(struct fs *fs)
{
	struct company_state *c = &fs->company;
	if (!c->follows)
		return;
	int wanted = atomic_load_explicit(&c->processor, memory_order_relaxed);
	if (wanted == confined_to)
		return;
	if (wanted < 0 || processors_stay_on(wanted) < 0)
		processors_anywhere();
	confined_to = wanted;
}
