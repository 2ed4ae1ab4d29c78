// SPDX-License-Identifier: MIT
/* The world of names is small, so that calls meet: seven names, three levels, and now and then one
 * that is as long as a name may be, or longer. No path and no symlink leads out of the playground. */
#include "playground.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const small_world[] = {
	"a", "b", "c", "d", "e", "file\xff\xfe", "Name With Space"
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "model: %s %s: %s\n", what, path, strerror(errno));
	exit(2);
}

static void side_open(struct side *side, const char *base, const char *name)
{
	char root[PATH_SIZE];
	snprintf(root, sizeof root, "%s/%s", base, name);
	if (mkdir(root, 0777) < 0 && errno != EEXIST)
		die("cannot make", root);
	if (chmod(root, 0777) < 0)
		die("cannot chmod", root);
	side->root = strdup(root);
	side->dirfd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (side->dirfd < 0)
		die("cannot open", root);
	for (int i = 0; i < SLOTS; i++)
		side->fd[i] = -1;
	for (int i = 0; i < MAPS; i++)
		side->map_fd[i] = -1;
	side->data = aligned_alloc(DIRECT_ALIGN, IO_MAX + DIRECT_ALIGN);
	if (!side->root || !side->data)
		die("no memory for", root);
}

struct playground *playground_open(const char *name)
{
	struct playground *playground = calloc(1, sizeof *playground);
	if (!playground)
		die("no memory for", name);
	side_open(&playground->side[TARGET], options.target, name);
	side_open(&playground->side[REFERENCE], options.reference, name);
	return playground;
}

/* A mapping keeps the locks of the descriptor that it was made from, where the filesystem itself is
 * mapped; where it passes the mapping on to another, they go with the descriptor. So they go here. */
static void drop_locks(int fd)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	flock(fd, LOCK_UN);
	fcntl(fd, F_OFD_SETLK, &all);
}

int side_close_slot(struct side *side, int slot)
{
	if (side->fd[slot] < 0)
		return 0;
	drop_locks(side->fd[slot]);
	int r = close(side->fd[slot]);
	side->fd[slot] = -1;
	return r;
}

void side_unmap(struct side *side, int map, uint64_t len)
{
	if (side->map[map])
		munmap(side->map[map], len);
	if (side->map_fd[map] >= 0)
		close(side->map_fd[map]);
	side->map[map] = NULL;
	side->map_fd[map] = -1;
}

void playground_close(struct playground *playground)
{
	for (int s = 0; s < SIDES; s++) {
		struct side *side = &playground->side[s];
		for (int i = 0; i < SLOTS; i++)
			side_close_slot(side, i);
		for (int i = 0; i < MAPS; i++)
			side_unmap(side, i, playground->map[i].len);
		close(side->dirfd);
		free(side->data);
		free((char *)side->root);
	}
	free(playground);
}

void playground_draw_new_path(struct rng *rng, char path[PATH_SIZE])
{
	size_t depth = 1 + rng_below(rng, 3), used = 0;
	for (size_t level = 0; level < depth; level++) {
		if (level)
			path[used++] = '/';
		if (rng_chance(rng, 2)) {
			size_t len = rng_chance(rng, 80) ? 255 : 256;
			memset(path + used, 'x', len);
			used += len;
		} else {
			const char *name = rng_pick(rng, small_world);
			memcpy(path + used, name, strlen(name));
			used += strlen(name);
		}
	}
	path[used] = 0;
}

void playground_draw_path(struct rng *rng, struct playground *playground, char path[PATH_SIZE])
{
	const char *recent = playground->recent[rng_below(rng, RECENT)];
	if (*recent && rng_chance(rng, 65))
		strcpy(path, recent);
	else
		playground_draw_new_path(rng, path);
}

bool draw_path(struct rng *rng, struct playground *playground, struct call *call)
{
	playground_draw_path(rng, playground, call->path);
	return true;
}

void playground_remember(struct playground *playground, const char *path)
{
	if (strlen(path) < PATH_SIZE)
		strcpy(playground->recent[playground->recent_next++ % RECENT], path);
}

int playground_draw_slot(struct rng *rng, const struct playground *playground, unsigned kinds)
{
	size_t start = rng_below(rng, SLOTS);
	for (size_t i = 0; i < SLOTS; i++) {
		size_t slot = (start + i) % SLOTS;
		if (kinds & 1u << playground->kind[slot])
			return (int)slot;
	}
	return -1;
}

int playground_draw_map(struct rng *rng, const struct playground *playground, bool used)
{
	size_t start = rng_below(rng, MAPS);
	for (size_t i = 0; i < MAPS; i++) {
		size_t map = (start + i) % MAPS;
		if ((playground->side[REFERENCE].map[map] != NULL) == used)
			return (int)map;
	}
	return -1;
}

static int64_t size_of_slot(const struct playground *playground, int slot)
{
	struct stat st;
	if (slot < 0 || fstat(playground->side[REFERENCE].fd[slot], &st) < 0)
		return 0;
	return st.st_size;
}

int64_t playground_draw_offset(struct rng *rng, const struct playground *playground, int slot)
{
	int64_t size = size_of_slot(playground, slot);
	uint64_t any = rng_below(rng, 400 << 10);
	switch (rng_below(rng, 20)) {
	case 0 ... 3:
		return 0;
	case 4 ... 6:
		return size;
	case 7:
		return size ? size - 1 : 0;
	case 8:
		return size + (int64_t)rng_below(rng, 9000);
	case 9:
		return size ? (int64_t)(rng_next(rng) % (uint64_t)size) : 5;
	case 10 ... 12:
		return (int64_t)(any & ~4095ull);
	case 13:
		return rng_chance(rng, 10) ? (int64_t)rng_below(rng, 1ull << 42) : (int64_t)any;
	default:
		return (int64_t)any;
	}
}

uint64_t draw_length(struct rng *rng)
{
	switch (rng_below(rng, 10)) {
	case 0:
		return rng_below(rng, 3);
	case 1 ... 3:
		return 1 + rng_below(rng, 200);
	case 4 ... 5:
		return 4096 * (1 + rng_below(rng, 8));
	case 6 ... 8:
		return 1 + rng_below(rng, 20000);
	default:
		return 1 + rng_below(rng, IO_MAX - 1);
	}
}

void fill_data(unsigned char *data, size_t len, uint64_t seed)
{
	struct rng rng = { seed };
	switch (seed & 7) {
	case 0:
		memset(data, 0, len);
		return;
	case 1:
		memset(data, (int)(seed >> 8 & 0xff), len);
		return;
	case 2 ... 4: /* one of a few streams, so that pieces of files are equal */
		rng.state = seed >> 8 & 3;
		break;
	default:
		break;
	}
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = rng_next(&rng);
		memcpy(data + i, &word, len - i < 8 ? len - i : 8);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void side_put_names(struct side *side, const char **names, size_t count, struct outcome *out)
{
	qsort(names, count, sizeof *names, by_name);
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(names[i]) + 1;
		if (out->data_len + len > IO_MAX)
			return;
		memcpy(side->data + out->data_len, names[i], len);
		out->data_len += len;
	}
}

#define LOOSE_SIZE (sizeof board->loose / sizeof board->loose[0])

void loose_add(uint64_t ino)
{
	for (size_t i = ino % LOOSE_SIZE, n = 0; n < LOOSE_SIZE; i = (i + 1) % LOOSE_SIZE, n++) {
		unsigned long long empty = 0;
		if (atomic_compare_exchange_strong(&board->loose[i], &empty, ino) || empty == ino)
			return;
	}
}

bool loose_has(uint64_t ino)
{
	for (size_t i = ino % LOOSE_SIZE, n = 0; n < LOOSE_SIZE; i = (i + 1) % LOOSE_SIZE, n++) {
		unsigned long long there = atomic_load(&board->loose[i]);
		if (there == ino)
			return true;
		if (!there)
			return false;
	}
	return true;
}
