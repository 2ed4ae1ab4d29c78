// SPDX-License-Identifier: MIT
/* An entry goes round: the kernel puts a request into it and completes its command (a CQE); the thread
 * hands the request to the library; the answer is laid into the same memory; the next command commits
 * it and fetches another request at once.
 *
 * The library wants header, arguments and payload in one piece, as /dev/fuse gives them. So before the
 * payload there is a page whose end takes the first two. Small requests are copied, since another
 * thread may answer, and the kernel fill the entry anew, before the handler has returned; large ones, which are
 * writes, stay where they are: who answers a write later has copied its bytes.
 *
 * What of the protocol is needed stands here, since the headers of the system may be older.
 */
#include "rings.h"
#include "cleanup.h"
#include "fault.h"
#include "fs.h"
#include "log.h"
#include <fuse_lowlevel.h>
#include <liburing.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#define PAGE 4096u
/* Of a queue: more than BACKGROUND_MAX, so if that many wait others get by. Fewer where there is no
 * memory to be promised; what is used of it is little, as the kernel takes first what it used last. */
#define ENTRIES_MAX 96u
#define ENTRIES_MIN 16u
#define COPIED_MAX 8192u
#define PAYLOAD_MIN (1u << 20)
#define QUEUES_MAX 4096u
#define WAKE 1u /* what is no entry's address */

/* <linux/fuse.h> */
#define OPCODE_INIT 26u
#define INIT_IN_FLAGS2 (40 + 16) /* in the request, after its header */
#define INIT_OUT_FLAGS 12
#define INIT_OUT_FLAGS2 32
#define FLAG_INIT_EXT (1u << 30)
#define FLAG2_OVER_IO_URING (1u << (41 - 32))
enum { CMD_REGISTER = 1, CMD_COMMIT_AND_FETCH = 2 };

struct in_header {
	uint32_t len, opcode;
	uint64_t unique, nodeid;
	uint32_t uid, gid, pid;
	uint16_t extlen, padding;
};
struct out_header {
	uint32_t len;
	int32_t error;
	uint64_t unique;
};
struct ring_header {
	uint8_t in_out[128]; /* either of the two above */
	uint8_t op_in[128];  /* the first argument */
	uint64_t flags, commit_id;
	uint32_t payload_len, padding;
	uint64_t reserved;
};
struct command {
	uint64_t flags, commit_id;
	uint16_t queue;
	uint8_t padding[6];
};

struct entry {
	_Atomic uint64_t unique; /* of the request in it that nobody has answered; else 0 */
	uint64_t commit_id;
	struct ring_header *header;
	uint8_t *payload;
	struct iovec iov[2]; /* of these, for the kernel */
	struct queue *queue;
	struct entry *next; /* of queue.answered */
	unsigned command;
	bool answered; /* by the handler itself */
};

struct queue {
	struct rings *rings;
	unsigned id;
	int wake_fd;
	struct io_uring ring;
	pthread_t thread;
	pthread_mutex_t handling; /* held while a handler runs */
	pthread_mutex_t lock;	  /* of the next */
	struct entry *answered;	  /* by other threads */
	uint64_t woken;
	uint8_t copy[COPIED_MAX];
	struct entry *entries;
};

enum init { INIT_UNSEEN, INIT_OFFERED, INIT_REFUSED, INIT_DONE };

struct rings {
	struct fs *fs;
	unsigned n_queues, n_entries;
	size_t payload_size, memory_size;
	uint8_t *memory;	       /* of all entries */
	struct entry *_Atomic *places; /* place_of(): who was given such a request last */
	unsigned places_bits;
	_Atomic int init; /* enum init */
	uint64_t init_unique;
	atomic_bool resting, stopping;
	pthread_mutex_t lock;
	pthread_cond_t go; /* init has changed, or stopping */
	unsigned started;
	struct queue *queues;
};

static _Thread_local struct entry *handled; /* by this thread */

/* What one thread did before its answer, another sees that takes up a request which came of it. The
 * kernel is in between; ThreadSanitizer knows that of reads and writes, but not of rings. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define AFTER_ANSWERS(rings) __tsan_acquire(rings)
#define BEFORE_REQUESTS(rings) __tsan_release(rings)
#else
#define AFTER_ANSWERS(rings) ((void)0)
#define BEFORE_REQUESTS(rings) ((void)0)
#endif

/* ---- commands; only in the queue's thread ---- */

/* There is one for each entry and one to be woken by, so they cannot run out. */
static struct io_uring_sqe *next_sqe(struct queue *q)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
	if (!sqe && io_uring_submit(&q->ring) >= 0)
		sqe = io_uring_get_sqe(&q->ring);
	return sqe;
}

static void prepare(struct queue *q, struct entry *e, unsigned command)
{
	struct io_uring_sqe *sqe = next_sqe(q);
	struct command cmd = { .queue = (uint16_t)q->id };
	if (!sqe) {
		log_error("the ring of queue %u is full: a request is lost", q->id);
		return;
	}
	e->command = command;
	memset(sqe, 0, 2 * sizeof *sqe); /* they are twice as long here */
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fuse_session_fd(q->rings->fs->session);
	sqe->cmd_op = command;
	io_uring_sqe_set_data(sqe, e);
	if (command == CMD_REGISTER) {
		sqe->addr = (uint64_t)(uintptr_t)e->iov;
		sqe->len = 2;
	} else {
		cmd.commit_id = e->commit_id;
	}
	memcpy(sqe->cmd, &cmd, sizeof cmd);
}

static void prepare_wake(struct queue *q)
{
	struct io_uring_sqe *sqe = next_sqe(q);
	if (!sqe)
		return;
	io_uring_prep_read(sqe, q->wake_fd, &q->woken, sizeof q->woken, 0);
	sqe->user_data = WAKE;
}

/* ---- answers; any thread ---- */

/* Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4). */
static struct entry *_Atomic *place_of(struct rings *rings, uint64_t unique)
{
	return &rings->places[unique * UINT64_C(0x9e3779b97f4a7c15) >> (64 - rings->places_bits)];
}

static struct entry *find(struct rings *rings, uint64_t unique)
{
	if (handled && atomic_load(&handled->unique) == unique)
		return handled;
	struct entry *likely = *place_of(rings, unique);
	if (likely && atomic_load(&likely->unique) == unique)
		return likely;
	for (unsigned k = 0; k < rings->n_queues; k++)
		for (unsigned i = 0; i < rings->n_entries; i++)
			if (atomic_load_explicit(&rings->queues[k].entries[i].unique,
						 memory_order_relaxed) == unique)
				return &rings->queues[k].entries[i];
	return NULL;
}

static void lay_answer(struct entry *e, const struct iovec *iov, int n)
{
	size_t len = 0, room = e->queue->rings->payload_size;
	struct out_header out;
	memcpy(&out, iov[0].iov_base, sizeof out);
	for (int i = 1; i < n; i++) {
		if (iov[i].iov_len > room - len) {
			out.error = -EIO;
			len = 0;
			break;
		}
		memcpy(e->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memcpy(e->header->in_out, &out, sizeof out);
	e->header->payload_len = (uint32_t)len;
}

static void wake(struct queue *q)
{
	uint64_t one = 1;
	if (write(q->wake_fd, &one, sizeof one) != sizeof one)
		log_error("the ring of queue %u cannot be woken: %s", q->id, strerror(errno));
}

static void hand_over(struct entry *e)
{
	struct queue *q = e->queue;
	pthread_mutex_lock(&q->lock);
	bool first = !q->answered;
	e->next = q->answered;
	q->answered = e;
	pthread_mutex_unlock(&q->lock);
	if (first)
		wake(q);
}

static void answer(struct entry *e, const struct iovec *iov, int n)
{
	bool ours = e == handled;
	BEFORE_REQUESTS(e->queue->rings);
	lay_answer(e, iov, n);
	atomic_store(&e->unique, 0);
	if (ours)
		e->answered = true;
	else
		hand_over(e);
}

/* ---- requests ---- */

static void refuse(struct entry *e, uint64_t unique)
{
	struct out_header out = { .len = sizeof out, .error = -EIO, .unique = unique };
	struct iovec iov = { &out, sizeof out };
	handled = e;
	answer(e, &iov, 1);
}

/* The request in one piece. False: its lengths cannot be true. */
static bool gather(struct queue *q, struct entry *e, struct fuse_buf *ret_buf)
{
	struct in_header head;
	memcpy(&head, e->header->in_out, sizeof head);
	uint32_t payload = e->header->payload_len;
	if (payload > q->rings->payload_size || head.len < sizeof head + payload ||
	    head.len - sizeof head - payload > sizeof e->header->op_in)
		return false;
	uint32_t first = head.len - (uint32_t)sizeof head - payload;
	bool copied = head.len <= sizeof q->copy;
	uint8_t *at = copied ? q->copy : e->payload - first - sizeof head;
	memcpy(at, &head, sizeof head);
	memcpy(at + sizeof head, e->header->op_in, first);
	if (copied)
		memcpy(at + sizeof head + first, e->payload, payload);
	*ret_buf = (struct fuse_buf){ .mem = at, .size = head.len };
	return true;
}

static void handle(struct queue *q, struct entry *e)
{
	struct in_header head;
	struct fuse_buf buf;
	AFTER_ANSWERS(q->rings);
	memcpy(&head, e->header->in_out, sizeof head);
	e->commit_id = e->header->commit_id;
	e->answered = false;
	atomic_store(&e->unique, head.unique);
	*place_of(q->rings, head.unique) = e;
	if (gather(q, e, &buf)) {
		handled = e;
		fuse_session_process_buf(q->rings->fs->session, &buf);
	} else {
		refuse(e, head.unique);
	}
	handled = NULL;
	if (e->answered)
		prepare(q, e, CMD_COMMIT_AND_FETCH);
}

static void completed(struct queue *q, struct entry *e, int res)
{
	if (res == -EAGAIN || res == -EINTR) {
		prepare(q, e, e->command);
		return;
	}
	if (res < 0) { /* -ENOTCONN, -ECANCELED: unmounted; then no more come */
		if (res != -ENOTCONN && res != -ECANCELED && !q->rings->stopping)
			log_warn("a request over io_uring failed: %s", strerror(-res));
		return;
	}
	SCOPED_LOCK(&q->handling);
	if (!q->rings->resting)
		handle(q, e);
}

static void commit_answered(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	struct entry *e = TAKE_PTR(q->answered);
	pthread_mutex_unlock(&q->lock);
	for (struct entry *next; e; e = next) {
		next = e->next;
		prepare(q, e, CMD_COMMIT_AND_FETCH);
	}
}

static void take_completions(struct queue *q)
{
	struct io_uring_cqe *cqe;
	while (io_uring_peek_cqe(&q->ring, &cqe) == 0) {
		uint64_t data = cqe->user_data;
		int res = cqe->res;
		io_uring_cqe_seen(&q->ring, cqe);
		if (data == WAKE)
			prepare_wake(q);
		else
			completed(q, (struct entry *)(uintptr_t)data, res);
	}
}

/* ---- threads ---- */

static void bind_to_processor(unsigned id)
{
	cpu_set_t set;
	if (id >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET(id, &set);
	sched_setaffinity(0, sizeof set, &set); /* one that is offline asks for nothing */
}

/* True when requests are to come. */
static bool wait_for_init(struct rings *rings)
{
	SCOPED_LOCK(&rings->lock);
	while (rings->init != INIT_DONE && !rings->stopping)
		pthread_cond_wait(&rings->go, &rings->lock);
	return !rings->stopping;
}

static void *queue_main(void *arg)
{
	struct queue *q = arg;
	char name[16];
	snprintf(name, sizeof name, "ring-%u", q->id);
	pthread_setname_np(pthread_self(), name);
	bind_to_processor(q->id);
	if (!wait_for_init(q->rings))
		return NULL;
	prepare_wake(q);
	for (unsigned i = 0; i < q->rings->n_entries; i++)
		prepare(q, &q->entries[i], CMD_REGISTER);
	while (!q->rings->stopping) {
		int r = io_uring_submit_and_wait(&q->ring, 1);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY) {
			log_error("the ring of queue %u cannot be waited for: %s", q->id,
				  strerror(-r));
			fuse_session_exit(q->rings->fs->session);
			break;
		}
		take_completions(q);
		commit_answered(q);
	}
	return NULL;
}

/* ---- what the library calls ---- */

static struct rings *rings_of(void *userdata)
{
	return ((struct fs *)userdata)->rings;
}

static ssize_t rings_read(int fd, void *buf, size_t size, void *userdata)
{
	struct rings *rings = rings_of(userdata);
	ssize_t n = read(fd, buf, size);
	struct in_header head;
	uint32_t flags2;
	if (rings->init != INIT_UNSEEN || n < (ssize_t)sizeof head)
		return n;
	memcpy(&head, buf, sizeof head);
	if (head.opcode != OPCODE_INIT)
		return n;
	rings->init = INIT_REFUSED;
	if (n >= INIT_IN_FLAGS2 + 4) {
		memcpy(&flags2, (uint8_t *)buf + INIT_IN_FLAGS2, sizeof flags2);
		if (flags2 & FLAG2_OVER_IO_URING && fault_hit("rings_offer") == 0)
			rings->init = INIT_OFFERED;
	}
	rings->init_unique = head.unique;
	if (rings->init == INIT_REFUSED)
		log_warn(
			"requests come over /dev/fuse: the kernel does not offer io_uring for them "
			"(it needs Linux 6.14 or later, and Y in "
			"/sys/module/fuse/parameters/enable_uring)");
	return n;
}

static ssize_t write_init(struct rings *rings, int fd, struct iovec *iov, int n)
{
	uint8_t *out = iov[1].iov_base;
	uint32_t flags, flags2;
	memcpy(&flags, out + INIT_OUT_FLAGS, sizeof flags);
	memcpy(&flags2, out + INIT_OUT_FLAGS2, sizeof flags2);
	flags |= FLAG_INIT_EXT;
	flags2 |= FLAG2_OVER_IO_URING;
	memcpy(out + INIT_OUT_FLAGS, &flags, sizeof flags);
	memcpy(out + INIT_OUT_FLAGS2, &flags2, sizeof flags2);
	ssize_t written = writev(fd, iov, n);
	SCOPED_LOCK(&rings->lock);
	rings->init = written > 0 ? INIT_DONE : INIT_REFUSED;
	pthread_cond_broadcast(&rings->go);
	return written;
}

static ssize_t rings_writev(int fd, struct iovec *iov, int n, void *userdata)
{
	struct rings *rings = rings_of(userdata);
	struct out_header out;
	memcpy(&out, iov[0].iov_base, sizeof out);
	if (rings->init == INIT_OFFERED && out.unique == rings->init_unique && !out.error &&
	    n == 2 && iov[1].iov_len >= INIT_OUT_FLAGS2 + 4)
		return write_init(rings, fd, iov, n);
	struct entry *e = out.unique && rings->init == INIT_DONE ? find(rings, out.unique) : NULL;
	if (!e) {
		BEFORE_REQUESTS(rings);
		return writev(fd, iov, n);
	}
	answer(e, iov, n);
	return out.len;
}

/* ---- up and down ---- */

/* The kernel wants a queue for each processor there could be, or sends nothing. */
static unsigned count_processors(void)
{
	char text[256] = { 0 };
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	if (f && !fgets(text, sizeof text, f))
		*text = 0;
	if (f)
		fclose(f);
	char *last = text + strcspn(text, "\n");
	while (last > text && last[-1] >= '0' && last[-1] <= '9')
		last--;
	unsigned long n = *text ? strtoul(last, NULL, 10) + 1 : (unsigned long)get_nprocs_conf();
	return n > QUEUES_MAX ? 0 : (unsigned)n;
}

static int queue_open(struct rings *rings, struct queue *q, unsigned id)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	size_t stride = PAGE + rings->payload_size;
	uint8_t *memory = rings->memory + (size_t)id * rings->n_entries * stride;
	q->rings = rings;
	q->id = id;
	q->wake_fd = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&q->handling, NULL);
	pthread_mutex_init(&q->lock, NULL);
	q->ring.ring_fd = -1;
	if (q->wake_fd < 0)
		return -errno;
	int r = io_uring_queue_init_params(rings->n_entries + 1, &q->ring, &params);
	if (r < 0) {
		q->ring.ring_fd = -1;
		return r;
	}
	q->entries = calloc(rings->n_entries, sizeof *q->entries);
	if (!q->entries)
		return -ENOMEM;
	for (unsigned i = 0; i < rings->n_entries; i++) {
		struct entry *e = &q->entries[i];
		e->queue = q;
		e->header = (void *)(memory + i * stride);
		e->payload = memory + i * stride + PAGE;
		e->iov[0] = (struct iovec){ e->header, sizeof *e->header };
		e->iov[1] = (struct iovec){ e->payload, rings->payload_size };
	}
	return 0;
}

static void queue_close(struct queue *q)
{
	if (q->ring.ring_fd >= 0)
		io_uring_queue_exit(&q->ring);
	if (q->wake_fd >= 0)
		close(q->wake_fd);
	pthread_mutex_destroy(&q->handling);
	pthread_mutex_destroy(&q->lock);
	free(q->entries);
}

static int map_entries(struct rings *rings, unsigned n_queues)
{
	rings->n_entries = ENTRIES_MAX;
	for (; rings->n_entries >= ENTRIES_MIN; rings->n_entries /= 2) {
		rings->memory_size =
			(size_t)n_queues * rings->n_entries * (PAGE + rings->payload_size);
		rings->memory = mmap(NULL, rings->memory_size, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (rings->memory != MAP_FAILED)
			return 0;
	}
	rings->memory = NULL;
	return -ENOMEM;
}

static int rings_allocate(struct rings *rings, unsigned n_queues)
{
	size_t write_max = rings->fs->pool->config.max_write;
	rings->payload_size =
		write_max > PAYLOAD_MIN ? (write_max + PAGE - 1) / PAGE * PAGE : PAYLOAD_MIN;
	int r = map_entries(rings, n_queues);
	if (r)
		return r;
	for (rings->places_bits = 1; 1u << rings->places_bits < 4 * n_queues * rings->n_entries;)
		rings->places_bits++;
	rings->places = calloc((size_t)1 << rings->places_bits, sizeof(*rings->places));
	rings->queues = calloc(n_queues, sizeof *rings->queues);
	return rings->places && rings->queues ? 0 : -ENOMEM;
}

static int rings_open(struct rings *rings)
{
	unsigned n = count_processors();
	int r = n ? rings_allocate(rings, n) : -ENOSYS;
	for (; r == 0 && rings->n_queues < n; rings->n_queues++) /* one that fails is closed, too */
		r = queue_open(rings, &rings->queues[rings->n_queues], rings->n_queues);
	while (r == 0 && rings->started < n) {
		struct queue *q = &rings->queues[rings->started];
		r = -pthread_create(&q->thread, NULL, queue_main, q);
		rings->started += r == 0;
	}
	return r;
}

int rings_start(struct fs *fs, struct rings **ret_rings)
{
	static const struct fuse_custom_io io = { .read = rings_read, .writev = rings_writev };
	struct rings *rings = calloc(1, sizeof *rings);
	if (!rings)
		return -ENOMEM;
	rings->fs = fs;
	pthread_mutex_init(&rings->lock, NULL);
	pthread_cond_init(&rings->go, NULL);
	int r = rings_open(rings);
	if (r == 0)
		r = fault_hit("rings_start");
	if (r == 0) {
		*ret_rings = rings;
		r = fuse_session_custom_io(fs->session, &io, sizeof io,
					   fuse_session_fd(fs->session));
	}
	if (r == 0)
		return 0;
	*ret_rings = NULL;
	rings_stop(rings);
	return r;
}

void rings_rest(struct rings *rings)
{
	if (!rings)
		return;
	rings->resting = true;
	for (unsigned i = 0; i < rings->n_queues; i++) {
		pthread_mutex_lock(&rings->queues[i].handling);
		pthread_mutex_unlock(&rings->queues[i].handling);
	}
}

void rings_stop(struct rings *rings)
{
	if (!rings)
		return;
	pthread_mutex_lock(&rings->lock);
	rings->stopping = true;
	pthread_cond_broadcast(&rings->go);
	pthread_mutex_unlock(&rings->lock);
	for (unsigned i = 0; i < rings->started; i++) {
		wake(&rings->queues[i]);
		pthread_join(rings->queues[i].thread, NULL);
	}
	for (unsigned i = 0; i < rings->n_queues; i++)
		queue_close(&rings->queues[i]);
	if (rings->memory)
		munmap(rings->memory, rings->memory_size);
	pthread_cond_destroy(&rings->go);
	pthread_mutex_destroy(&rings->lock);
	free(rings->places);
	free(rings->queues);
	free(rings);
}

int rings_work(const struct rings *rings)
{
	return rings && rings->init == INIT_DONE;
}
