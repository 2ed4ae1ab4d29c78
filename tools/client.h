// SPDX-License-Identifier: MIT
/* client: asks the daemon that has a pool open (fs/control.h). */
#ifndef FOLDFS_CLIENT_H
#define FOLDFS_CLIENT_H
#include <jansson.h>
#include <stdbool.h>

enum client_end {
	CLIENT_OK,
	CLIENT_NOBODY, /* no daemon has the pool open */
	CLIENT_FAILED, /* a complaint was made */
	CLIENT_LEFT,   /* without an answer, as `enough` said */
};

/* Sends the request (which it takes over) and waits for the result, a new reference. `progress` (may
 * be NULL) gets what the daemon reports meanwhile, or NULL when a while has passed without. */
enum client_end client_ask(const char *pool, json_t *request,
			   void (*progress)(const json_t *report), json_t **ret_result);
/* The same for who cannot wait for ever: enough(arg) is asked a few times a second, and after each signal. The
 * daemon may go on with what it was asked for. */
enum client_end client_ask_unless(const char *pool, json_t *request, bool (*enough)(void *arg),
				  void *arg, json_t **ret_result);
#endif
