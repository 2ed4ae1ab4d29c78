// SPDX-License-Identifier: MIT
#include "leaver.h"
#include "cleanup.h"
#include "fs.h"
#include "guardian.h"
#include "log.h"
#include "notices.h"
#include "thread.h"
#include "tiers.h"
#include <fuse_lowlevel.h>
#include <semaphore.h>
#include <signal.h>

#define PATIENCE_MS 5000u
#define WAKE_MS 10u

struct leaver {
	struct fs *fs;
	pthread_t thread, serving;
	atomic_bool over;
};

static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
static sem_t asked;
static atomic_int asked_by;

static void on_signal(int sig)
{
	atomic_store(&asked_by, sig);
	sem_post(&asked);
}

/* What is ignored remains so. */
static void set_handlers(void (*from)(int), void (*to)(int))
{
	struct sigaction sa = { .sa_handler = to }, now;
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (!sigaction(signals[i], NULL, &now) && now.sa_handler == from)
			sigaction(signals[i], &sa, NULL);
}

static void end_notices(struct fs *fs)
{
	notices_end(fs->notices);
	tiers_quit(fs->pool->tiers);
}

/* The loop may look whether the session is over just before the signal comes, and wait all the same. And it waits for
 * its threads, one of which may hang in a tier's directory. */
static void end_session(struct leaver *l)
{
	for (unsigned ms = 0; !atomic_load(&l->over); ms += WAKE_MS) {
		if (ms == PATIENCE_MS)
			guardian_abort(l->fs->guardian);
		fuse_session_exit(l->fs->session);
		pthread_kill(l->serving, atomic_load(&asked_by));
		nanosleep(&(struct timespec){ .tv_nsec = WAKE_MS * 1000000 }, NULL);
	}
}

/* Without a guardian nobody could end later what is left now. */
static void wait_for_answers(struct leaver *l)
{
	struct fs *fs = l->fs;
	bool told = false;
	while (!notices_wait(fs->notices, PATIENCE_MS) && !guardian_may_abort(fs->guardian) &&
	       !atomic_load(&l->over)) {
		if (!told)
			log_warn("the mount cannot be ended before a request is answered");
		told = true;
	}
}

static void *leaver_main(void *arg)
{
	struct leaver *l = arg;
	pthread_setname_np(pthread_self(), "leaver");
	while (sem_wait(&asked))
		;
	if (!atomic_load(&l->over)) {
		end_notices(l->fs);
		wait_for_answers(l);
		end_session(l);
	}
	return NULL;
}

int leaver_start(struct fs *fs, struct leaver **ret_leaver)
{
	struct leaver *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->fs = fs;
	l->serving = pthread_self();
	sem_init(&asked, 0, 0);
	int r = thread_start(&l->thread, leaver_main, l);
	if (r < 0) {
		free(l);
		return r;
	}
	set_handlers(SIG_DFL, on_signal);
	*ret_leaver = l;
	return 0;
}

void leaver_stop(struct leaver *l)
{
	if (!l)
		return;
	atomic_store(&l->over, true);
	end_notices(l->fs);
	sem_post(&asked);
	pthread_join(l->thread, NULL);
	set_handlers(on_signal, SIG_DFL);
	free(l);
}
