// SPDX-License-Identifier: MIT
/* Input: what a caller sends to the control socket of an empty pool that is mounted read-only. Every
 * request gets answers, of JSON, the last of which says ok or why not. */
#include "control.h"
#include "fuzz.h"
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct fs fs;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void start(void)
{
	static struct pool_error err;
	static struct config_error why;
	struct config conf;
	struct control *control;
	if (fs.pool)
		return;
	config_defaults(&conf);
	must(config_apply(&conf, "reserve_size=0,cache_size=0", CONFIG_POOL, &why) == 0);
	must(pool_create(fuzz_dir(), &conf, &err) == 0);
	must(pool_open(fuzz_dir(), NULL, true, 0, &fs.pool, &err) == 0);
	fs.read_only = true;
	fs.mountpoint = "/mnt";
	must(control_start(&fs, &control) == 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/control", fuzz_dir());
}

static int talk(struct slice in, struct buf *answers)
{
	char part[4096];
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
	while (in.len && (n = send(fd, in.at, in.len, MSG_NOSIGNAL)) > 0)
		take_bytes(&in, (size_t)n);
	bool ended = send(fd, "\n", 1, MSG_NOSIGNAL) == 1;
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, part, sizeof part, 0)) > 0)
		buf_put(answers, part, (size_t)n);
	close(fd);
	return ended;
}

bool fuzz_one(struct slice in)
{
	struct buf answers = { 0 };
	bool ok = false;
	start();
	talk(in, &answers);
	if (answers.len) {
		json_t *answer = json_loadb((char *)answers.data, answers.len, 0, NULL);
		must(answer && json_is_boolean(json_object_get(answer, "ok")));
		ok = json_is_true(json_object_get(answer, "ok"));
		must(ok || json_string_value(json_object_get(answer, "error")));
		json_decref(answer);
	}
	buf_done(&answers);
	return ok;
}

static void seed(const char *name, const char *text)
{
	fuzz_seed(name, text, strlen(text));
}

void fuzz_seeds(void)
{
	seed("stats", "{\"command\": \"stats\"}");
	seed("df", "{\"command\": \"df\", \"more\": null}");
	seed("du", "{\"command\": \"du\", \"inodes\": [1]}");
	seed("sync", "{\"command\": \"sync\", \"destage\": false}");
}
