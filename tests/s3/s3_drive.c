// SPDX-License-Identifier: MIT
/* s3_drive PLACE [NAME=VALUE...] -- COMMAND [ARGUMENT...] [-- COMMAND ...]: asks an object store as tests say.
 *
 * Names are those of struct s3_options. The commands run one after the other:
 *
 *	get KEY AT LEN [FILE [ETAG]]	get-short, where the object may end before
 *	read KEY LIMIT [FILE]	head KEY	delete KEY	list PREFIX
 *	put KEY FILE [new | if=ETAG | class=NAME | at=N | len=N | meta=NAME:VALUE | memory | calls]...
 *	delete-many PREFIX N		abort-old PREFIX AGE
 *	times N COMMAND...		N of them at once, the number in place of a % in the key
 *	stop MS COMMAND...		cancels what comes next after so long
 *	close MS COMMAND...		closes the client after so long, and ends
 *	sleep MS
 *
 * An answer is a line of JSON; `times` prints one line for all: how many had which error, and how long it took.
 */
#include "s3.h"
#include "cleanup.h"
#include "clock.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

struct ask {
	struct s3_request rq; /* first */
	char key[1200];
	struct s3_meta meta;
	struct buf whole;
	void *memory;
	const char *out;
	int fd;
	uint64_t read_bytes;
	json_t *entries;
	char **keys;
	struct crowd *crowd;
};

struct crowd { /* asks that are under way together */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	size_t n, left;
	struct ask *asks;
};

static struct s3 *s3;
static uint8_t unread[8 << 20]; /* takes what nobody looks at, of all at once */

static void __attribute__((noreturn)) die(const char *why, const char *what)
{
	fprintf(stderr, "s3_drive: %s: %s\n", what, why);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);
	if (*end || end == text)
		die("not a number", text);
	return n;
}

static void nap(uint64_t ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000 * 1000000) };
	nanosleep(&t, NULL);
}

static int take_entry(struct s3_request *rq, const struct s3_entry *e)
{
	struct ask *a = (struct ask *)rq;
	if (!a->entries)
		a->entries = json_array();
	json_array_append_new(a->entries, json_pack("[sII]", e->key, (json_int_t)e->size,
						    (json_int_t)e->mtime_s));
	return 0;
}

static void open_source(struct ask *a, const char *path)
{
	struct stat st;
	a->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (a->fd < 0 || fstat(a->fd, &st))
		die(strerror(errno), path);
	a->rq.source = (struct s3_source){ .fd = a->fd, .len = (uint64_t)st.st_size };
}

static void load_source(struct ask *a)
{
	struct s3_source *s = &a->rq.source;
	a->memory = malloc(s->len + 1);
	if (!a->memory || io_read_exact(a->fd, a->memory, s->len, (off_t)s->at) < 0)
		die("can't be read", "the source");
	*s = (struct s3_source){ .data = a->memory, .len = s->len };
}

/* Insists on its promise: everything once, in order. */
static int read_source(void *arg, void *buf, size_t len, uint64_t at)
{
	struct ask *a = arg;
	if (at != a->rq.source.at + a->read_bytes || !len || len > 1 << 20)
		return -EBADMSG;
	a->read_bytes += len;
	return io_read_exact(a->fd, buf, len, (off_t)at);
}

static void put_option(struct ask *a, const char *text)
{
	const char *value = strchr(text, '=');
	value = value ? value + 1 : "";
	if (!strcmp(text, "new"))
		a->rq.if_none_match = true;
	else if (!strncmp(text, "if=", 3))
		a->rq.if_match = value;
	else if (!strncmp(text, "class=", 6))
		a->rq.storage_class = value;
	else if (!strncmp(text, "at=", 3))
		a->rq.source.at = number(value);
	else if (!strncmp(text, "len=", 4))
		a->rq.source.len = number(value);
	else if (!strcmp(text, "memory"))
		load_source(a);
	else if (!strcmp(text, "calls"))
		a->rq.source.read = read_source, a->rq.source.arg = a;
	else if (!strncmp(text, "meta=", 5) &&
		 sscanf(value, "%31[^:]:%127s", a->meta.name, a->meta.value) == 2)
		a->rq.meta = &a->meta, a->rq.n_meta = 1;
	else
		die("no option of put", text);
}

static void set_get(struct ask *a, char **argv, int n)
{
	if (n < 4)
		die("takes a key, an offset and a length", "get");
	a->rq.op = S3_GET;
	a->rq.at = number(argv[2]);
	a->rq.len = number(argv[3]);
	a->out = n > 4 ? argv[4] : NULL;
	if (!a->out && a->rq.len <= sizeof unread)
		a->rq.into = unread;
	else
		a->rq.into = a->memory = calloc(1, a->rq.len + 1);
	a->rq.if_match = n > 5 ? argv[5] : NULL;
}

static void set_many(struct ask *a, uint64_t n)
{
	a->rq.op = S3_DELETE_MANY;
	a->rq.n_keys = n;
	a->keys = calloc(n, sizeof *a->keys);
	for (uint64_t i = 0; i < n; i++)
		if (asprintf(&a->keys[i], "%s%llu", a->key, (unsigned long long)i) < 0)
			die("no memory", "delete-many");
	a->rq.keys = (const char *const *)a->keys;
}

static void set_key(struct ask *a, const char *text, size_t i)
{
	const char *percent = strchr(text, '%');
	int len = percent ? (int)(percent - text) : (int)strlen(text);
	snprintf(a->key, sizeof a->key, percent ? "%.*s%zu%s" : "%.*s", len, text, i,
		 percent ? percent + 1 : "");
	a->rq.key = a->key;
}

static void ask_set(struct ask *a, char **argv, int n, size_t i)
{
	const char *name = argv[0];
	*a = (struct ask){ .fd = -1 };
	if (n < 2)
		die("takes a key", name);
	set_key(a, argv[1], i);
	if (!strcmp(name, "get") || !strcmp(name, "get-short")) {
		set_get(a, argv, n);
		a->rq.may_be_short = name[3];
	} else if (!strcmp(name, "read") && n > 2) {
		a->rq.op = S3_READ;
		a->rq.len = number(argv[2]);
		a->rq.whole = &a->whole;
		a->out = n > 3 ? argv[3] : NULL;
	} else if (!strcmp(name, "put") && n > 2) {
		a->rq.op = S3_PUT;
		open_source(a, argv[2]);
		for (int k = 3; k < n; k++)
			put_option(a, argv[k]);
	} else if (!strcmp(name, "head")) {
		a->rq.op = S3_HEAD;
	} else if (!strcmp(name, "delete")) {
		a->rq.op = S3_DELETE;
	} else if (!strcmp(name, "delete-many") && n > 2) {
		set_many(a, number(argv[2]));
	} else if (!strcmp(name, "list") || (!strcmp(name, "abort-old") && n > 2)) {
		a->rq.op = !strcmp(name, "list") ? S3_LIST : S3_ABORT_OLD;
		a->rq.age_s = n > 2 ? number(argv[2]) : 0;
		a->rq.each = take_entry;
	} else {
		die("no such command, or without its arguments", name);
	}
}

static void ask_done(struct ask *a)
{
	for (size_t i = 0; a->keys && i < a->rq.n_keys; i++)
		free(a->keys[i]);
	free(a->keys);
	free(a->memory);
	buf_done(&a->whole);
	json_decref(a->entries);
	if (a->fd >= 0)
		close(a->fd);
}

static void write_out(const struct ask *a)
{
	const void *data = a->rq.op == S3_READ ? (const void *)a->whole.data : a->rq.into;
	size_t len = a->rq.op == S3_READ ? a->whole.len : (size_t)a->rq.answer.count;
	if (!a->out || a->rq.answer.err)
		return;
	CLEANUP_CLOSE int fd = open(a->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || io_write(fd, data, len, 0) < 0)
		die("can't be written", a->out);
}

static const char *error_name(int err)
{
	return err ? strerrorname_np(-err) : "ok";
}

static void print(json_t *line)
{
	CLEANUP_FREE char *text = json_dumps(line, JSON_COMPACT);
	puts(text ? text : "{}");
	fflush(stdout);
	json_decref(line);
}

static void print_answer(struct ask *a)
{
	const struct s3_answer *r = &a->rq.answer;
	json_t *meta = json_object();
	for (unsigned i = 0; i < r->n_meta; i++)
		json_object_set_new(meta, r->meta[i].name, json_string(r->meta[i].value));
	print(json_pack("{ss si sI sI ss ss ss sI so sO*}", "err", error_name(r->err), "status",
			(int)r->status, "size", (json_int_t)r->size, "count", (json_int_t)r->count,
			"etag", r->etag, "code", r->code, "text", r->text, "mtime",
			(json_int_t)r->mtime_s, "meta", meta, "entries", a->entries));
}

static void one_done(struct s3_request *rq)
{
	struct crowd *c = ((struct ask *)rq)->crowd;
	write_out((struct ask *)rq);
	SCOPED_LOCK(&c->lock);
	if (!--c->left)
		pthread_cond_signal(&c->ended);
}

static void print_crowd(struct crowd *c, uint64_t begun_ns)
{
	json_t *counts = json_object();
	const char *text = "";
	for (size_t i = 0; i < c->n; i++) {
		const struct s3_answer *a = &c->asks[i].rq.answer;
		json_t *old = json_object_get(counts, error_name(a->err));
		json_object_set_new(counts, error_name(a->err),
				    json_integer(json_integer_value(old) + 1));
		text = a->err ? a->text : text;
	}
	print(json_pack("{so ss sf}", "errors", counts, "text", text, "seconds",
			(double)(clock_mono_ns() - begun_ns) / 1e9));
}

enum ending { WAIT, STOP, CLOSE };

/* Submits n of a command, and waits for all, or has them end first. */
static void run(char **argv, int argc, size_t n, enum ending ending, uint64_t after_ms)
{
	struct crowd c = { .lock = PTHREAD_MUTEX_INITIALIZER,
			   .ended = PTHREAD_COND_INITIALIZER,
			   .n = n,
			   .left = n,
			   .asks = calloc(n, sizeof *c.asks) };
	for (size_t i = 0; i < n; i++)
		ask_set(&c.asks[i], argv, argc, i);
	uint64_t begun_ns = clock_mono_ns();
	for (size_t i = 0; i < n; i++) {
		c.asks[i].crowd = &c;
		c.asks[i].rq.done = one_done;
		if (s3_submit(s3, &c.asks[i].rq) < 0)
			one_done(&c.asks[i].rq);
	}
	if (ending != WAIT)
		nap(after_ms);
	for (size_t i = 0; ending == STOP && i < n; i++)
		s3_cancel(s3, &c.asks[i].rq);
	if (ending == CLOSE)
		s3_close(TAKE_PTR(s3));
	pthread_mutex_lock(&c.lock);
	while (c.left)
		pthread_cond_wait(&c.ended, &c.lock);
	pthread_mutex_unlock(&c.lock);
	if (n == 1)
		print_answer(&c.asks[0]);
	else
		print_crowd(&c, begun_ns);
	for (size_t i = 0; i < n; i++)
		ask_done(&c.asks[i]);
	free(c.asks);
}

static void command(char **argv, int n)
{
	size_t times = 1;
	enum ending ending = WAIT;
	uint64_t after_ms = 0;
	for (; n > 2; argv += 2, n -= 2) {
		if (!strcmp(argv[0], "times"))
			times = number(argv[1]);
		else if (!strcmp(argv[0], "stop") || !strcmp(argv[0], "close"))
			ending = argv[0][0] == 's' ? STOP : CLOSE, after_ms = number(argv[1]);
		else
			break;
	}
	if (n == 2 && !strcmp(argv[0], "sleep"))
		nap(number(argv[1]));
	else
		run(argv, n, times, ending, after_ms);
}

static void set_option(struct s3_options *o, char *text)
{
	char *value = strchr(text, '=');
	if (!value)
		die("not NAME=VALUE", text);
	*value++ = 0;
	const struct {
		const char *name;
		unsigned *number;
	} numbers[] = { { "active", &o->active },
			{ "connect_ms", &o->connect_ms },
			{ "stall_ms", &o->stall_ms },
			{ "timeout_ms", &o->timeout_ms },
			{ "tries", &o->tries },
			{ "backoff_ms", &o->backoff_ms },
			{ "backoff_max_ms", &o->backoff_max_ms },
			{ "parts_active", &o->parts_active } };
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!strcmp(text, numbers[i].name)) {
			*numbers[i].number = (unsigned)number(value);
			return;
		}
	if (!strcmp(text, "endpoint"))
		o->endpoint = value;
	else if (!strcmp(text, "region"))
		o->region = value;
	else if (!strcmp(text, "ca"))
		o->ca = value;
	else if (!strcmp(text, "style"))
		o->style = !strcmp(value, "path") ? S3_STYLE_PATH : S3_STYLE_HOST;
	else if (!strcmp(text, "part_size"))
		o->part_size = number(value);
	else
		die("no such option", text);
}

static int end_of(char **argv, int argc, int i)
{
	while (i < argc && strcmp(argv[i], "--") != 0)
		i++;
	return i;
}

int main(int argc, char **argv)
{
	struct s3_options o;
	char error[S3_TEXT_MAX];
	if (argc < 2)
		die("takes a place", "s3_drive");
	s3_defaults(&o);
	o.place = argv[1];
	int i = 2, end = end_of(argv, argc, 2);
	for (; i < end; i++)
		set_option(&o, argv[i]);
	int r = s3_open(&o, error, &s3);
	if (r < 0) {
		print(json_pack("{ss ss}", "err", error_name(r), "text", error));
		return 0;
	}
	while (s3 && (i = end + 1) < argc) {
		end = end_of(argv, argc, i);
		if (end > i)
			command(argv + i, end - i);
	}
	s3_close(s3);
	return 0;
}
