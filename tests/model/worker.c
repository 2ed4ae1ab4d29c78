// SPDX-License-Identifier: MIT
/* The shared playground is entered in turns: its call number n belongs to worker n % procs, so that the
 * order of calls there is a matter of the seed alone. A worker waits for its turn; whoever ends early
 * (a difference) raises board->stop, and nobody waits any longer. */
#include "worker.h"
#include "playground.h"
#include "outcome.h"
#include "sabotage.h"
#include "treediff.h"
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#define TURN_EVERY 5

static const struct call_kind *kinds[128];
static size_t kind_count;
static unsigned weight_sum;

struct worker {
	unsigned number;
	uint64_t phase, step;
	struct rng rng;
	char history[HISTORY][900];
};

/* Whether the comma-separated LIST has WORD. */
static bool listed(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || !p[len]))
			return true;
	return false;
}

static void gather_kinds(void)
{
	const struct call_kind *all[] = { name_calls, file_calls, space_calls,
					  meta_calls, map_calls,  lock_calls };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		for (const struct call_kind *kind = all[i]; kind->name; kind++) {
			if ((options.only && !listed(options.only, kind->name)) ||
			    listed(options.without, kind->name))
				continue;
			kinds[kind_count++] = kind;
			weight_sum += kind->weight;
		}
	}
	if (!kind_count) {
		fprintf(stderr, "model: no call is left to be made\n");
		exit(2);
	}
}

static const struct call_kind *draw_kind(struct rng *rng)
{
	uint64_t at = rng_below(rng, weight_sum);
	size_t i = 0;
	while (at >= kinds[i]->weight)
		at -= kinds[i++]->weight;
	return kinds[i];
}

/* Who makes the call: its filesystem identity, which also drops and restores root's powers. */
static void become(int who)
{
	setfsgid((gid_t)who);
	setfsuid((uid_t)who);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void note_duration(uint64_t took)
{
	unsigned long long longest = atomic_load(&board->longest_pair);
	while (took > longest &&
	       !atomic_compare_exchange_weak(&board->longest_pair, &longest, took))
		;
}

static void run_on(struct side *side, const struct call *call, struct outcome *out)
{
	become(call->as);
	call->kind->run(side, call, out);
	become(0);
}

static void explain(struct worker *w, const struct playground *playground, const struct call *call,
		    const struct outcome out[SIDES], const char *why)
{
	char text[1600], target[80], reference[80];
	call_text(call, text, sizeof text);
	outcome_text(&out[TARGET], target, sizeof target);
	outcome_text(&out[REFERENCE], reference, sizeof reference);
	flockfile(stderr);
	for (uint64_t i = w->step > HISTORY ? w->step - HISTORY : 0; i < w->step; i++)
		if (*w->history[i % HISTORY])
			fprintf(stderr, "  %s\n", w->history[i % HISTORY]);
	fprintf(stderr,
		"model: DIFFERENCE seed=%llu phase=%llu worker=%u step=%llu in %s\n"
		"  call:      %s\n  target:    %s\n  reference: %s\n  differs:   %s\n",
		(unsigned long long)options.seed, (unsigned long long)w->phase, w->number,
		(unsigned long long)w->step, playground->side[TARGET].root, text, target, reference,
		why);
	funlockfile(stderr);
}

static void remember_call(struct worker *w, const struct playground *playground,
			  const struct call *call, const struct outcome *out)
{
	char text[1600], result[80];
	char *line = w->history[w->step % HISTORY];
	call_text(call, text, sizeof text);
	outcome_text(out, result, sizeof result);
	const char *slash = strrchr(playground->side[TARGET].root, '/');
	snprintf(line, sizeof w->history[0], "%llu %s: %.780s = %s", (unsigned long long)w->step,
		 slash ? slash + 1 : "", text, result);
	if (options.trace)
		fprintf(stderr, "worker %u: %s\n", w->number, line);
}

/* One call on both sides; false after a difference. */
static bool step(struct worker *w, struct playground *playground)
{
	struct call call = { 0 };
	struct outcome out[SIDES] = { 0 };
	char why[400] = "";
	w->history[w->step % HISTORY][0] = 0;
	call.kind = draw_kind(&w->rng);
	if (!options.as_root && rng_chance(&w->rng, 20))
		call.as = rng_chance(&w->rng, 50) ? 12001 : 12002;
	if (!call.kind->draw(&w->rng, playground, &call))
		return true;
	struct call altered = call;
	bool skip = sabotage(&altered, w->step);
	uint64_t started = now_ns();
	if (!skip)
		run_on(&playground->side[TARGET], &altered, &out[TARGET]);
	run_on(&playground->side[REFERENCE], &call, &out[REFERENCE]);
	if (!(call.kind->uses & IS_TIMELESS))
		note_duration(now_ns() - started);
	bool (*agree)(struct playground *, const struct call *, const struct outcome *, char *,
		      size_t) = call.kind->agree ? call.kind->agree : outcomes_agree;
	if (!agree(playground, &call, out, why, sizeof why)) {
		explain(w, playground, &call, out, why);
		return false;
	}
	remember_call(w, playground, &call, &out[REFERENCE]);
	if (call.kind->after && (out[REFERENCE].ret >= 0 || call.kind->uses & USES_SLOT))
		call.kind->after(playground, &call, &out[REFERENCE]);
	return true;
}

/* Waits until it is this worker's turn in the shared playground; false when everything stops. */
static bool await_turn(const struct worker *w)
{
	while (atomic_load(&board->ticket) % options.procs != w->number) {
		if (atomic_load(&board->stop))
			return false;
		sched_yield();
	}
	return true;
}

static bool shared_step(struct worker *w, struct playground *shared)
{
	if (!await_turn(w))
		return false;
	bool same = step(w, shared);
	if (!same)
		atomic_store(&board->stop, true);
	atomic_fetch_add(&board->ticket, 1);
	return same;
}

static bool trees_equal(const struct worker *w, const struct playground *playground)
{
	if (treediff(playground->side[TARGET].root, playground->side[REFERENCE].root) == 0)
		return true;
	fprintf(stderr, "model: TREES DIFFER seed=%llu phase=%llu worker=%u step=%llu\n",
		(unsigned long long)options.seed, (unsigned long long)w->phase, w->number,
		(unsigned long long)w->step);
	return false;
}

static bool work(struct worker *w, struct playground *own, struct playground *shared)
{
	for (; w->step < options.steps; w->step++) {
		if (atomic_load(&board->stop))
			return true; /* another worker has found the difference */
		bool turn = shared && w->step % TURN_EVERY == 0;
		if (!(turn ? shared_step(w, shared) : step(w, own)))
			return atomic_load(&board->stop) && !turn;
		atomic_fetch_add(&board->steps, 1);
		if (options.check_every &&
		    w->step % options.check_every == options.check_every - 1 &&
		    !trees_equal(w, own))
			return false;
	}
	return true;
}

int worker_run(unsigned number, uint64_t phase)
{
	static struct worker w;
	w = (struct worker){ .number = number, .phase = phase };
	w.rng.state = options.seed * 1000003 + phase * 1009 + number;
	signal(SIGPIPE, SIG_IGN);
	gid_t group = 13000;
	if (setgroups(1, &group) < 0) {
		fprintf(stderr, "model: this needs root\n");
		return 2;
	}
	gather_kinds();
	char name[32];
	snprintf(name, sizeof name, "worker%u", number);
	struct playground *own = playground_open(name);
	struct playground *shared = options.no_shared ? NULL : playground_open("shared");
	bool same = work(&w, own, shared);
	if (!same)
		atomic_store(&board->stop, true);
	playground_close(own);
	if (shared)
		playground_close(shared);
	return same ? 0 : 1;
}
