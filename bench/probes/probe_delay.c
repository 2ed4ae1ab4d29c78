// SPDX-License-Identifier: MIT
/* probe_delay PORT SERVER_PORT MS COUNTS: a server that is far away. Takes connections on PORT of the loopback
 * device, connects each to SERVER_PORT there, and hands on what comes in MS / 2 after it came, so that an
 * answer takes MS longer. Of what is on its way it keeps up to QUEUE_MAX bytes a direction: at 15 ms no limit
 * below 4 GB/s. Each byte is copied twice by one thread, and that is its limit. A connection itself
 * is made without a delay.
 *
 * COUNTS is a file of two numbers of 8 bytes: what was handed to servers, and to clients. Says "ready" when it listens.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE (256u << 10)
#define QUEUE_MAX (64u << 20)
#define EVENTS 64

struct piece {
	struct piece *next;
	uint64_t due_ns;
	size_t len, sent; /* len 0: the end */
	char data[];
};

/* What one end has sent, on its way to the other. */
struct way {
	struct piece *first, *last;
	size_t queued;
	bool ended, over; /* the end came in; went out */
	bool blocked;	  /* the receiver takes no more for now */
	uint64_t *count;
};

struct link;

struct end {
	struct link *link;
	int fd;
	uint32_t events;
	struct way in; /* from here to the other end */
};

struct link {
	struct end ends[2]; /* client, server */
	struct link *next;
	bool broken;
};

static int poller, server_port;
static uint64_t delay_ns, *counts;
static struct link *links;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "probe_delay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct end *other(struct end *e)
{
	return &e->link->ends[e == &e->link->ends[0]];
}

/* Asks for what can be dealt with now. */
static void watch(struct end *e)
{
	uint32_t want = (e->in.ended || e->in.queued >= QUEUE_MAX ? 0 : EPOLLIN) |
			(other(e)->in.blocked ? EPOLLOUT : 0);
	struct epoll_event ev = { .events = want, .data.ptr = e };
	if (want != e->events && epoll_ctl(poller, EPOLL_CTL_MOD, e->fd, &ev))
		die("epoll_ctl");
	e->events = want;
}

static void receive(struct end *e, uint64_t now)
{
	struct way *w = &e->in;
	struct piece *p = malloc(sizeof *p + PIECE);
	if (!p)
		die("memory");
	ssize_t n = recv(e->fd, p->data, PIECE, MSG_DONTWAIT);
	if (n < 0) {
		free(p);
		e->link->broken |= errno != EAGAIN && errno != EINTR;
		return;
	}
	p = realloc(p, sizeof *p + (size_t)n);
	if (!p)
		die("memory");
	*p = (struct piece){ .due_ns = now + delay_ns, .len = (size_t)n };
	*(w->last ? &w->last->next : &w->first) = p;
	w->last = p;
	w->queued += p->len;
	w->ended = !n;
}

/* Hands on what is due. */
static void deliver(struct end *from, uint64_t now)
{
	struct way *w = &from->in;
	int fd = other(from)->fd;
	while (w->first && w->first->due_ns <= now && !w->blocked) {
		struct piece *p = w->first;
		ssize_t n = p->len ? send(fd, p->data + p->sent, p->len - p->sent,
					  MSG_DONTWAIT | MSG_NOSIGNAL)
				   : shutdown(fd, SHUT_WR);
		if (n < 0) {
			w->blocked = errno == EAGAIN;
			from->link->broken |= errno != EAGAIN && errno != EINTR;
			return;
		}
		p->sent += (size_t)n;
		w->queued -= (size_t)n;
		*w->count += (size_t)n;
		w->over |= !p->len;
		if (p->sent < p->len)
			continue;
		w->first = p->next;
		w->last = w->first ? w->last : NULL;
		free(p);
	}
}

static void add_end(struct link *l, int i, int fd)
{
	struct end *e = &l->ends[i];
	int on = 1;
	*e = (struct end){ .link = l, .fd = fd, .events = EPOLLIN, .in.count = &counts[i] };
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = e };
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev))
		die("epoll_ctl");
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void take_client(int listener)
{
	struct sockaddr_in at = loopback(server_port);
	int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct link *l = calloc(1, sizeof *l);
	if (!l || server < 0)
		die("a connection");
	if (client < 0 || connect(server, (struct sockaddr *)&at, sizeof at)) {
		close(server);
		if (client >= 0)
			close(client);
		free(l);
		return;
	}
	add_end(l, 0, client);
	add_end(l, 1, server);
	l->next = links;
	links = l;
}

static void free_link(struct link *l)
{
	for (int i = 0; i < 2; i++) {
		close(l->ends[i].fd);
		for (struct piece *p = l->ends[i].in.first, *next; p; p = next) {
			next = p->next;
			free(p);
		}
	}
	free(l);
}

/* Hands on what is due everywhere. Returns when there is more to do, or 0. */
static uint64_t serve(uint64_t now)
{
	uint64_t next = 0;
	for (struct link **at = &links; *at;) {
		struct link *l = *at;
		for (int i = 0; i < 2; i++)
			deliver(&l->ends[i], now);
		if (l->broken || (l->ends[0].in.over && l->ends[1].in.over)) {
			*at = l->next;
			free_link(l);
			continue;
		}
		for (int i = 0; i < 2; i++) {
			const struct way *w = &l->ends[i].in;
			if (w->first && !w->blocked && (!next || w->first->due_ns < next))
				next = w->first->due_ns;
			watch(&l->ends[i]);
		}
		at = &l->next;
	}
	return next;
}

static void handle(const struct epoll_event *ev, int listener)
{
	struct end *e = ev->data.ptr;
	if (!e) {
		take_client(listener);
		return;
	}
	if (ev->events & EPOLLOUT)
		other(e)->in.blocked = false;
	if (ev->events & EPOLLIN)
		receive(e, now_ns());
	else if (ev->events & (EPOLLERR | EPOLLHUP) && e->in.ended)
		e->link->broken |= (ev->events & EPOLLERR) != 0;
	else if (ev->events & EPOLLERR)
		e->link->broken = true;
}

static int start(char **argv)
{
	struct sockaddr_in at = loopback(atoi(argv[1]));
	int on = 1, fd = open(argv[4], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 2 * sizeof *counts))
		die(argv[4]);
	counts = mmap(NULL, 2 * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	server_port = atoi(argv[2]);
	delay_ns = strtoull(argv[3], NULL, 10) * 500000;
	poller = epoll_create1(EPOLL_CLOEXEC);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct epoll_event ev = { .events = EPOLLIN };
	if (counts == MAP_FAILED || poller < 0 || listener < 0 ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
	    bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 256) ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &ev))
		die("starting");
	puts("ready");
	fflush(stdout);
	return listener;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: probe_delay PORT SERVER_PORT MS COUNTS\n");
		return 2;
	}
	int listener = start(argv);
	for (uint64_t next = 0;;) {
		struct epoll_event events[EVENTS];
		uint64_t now = now_ns(), left = next > now ? next - now : 0;
		struct timespec wait = { (time_t)(left / 1000000000), (long)(left % 1000000000) };
		int n = epoll_pwait2(poller, events, EVENTS, next ? &wait : NULL, NULL);
		if (n < 0 && errno != EINTR)
			die("epoll_pwait2");
		for (int i = 0; i < n; i++)
			handle(&events[i], listener);
		next = serve(now_ns());
	}
}
