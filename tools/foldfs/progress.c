// SPDX-License-Identifier: MIT
#include "progress.h"
#include "client.h"
#include "clock.h"
#include "show.h"
#include <stdio.h>
#include <unistd.h>

#define WARM_MS 200u

static struct {
	const char *pool;
	uint64_t began_ms, most;  /* bytes that were left at most */
	uint64_t first_ms, first; /* the first report, and the bytes done then */
	bool shown;
} state;

bool progress_wanted(void)
{
	return isatty(STDERR_FILENO) == 1;
}

void progress_begin(const char *pool)
{
	state.pool = pool;
	state.began_ms = clock_mono_ms();
}

static void line(const char *text)
{
	fprintf(stderr, "\r\033[K%s", text);
	fflush(stderr);
	state.shown = true;
}

void progress_gc(const json_t *report)
{
	char text[160], live[SHOW_SIZE], freed[SHOW_SIZE];
	if (!report)
		return;
	snprintf(text, sizeof text, "%s live, %s dead; %s of packs freed so far",
		 show_size(show_number(report, "bytes_live"), live),
		 show_size(show_number(report, "bytes_dead"), (char[SHOW_SIZE]){ 0 }),
		 show_size(show_number(report, "bytes_freed"), freed));
	line(text);
}

void progress_sync(const json_t *report)
{
	char text[160], left_text[SHOW_SIZE], eta[64] = "";
	json_t *stats = NULL;
	(void)report;
	if (client_ask(state.pool, json_pack("{s:s}", "command", "stats"), NULL, &stats) !=
	    CLIENT_OK)
		return;
	uint64_t left = show_number(stats, "staging_bytes") + show_number(stats, "memory_bytes");
	uint64_t pending = show_number(json_object_get(stats, "destage"), "pending_bytes");
	left = pending && pending < left ? pending : left; /* a file counts until it is all done */
	uint64_t spent = clock_mono_ms() - state.began_ms;
	json_decref(stats);
	state.most = left > state.most ? left : state.most;
	if (state.most > left)
		snprintf(eta, sizeof eta, ", about %llu s left",
			 (unsigned long long)(left * spent / (state.most - left) / 1000));
	snprintf(text, sizeof text, "%s left to destage%s", show_size(left, left_text), eta);
	line(text);
}

void progress_scrub(const json_t *report)
{
	char text[200], done_text[SHOW_SIZE], total_text[SHOW_SIZE], eta[64] = "", bad[64] = "";
	if (!report)
		return;
	uint64_t done = show_number(report, "bytes_done"), now = clock_mono_ms();
	uint64_t total = show_number(report, "bytes_total");
	if (!state.first_ms) {
		state.first_ms = now;
		state.first = done; /* a pass that goes on did not do this today */
	}
	uint64_t since = done - state.first, left = total > done ? total - done : 0;
	if (since)
		snprintf(eta, sizeof eta, ", about %.0f s left",
			 (double)left * (double)(now - state.first_ms) / (double)since / 1000);
	if (show_number(report, "bad_chunks"))
		snprintf(bad, sizeof bad, ", %llu damaged chunks",
			 (unsigned long long)show_number(report, "bad_chunks"));
	snprintf(text, sizeof text, "%s of %s verified%s%s", show_size(done, done_text),
		 show_size(total, total_text), bad, eta);
	line(text);
}

void progress_tier(const json_t *report)
{
	char text[160], done[SHOW_SIZE], total[SHOW_SIZE];
	if (!report)
		return;
	snprintf(text, sizeof text, "%s of %s moved",
		 show_size(show_number(report, "bytes_moved"), done),
		 show_size(show_number(report, "bytes"), total));
	line(text);
}

void progress_warm(const json_t *report)
{
	char text[160], done[SHOW_SIZE], total[SHOW_SIZE];
	uint64_t now = clock_mono_ms();
	if (!progress_wanted() || now - state.first_ms < WARM_MS)
		return;
	state.first_ms = now;
	snprintf(text, sizeof text, "%s of %s read",
		 show_size(show_number(report, "bytes_read"), done),
		 show_size(show_number(report, "bytes"), total));
	line(text);
}

void progress_end(void)
{
	if (state.shown)
		fputs("\r\033[K", stderr);
	state.shown = false;
}
