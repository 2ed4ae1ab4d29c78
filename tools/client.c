// SPDX-License-Identifier: MIT
#include "client.h"
#include "cleanup.h"
#include "say.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TICK_MS 300

/* Through a descriptor of the directory, as the pool's path may be too long for an address. */
static int connect_to(const char *pool)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int dirfd = open(pool, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (dirfd < 0 || fd < 0)
		return -errno;
	snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/control", dirfd);
	if (connect(fd, (struct sockaddr *)&to, sizeof to))
		return -errno;
	return take_fd(&fd);
}

static int send_request(int fd, const json_t *request)
{
	CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0, at = 0;
	if (!text)
		return -ENOMEM;
	text[len++] = '\n';
	while (at < len) {
		ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

/* Takes the first whole line out of the buffer; NULL: there is none, or it is no JSON. */
static json_t *take_line(struct buf *in)
{
	uint8_t *end = in->len ? memchr(in->data, '\n', in->len) : NULL;
	if (!end)
		return NULL;
	size_t len = (size_t)(end - in->data);
	json_t *line = json_loadb((char *)in->data, len, 0, NULL);
	memmove(in->data, end + 1, in->len - len - 1);
	in->len -= len + 1;
	return line;
}

struct waiting {
	void (*progress)(const json_t *report);
	bool (*enough)(void *arg);
	void *arg;
	bool left;
};

/* Returns when there may be something to receive; false: who waits has had enough. */
static bool wait_for_more(int fd, struct waiting *w)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while ((w->progress || w->enough) && poll(&p, 1, TICK_MS) <= 0) {
		w->left = w->enough && w->enough(w->arg);
		if (w->left)
			return false;
		if (w->progress)
			w->progress(NULL);
	}
	return true;
}

/* The final answer, or NULL when the daemon is gone, or who waits. */
static json_t *receive(int fd, struct waiting *w)
{
	CLEANUP_BUF struct buf in = { 0 };
	char part[65536];
	for (;;) {
		json_t *line = take_line(&in);
		json_t *report = json_object_get(line, "progress");
		if (line && !report)
			return line;
		if (line && w->progress)
			w->progress(report);
		json_decref(line);
		if (line)
			continue;
		if (!wait_for_more(fd, w))
			return NULL;
		ssize_t n = recv(fd, part, sizeof part, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		buf_put(&in, part, (size_t)n);
		if (in.failed)
			return NULL;
	}
}

static enum client_end ask(const char *pool, json_t *request, struct waiting *w,
			   json_t **ret_result)
{
	CLEANUP_CLOSE int fd = connect_to(pool);
	int r = fd < 0 ? fd : 0;
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR) {
		json_decref(request);
		return CLIENT_NOBODY;
	}
	int sent = r == 0 ? send_request(fd, request) : r;
	json_decref(request);
	json_t *answer = r == 0 ? receive(fd, w) : NULL;
	enum client_end end = CLIENT_FAILED;
	if (r < 0 || (!answer && sent < 0)) {
		complain("the daemon of %s cannot be asked: %s", pool,
			 strerror(r < 0 ? -r : -sent));
	} else if (!answer && w->left) {
		end = CLIENT_LEFT;
	} else if (!answer) {
		complain("the daemon of %s went away without an answer", pool);
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		const char *error = json_string_value(json_object_get(answer, "error"));
		complain("%s: %s", pool, error ? error : "the daemon gave no reason");
	} else {
		*ret_result = json_incref(json_object_get(answer, "result"));
		end = CLIENT_OK;
	}
	json_decref(answer);
	return end;
}

enum client_end client_ask(const char *pool, json_t *request,
			   void (*progress)(const json_t *report), json_t **ret_result)
{
	return ask(pool, request, &(struct waiting){ .progress = progress }, ret_result);
}

enum client_end client_ask_unless(const char *pool, json_t *request, bool (*enough)(void *arg),
				  void *arg, json_t **ret_result)
{
	return ask(pool, request, &(struct waiting){ .enough = enough, .arg = arg }, ret_result);
}
