// SPDX-License-Identifier: MIT
/* probe_floor DIR SOURCE memory|native: mounts a filesystem that does nothing beside its round trips, in
 * the foreground, until it is unmounted. What it takes, no filesystem of libfuse can take less.
 *
 * One directory of at most a million names, all in memory. The bytes of files are there too, or with
 * 'native' in files of SOURCE, taken from a store of open ones, that the kernel writes by itself
 * (passthrough); these are emptied when the file is closed. Nothing outlives the mount, and space in
 * the table of names is never used again.
 *
 * Environment: FO, mount options instead of allow_other (io_uring among them); TH, threads instead of
 * 4; WB, if set, the kernel's write-back cache for 'memory'.
 *
 * One lock for names and the store. A file's bytes have none: each file has one writer.
 */
#include <fuse_lowlevel.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODES (1u << 20)
#define SLOTS (2 * NODES)
#define STORE 4096
#define STORE_AT_FIRST 1024
#define LIFETIME_S 3600

struct node {
	char name[32];
	int fd; /* native: its bytes, while it is open; else -1 */
	int backing;
	char *bytes;
	size_t size;
	bool live;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *nodes; /* by inode number: the first two name no file */
static unsigned used = FUSE_ROOT_ID + 1;
static unsigned slots[SLOTS]; /* open addressing, by name; 0: free */
static int store[STORE], stored;
static const char *source;
static bool native;

static unsigned slot_of(const char *name) /* FNV-1a */
{
	uint32_t x = 2166136261u;
	for (; *name; name++)
		x = (x ^ (unsigned char)*name) * 16777619u;
	return x % SLOTS;
}

static unsigned find_locked(const char *name)
{
	unsigned i = slot_of(name);
	for (; slots[i]; i = (i + 1) % SLOTS) {
		const struct node *node = &nodes[slots[i]];
		if (node->live && !strcmp(node->name, name))
			return slots[i];
	}
	return 0;
}

static unsigned add_locked(const char *name)
{
	unsigned i = slot_of(name);
	if (used == NODES)
		return 0;
	while (slots[i])
		i = (i + 1) % SLOTS;
	slots[i] = used;
	nodes[used] = (struct node){ .fd = -1, .live = true };
	memcpy(nodes[used].name, name, strlen(name) + 1);
	return used++;
}

static int file_open(const char *kind, unsigned number)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s%u", source, kind, number);
	return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void attributes(unsigned i, struct stat *ret_st)
{
	struct stat below;
	*ret_st = (struct stat){ .st_ino = i, .st_nlink = 1, .st_blksize = 4096 };
	ret_st->st_mode = i == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
	if (i == FUSE_ROOT_ID)
		return;
	if (nodes[i].fd >= 0 && fstat(nodes[i].fd, &below) == 0)
		ret_st->st_size = below.st_size;
	else
		ret_st->st_size = (off_t)nodes[i].size;
}

static struct fuse_entry_param entry_of(unsigned i)
{
	struct fuse_entry_param e = { .ino = i,
				      .entry_timeout = LIFETIME_S,
				      .attr_timeout = LIFETIME_S };
	if (i)
		attributes(i, &e.attr);
	return e;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	if (native) {
		fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH);
		conn->max_backing_stack_depth = 1;
	} else if (getenv("WB")) {
		fuse_set_feature_flag(conn, FUSE_CAP_WRITEBACK_CACHE);
	}
	fuse_set_feature_flag(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
	conn->no_interrupt = 1;
	conn->max_write = 1 << 20;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	pthread_mutex_lock(&lock);
	unsigned i = find_locked(name);
	pthread_mutex_unlock(&lock);
	struct fuse_entry_param e = entry_of(i);
	fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	(void)fi;
	attributes((unsigned)ino, &st);
	fuse_reply_attr(req, &st, LIFETIME_S);
}

static int do_create(const char *name, unsigned *ret_i)
{
	if (strlen(name) >= sizeof(nodes->name))
		return -ENAMETOOLONG;
	pthread_mutex_lock(&lock);
	unsigned i = add_locked(name);
	if (i && native)
		nodes[i].fd = stored ? store[--stored] : file_open("s", i);
	pthread_mutex_unlock(&lock);
	if (!i)
		return -ENOSPC;
	*ret_i = i;
	return native && nodes[i].fd < 0 ? -EIO : 0;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	unsigned i = 0;
	int r = do_create(name, &i);
	(void)parent;
	(void)mode;
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if (native)
		fi->backing_id = nodes[i].backing = fuse_passthrough_open(req, nodes[i].fd);
	fi->keep_cache = !native;
	fi->noflush = 1;
	fi->parallel_direct_writes = 1;
	struct fuse_entry_param e = entry_of(i);
	fuse_reply_create(req, &e, fi);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t n, off_t at,
		     struct fuse_file_info *fi)
{
	struct node *node = &nodes[ino];
	size_t end = (size_t)at + n;
	(void)fi;
	if (end > node->size) {
		char *more = realloc(node->bytes, end);
		if (!more) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		node->bytes = more;
		node->size = end;
	}
	memcpy(node->bytes + at, bytes, n);
	fuse_reply_write(req, n);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *node = &nodes[ino];
	(void)fi;
	if (native && node->fd >= 0) {
		struct stat st;
		attributes((unsigned)ino, &st);
		fuse_passthrough_close(req, node->backing);
		bool empty = ftruncate(node->fd, 0) == 0;
		pthread_mutex_lock(&lock);
		if (empty && stored < STORE)
			store[stored++] = node->fd;
		else
			close(node->fd);
		node->fd = -1;
		node->size = (size_t)st.st_size;
		pthread_mutex_unlock(&lock);
	}
	fuse_reply_err(req, 0);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	pthread_mutex_lock(&lock);
	unsigned i = find_locked(name);
	if (i) {
		nodes[i].live = false;
		free(nodes[i].bytes);
		nodes[i].bytes = NULL;
		nodes[i].size = 0;
	}
	pthread_mutex_unlock(&lock);
	fuse_reply_err(req, i ? 0 : ENOENT);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.create = op_create,
	.write = op_write,
	.release = op_release,
	.unlink = op_unlink,
};

static int serve(struct fuse_session *se)
{
	const char *threads = getenv("TH");
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads ? (unsigned)atoi(threads) : 4);
	int r = fuse_session_loop_mt(se, config);
	fuse_loop_cfg_destroy(config);
	return r;
}

static int mount_and_serve(char *program, const char *dir)
{
	char flag[] = "-o", usual[] = "allow_other", *given = getenv("FO");
	char *argv[] = { program, flag, given ? given : usual };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_session *se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se)
		return 1;
	int r = fuse_session_mount(se, dir);
	if (r == 0) {
		r = serve(se);
		fuse_session_unmount(se);
	}
	fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	return r ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc != 4 || (strcmp(argv[3], "memory") && strcmp(argv[3], "native"))) {
		fprintf(stderr, "usage: probe_floor DIR SOURCE memory|native\n");
		return 2;
	}
	source = argv[2];
	native = !strcmp(argv[3], "native");
	nodes = calloc(NODES, sizeof(*nodes));
	if (!nodes)
		return 1;
	for (; native && stored < STORE_AT_FIRST; stored++) {
		store[stored] = file_open("p", (unsigned)stored);
		if (store[stored] < 0) {
			perror("probe_floor: can't open a file for the store");
			return 1;
		}
	}
	return mount_and_serve(argv[0], argv[1]);
}
