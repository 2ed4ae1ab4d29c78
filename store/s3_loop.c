// SPDX-License-Identifier: MIT
/* The client's thread: one curl multi handle, and the calls on it.
 *
 * Calls come in through `incoming`, the only list that other threads touch, and go from waiting to
 * active, perhaps to resting and waiting again, and are told and freed. Calls that bring bytes to
 * somebody go first, and uploads leave them a quarter of the places: who waits for 4 KiB shall not wait
 * for 200 MiB of somebody else. Retries wait a random time up to a limit that doubles ("full jitter"), so
 * that clients which failed together don't come back together.
 *
 * A call's time runs from the moment the thread sees it if it is urgent, and from its first try if not:
 * an upload that is the hundredth in the queue is not late.
 *
 * Cancelling sets the task's flag; the thread then looks at every call it has. curl is only called
 * here, except for curl_multi_wakeup().
 */
#include "s3_call.h"
#include "cleanup.h"
#include "clock.h"
#include "thread.h"
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define MS_PER_MIB 4000u
#define POLL_MAX_MS 30000u
#define LATE_CHECK_MS 100u
#define CREDS_MIN_AGE_MS 1000u

static void list_add(struct s3_calls *l, struct s3_call *c)
{
	c->next = NULL;
	c->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = c;
	l->last = c;
	l->n++;
}

static void list_remove(struct s3_calls *l, struct s3_call *c)
{
	*(c->prev ? &c->prev->next : &l->first) = c->next;
	*(c->next ? &c->next->prev : &l->last) = c->prev;
	c->prev = c->next = NULL;
	l->n--;
}

void s3_loop_take(struct s3_call *c)
{
	struct s3 *s3 = c->s3;
	pthread_mutex_lock(&s3->lock);
	list_add(&s3->incoming, c);
	pthread_mutex_unlock(&s3->lock);
	curl_multi_wakeup(s3->multi);
}

static void finish(struct s3_call *c)
{
	c->done(c);
	s3_call_free(c);
}

static bool is_cancelled(const struct s3_call *c)
{
	return atomic_load(&c->task->cancelled) && !c->persistent;
}

static uint64_t time_limit_ms(const struct s3_call *c)
{
	return c->timeout_ms + ((c->body.len + (c->into ? c->len : 0)) >> 20) * MS_PER_MIB;
}

static void cancel_call(struct s3_call *c)
{
	s3_judge_fail(c, -ECANCELED, "cancelled");
	finish(c);
}

static void take_incoming(struct s3 *s3, uint64_t now)
{
	pthread_mutex_lock(&s3->lock);
	struct s3_calls in = s3->incoming;
	s3->incoming = (struct s3_calls){ 0 };
	pthread_mutex_unlock(&s3->lock);
	for (struct s3_call *c; (c = in.first);) {
		list_remove(&in, c);
		if (c->hashed)
			c->hashed(c);
		if (c->answer.err) {
			finish(c);
		} else if (is_cancelled(c)) {
			cancel_call(c);
		} else {
			c->end_ms = c->urgent ? now + time_limit_ms(c) : 0;
			list_add(&s3->waiting[!c->urgent], c);
		}
	}
}

static void give_easy_back(struct s3 *s3, struct s3_call *c)
{
	curl_multi_remove_handle(s3->multi, c->easy);
	curl_easy_reset(c->easy); /* it holds the secret */
	s3->spare[s3->spares++] = TAKE_PTR(c->easy);
	list_remove(&s3->active, c);
	s3->sending -= !c->urgent;
}

static int begin_try(struct s3 *s3, struct s3_call *c, uint64_t now)
{
	c->easy = s3->spares ? s3->spare[--s3->spares] : curl_easy_init();
	if (!c->easy)
		return -ENOMEM;
	if (!c->end_ms)
		c->end_ms = now + time_limit_ms(c);
	if (s3_exchange_begin(c, now) < 0 || curl_multi_add_handle(s3->multi, c->easy)) {
		curl_easy_reset(c->easy);
		s3->spare[s3->spares++] = TAKE_PTR(c->easy);
		return -ENOMEM;
	}
	c->tries++;
	list_add(&s3->active, c);
	s3->sending += !c->urgent;
	return 0;
}

static void begin_calls(struct s3 *s3, uint64_t now)
{
	unsigned most = s3->opt.active, senders = most > 3 ? most - most / 4 : most;
	while (s3->active.n < most) {
		struct s3_calls *l = &s3->waiting[0];
		if (!l->first && s3->sending < senders)
			l = &s3->waiting[1];
		struct s3_call *c = l->first;
		if (!c)
			return;
		list_remove(l, c);
		if (begin_try(s3, c, now) < 0) {
			s3_judge_fail(c, -ENOMEM, "there is no memory left");
			finish(c);
		}
	}
}

static uint64_t random_below(uint64_t limit)
{
	uint64_t r = 0;
	if (getrandom(&r, sizeof r, GRND_NONBLOCK) != (ssize_t)sizeof r)
		r = clock_mono_ns();
	return r % limit;
}

static uint64_t backoff_ms(const struct s3 *s3, unsigned tries)
{
	uint64_t limit = (uint64_t)s3->opt.backoff_ms << (tries < 20 ? tries - 1 : 19);
	if (limit > s3->opt.backoff_max_ms)
		limit = s3->opt.backoff_max_ms;
	return 1 + random_below(limit + 1);
}

/* Newer credentials may be in the files when the server does not take ours any more. */
static bool renew_creds(struct s3 *s3, struct s3_call *c, uint64_t now)
{
	static const char *const codes[] = { "ExpiredToken", "TokenRefreshRequired", "InvalidToken",
					     "InvalidAccessKeyId", "SignatureDoesNotMatch" };
	char error[S3_TEXT_MAX];
	struct s3_creds newer;
	bool stale = false;
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		stale |= !strcmp(c->answer.code, codes[i]);
	if (!stale || c->creds_retried || !s3->creds.from_files)
		return false;
	c->creds_retried = true;
	if (now - s3->creds_read_ms < CREDS_MIN_AGE_MS)
		return c->creds_seen != s3->creds_version;
	s3->creds_read_ms = now;
	if (s3_creds_load(error, &newer) == 0) {
		if (!s3_creds_equal(&s3->creds, &newer)) {
			s3->creds = newer;
			s3->creds_version++;
		}
		s3_creds_wipe(&newer);
	}
	return c->creds_seen != s3->creds_version;
}

static void add_tries(struct s3_call *c, const char *why)
{
	size_t len = strlen(c->answer.text);
	if (len && c->answer.text[len - 1] == '.')
		len--;
	snprintf(c->answer.text + len, sizeof c->answer.text - len, " (given up after %u tr%s%s).",
		 c->tries, c->tries == 1 ? "y" : "ies", why);
}

/* A try has failed: another one later, or the end. */
static void rest_or_finish(struct s3 *s3, struct s3_call *c, uint64_t wait_ms, uint64_t now)
{
	uint64_t due = now + (wait_ms ? wait_ms : backoff_ms(s3, c->tries));
	if (c->answer.err != -ECANCELED && c->tries < s3->opt.tries && due < c->end_ms) {
		unsigned status = c->answer.status;
		c->unsure |= status < 300 || status >= 500;
		c->due_ms = due;
		list_add(&s3->resting, c);
		return;
	}
	add_tries(c, wait_ms && due >= c->end_ms ? ", the server asks to wait for longer" : "");
	finish(c);
}

static void end_try(struct s3 *s3, struct s3_call *c, CURLcode code, uint64_t now)
{
	uint64_t wait_ms;
	bool again = s3_judge(c, code, &wait_ms);
	pthread_mutex_lock(&s3->lock);
	s3->totals.tries++;
	s3->totals.bytes_in += c->got;
	s3->totals.bytes_out += c->sent;
	pthread_mutex_unlock(&s3->lock);
	give_easy_back(s3, c);
	if (again) {
		rest_or_finish(s3, c, wait_ms, now);
	} else if (c->answer.err && renew_creds(s3, c, now)) {
		c->tries--;
		list_add(&s3->waiting[!c->urgent], c);
	} else {
		finish(c);
	}
}

/* Whether there were any. */
static bool end_tries(struct s3 *s3)
{
	int left;
	bool any = false;
	for (CURLMsg *m; (m = curl_multi_info_read(s3->multi, &left));) {
		struct s3_call *c = NULL;
		if (m->msg != CURLMSG_DONE)
			continue;
		CURLcode code = m->data.result;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
		end_try(s3, c, code, clock_mono_ms());
		any = true;
	}
	return any;
}

/* Calls whose time is up before they had their turn (again). */
static void drop_late(struct s3_calls *l, uint64_t now)
{
	for (struct s3_call *c = l->first, *next; c; c = next) {
		next = c->next;
		if (!c->end_ms || c->end_ms > now)
			continue;
		list_remove(l, c);
		if (c->tries)
			add_tries(c, "");
		else
			s3_judge_fail(c, -ETIMEDOUT,
				      "time was up before it had its turn; too much is "
				      "asked of the server at once");
		finish(c);
	}
}

/* Has those wait for their turn that have rested. Returns how long none will be due. */
static uint64_t wake_resting(struct s3 *s3, uint64_t now)
{
	uint64_t sleep_ms = POLL_MAX_MS;
	for (struct s3_call *c = s3->resting.first, *next; c; c = next) {
		next = c->next;
		if (c->due_ms <= now) {
			list_remove(&s3->resting, c);
			list_add(&s3->waiting[!c->urgent], c);
		} else if (c->due_ms - now < sleep_ms) {
			sleep_ms = c->due_ms - now;
		}
	}
	return sleep_ms;
}

static void cancel_in(struct s3_calls *l, bool all)
{
	for (struct s3_call *c = l->first, *next; c; c = next) {
		next = c->next;
		if (!all && !is_cancelled(c))
			continue;
		if (l == &c->s3->active)
			give_easy_back(c->s3, c);
		else
			list_remove(l, c);
		cancel_call(c);
	}
}

static void cancel_calls(struct s3 *s3, bool all)
{
	cancel_in(&s3->waiting[0], all);
	cancel_in(&s3->waiting[1], all);
	cancel_in(&s3->resting, all);
	cancel_in(&s3->active, all);
}

static bool look_at_orders(struct s3 *s3)
{
	pthread_mutex_lock(&s3->lock);
	unsigned cancels = s3->cancels;
	s3->cancels = 0;
	s3->totals.active = s3->active.n;
	s3->totals.waiting = s3->waiting[0].n + s3->waiting[1].n + s3->resting.n;
	pthread_mutex_unlock(&s3->lock);
	if (cancels)
		cancel_calls(s3, false);
	return !atomic_load(&s3->stopping);
}

static void *loop_main(void *arg)
{
	struct s3 *s3 = arg;
	uint64_t late_check = 0;
	int running;
	pthread_setname_np(pthread_self(), "s3");
	while (look_at_orders(s3)) {
		uint64_t now = clock_mono_ms();
		take_incoming(s3, now);
		if (atomic_load(&s3->quitting))
			cancel_calls(s3, true);
		uint64_t sleep_ms = wake_resting(s3, now);
		if (now >= late_check) {
			drop_late(&s3->waiting[0], now);
			drop_late(&s3->waiting[1], now);
			late_check = now + LATE_CHECK_MS;
		}
		begin_calls(s3, now);
		curl_multi_perform(s3->multi, &running);
		if (end_tries(s3))
			continue; /* there is room for others, or something to rest */
		if (s3->waiting[0].n + s3->waiting[1].n && sleep_ms > LATE_CHECK_MS)
			sleep_ms = LATE_CHECK_MS;
		curl_multi_poll(s3->multi, NULL, 0, (int)sleep_ms, NULL);
	}
	return NULL;
}

int s3_loop_start(struct s3 *s3)
{
	s3->multi = curl_multi_init();
	s3->spare = calloc(s3->opt.active, sizeof *s3->spare);
	if (!s3->multi || !s3->spare)
		return -ENOMEM;
	curl_multi_setopt(s3->multi, CURLMOPT_MAXCONNECTS, (long)s3->opt.active);
	curl_multi_setopt(s3->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	int r = thread_start(&s3->thread, loop_main, s3);
	if (r < 0) /* it may have been written to all the same */
		s3->thread = 0;
	return r;
}

static bool is_empty(struct s3 *s3)
{
	SCOPED_LOCK(&s3->lock);
	return !s3->incoming.first;
}

void s3_loop_stop(struct s3 *s3)
{
	atomic_store(&s3->quitting, true);
	atomic_store(&s3->stopping, true);
	if (s3->thread) {
		curl_multi_wakeup(s3->multi);
		pthread_join(s3->thread, NULL);
		workers_drain(s3->hashers);
		do { /* what ends may have made calls that tidy up; they end, too */
			take_incoming(s3, clock_mono_ms());
			cancel_calls(s3, true);
			workers_drain(s3->hashers);
		} while (!is_empty(s3));
	}
	while (s3->spares)
		curl_easy_cleanup(s3->spare[--s3->spares]);
	free(s3->spare);
	curl_multi_cleanup(s3->multi);
}
