// SPDX-License-Identifier: MIT
/* The block cache: who gets into the region, what survives a remount, and that whatever happens to
 * its files it gives the right bytes or none.
 */
#include "kv_pool.h"
#include "cache.h"
#include "chunk_row.h"
#include "log.h"
#include <linux/filter.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

struct area {
	struct pool pool; /* for its directory */
	int fd;
	struct cache_options opt;
	struct cache *c;
};

static void area_open(struct area *a)
{
	assert_int_equal(cache_open(&a->opt, &a->c), 0);
}

static void area_make(struct area *a, uint64_t region, uint64_t ring)
{
	memset(a, 0, sizeof *a);
	pool_make(&a->pool);
	a->fd = open(a->pool.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->opt = (struct cache_options){
		.dirfd = a->fd,
		.pool_uuid = "0123456789abcde",
		.region_bytes = region,
		.ring_bytes = ring,
	};
	area_open(a);
}

static void area_close(struct area *a)
{
	cache_close(a->c);
	a->c = NULL;
}

static void area_remove(struct area *a)
{
	area_close(a);
	close(a->fd);
	pool_remove(&a->pool);
}

static struct cache_stats stats(struct area *a)
{
	struct cache_stats s;
	cache_get_stats(a->c, &s);
	return s;
}

static struct cache_key key_of(uint64_t i)
{
	return (struct cache_key){ 1 + i % 5, 64 + i * 8192 };
}

static uint32_t len_of(uint64_t i)
{
	return (uint32_t)(i * 48271 % FRAME_DECODED_MAX + 1);
}

static uint8_t byte_of(uint64_t i, uint32_t at)
{
	return (uint8_t)((i * 0x9e3779b97f4a7c15u >> 32) + at * 7 + (at >> 8) * 13 + (at >> 16));
}

static void put_len(struct area *a, uint64_t i, uint32_t len)
{
	uint8_t *data = malloc(len);
	for (uint32_t at = 0; at < len; at++)
		data[at] = byte_of(i, at);
	cache_put(a->c, key_of(i), data, len);
	free(data);
}

static void put(struct area *a, uint64_t i)
{
	put_len(a, i, len_of(i));
}

/* 1 and the right bytes, or 0. */
static int get(struct area *a, uint64_t i, uint32_t at, uint32_t len)
{
	uint8_t *out = malloc(len);
	int r = cache_read(a->c, key_of(i), at, len, out);
	for (uint32_t j = 0; r && j < len; j += j < 64 ? 1 : 61)
		assert_int_equal(out[j], byte_of(i, at + j));
	free(out);
	return r;
}

static int get_all(struct area *a, uint64_t i)
{
	return get(a, i, 0, len_of(i));
}

static void a_second_use_admits(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 16 << 20, 0);
	assert_int_equal(get(&a, 1, 0, 10), 0);
	put_len(&a, 1, FRAME_DECODED_MAX);
	assert_true(cache_has(a.c, key_of(1)));
	/* a pass in pieces of odd size is one use */
	for (uint32_t at = 0; at < FRAME_DECODED_MAX; at += 3000)
		assert_int_equal(get(&a, 1, at,
				     FRAME_DECODED_MAX - at < 3000 ? FRAME_DECODED_MAX - at : 3000),
				 1);
	assert_int_equal(stats(&a).frames, 0);
	assert_int_equal(get(&a, 1, 100000, 8192), 1);
	assert_int_equal(stats(&a).frames, 1);
	assert_int_equal(stats(&a).used_bytes, FRAME_DECODED_MAX);
	assert_int_equal(stats(&a).ring_bytes, 0);
	assert_int_equal(get(&a, 1, 0, FRAME_DECODED_MAX), 1);
	assert_int_equal(get(&a, 1, 0, FRAME_DECODED_MAX + 1), 0);
	/* who put it has used it once */
	put_len(&a, 2, 100000);
	cache_used(a.c, key_of(2), 0, 50000);
	assert_int_equal(get(&a, 2, 50000, 50000), 1);
	assert_int_equal(stats(&a).frames, 1);
	assert_int_equal(get(&a, 2, 0, 5000), 1);
	assert_int_equal(stats(&a).frames, 2);
	area_remove(&a);
}

static void one_pass_leaves_the_hot_set_alone(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 16 << 20, 2 << 20);
	for (uint64_t i = 0; i < 10; i++) {
		put(&a, i);
		get_all(&a, i);
		get_all(&a, i);
	}
	assert_int_equal(stats(&a).frames, 10);
	for (uint64_t i = 100; i < 400; i++) {
		put(&a, i);
		assert_int_equal(get_all(&a, i), 1);
	}
	assert_int_equal(stats(&a).frames, 10);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(get_all(&a, i), 1);
	/* what the ring lost long ago and comes back is wanted a second time */
	assert_int_equal(get_all(&a, 120), 0);
	put(&a, 120);
	assert_int_equal(stats(&a).frames, 11);
	area_remove(&a);
}

static void fill_region(struct area *a, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		put(a, i);
		get_all(a, i);
		get_all(a, i);
	}
}

static unsigned count(struct area *a, uint64_t n)
{
	unsigned found = 0;
	for (uint64_t i = 0; i < n; i++)
		found += (unsigned)get_all(a, i);
	return found;
}

static void a_remount_keeps_it(void **state)
{
	(void)state;
	struct area a;
	uint8_t byte;
	area_make(&a, 32 << 20, 0);
	fill_region(&a, 60);
	assert_int_equal(stats(&a).frames, 60);
	for (int round = 0; round < 3; round++) {
		area_close(&a);
		area_open(&a);
		assert_int_equal(stats(&a).kept_over_remount, 60);
		assert_int_equal(stats(&a).frames, 60);
		/* not read yet: that might wait for the device */
		assert_int_equal(cache_try_read(a.c, key_of(7), 0, 1, &byte), 0);
		assert_int_equal(get_all(&a, 7), 1);
		assert_int_equal(cache_try_read(a.c, key_of(7), 0, 1, &byte), 1);
		assert_int_equal(count(&a, 60), 60);
	}
	put(&a, 60); /* and it goes on working */
	get_all(&a, 60);
	get_all(&a, 60);
	assert_int_equal(stats(&a).frames, 61);
	assert_int_equal(count(&a, 61), 61);
	area_remove(&a);
}

static void a_foreign_or_other_region_is_not_trusted(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 32 << 20, 0);
	fill_region(&a, 40);
	area_close(&a);
	a.opt.pool_uuid[0] ^= 1;
	area_open(&a);
	assert_int_equal(count(&a, 40), 0);
	fill_region(&a, 40);
	area_close(&a);
	a.opt.region_bytes = 24 << 20;
	area_open(&a);
	assert_int_equal(stats(&a).region_bytes, 24 << 20);
	assert_int_equal(count(&a, 40), 0);
	fill_region(&a, 40);
	area_close(&a);
	a.opt.region_bytes = 0; /* ring only, and the file is given back */
	area_open(&a);
	assert_int_equal(count(&a, 40), 0);
	area_close(&a);
	a.opt.region_bytes = 24 << 20;
	area_open(&a);
	assert_int_equal(count(&a, 40), 0);
	area_remove(&a);
}

static void nothing_is_kept_over_a_crash(void **state)
{
	(void)state;
	struct area a, b;
	area_make(&a, 16 << 20, 0);
	fill_region(&a, 20);
	area_close(&a);
	area_open(&a);
	assert_int_equal(count(&a, 20), 20);
	area_make(&b, 0, 0);
	area_close(&b);
	pool_copy_dir(a.pool.dir, b.pool.dir); /* while a is open */
	b.opt = a.opt;
	b.opt.dirfd = b.fd;
	area_open(&b);
	assert_int_equal(stats(&b).kept_over_remount, 0);
	assert_int_equal(count(&b, 20), 0);
	area_remove(&b);
	area_remove(&a);
}

static void flip(struct area *a, const char *name, off_t at)
{
	uint8_t byte;
	int fd = openat(a->fd, name, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void rotten_bytes_are_misses(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 16 << 20, 0);
	fill_region(&a, 20);
	area_close(&a);
	for (off_t at = 0; at < 16 << 20; at += 1500000)
		flip(&a, "region", at);
	area_open(&a);
	assert_int_equal(stats(&a).kept_over_remount, 20);
	unsigned left = count(&a, 20); /* get() compares */
	assert_true(left < 20);
	assert_int_equal(stats(&a).frames, left);
	for (off_t at = 0; at < 64 + 3 * 64; at++) {
		fill_region(&a, 3);
		area_close(&a);
		flip(&a, "table", at);
		area_open(&a);
		assert_int_equal(stats(&a).frames, 0);
	}
	fill_region(&a, 3);
	area_close(&a);
	int fd = openat(a.fd, "table", O_WRONLY);
	assert_int_equal(ftruncate(fd, 100), 0);
	close(fd);
	area_open(&a);
	assert_int_equal(count(&a, 3), 0);
	area_remove(&a);
}

static void a_pack_is_forgotten(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 32 << 20, 0);
	fill_region(&a, 50);
	for (uint64_t i = 50; i < 60; i++)
		put(&a, i);
	cache_forget_pack(a.c, 1 + 3); /* every fifth */
	for (uint64_t i = 0; i < 60; i++)
		assert_int_equal(get_all(&a, i), i % 5 != 3);
	area_remove(&a);
}

static void the_region_stays_below_its_watermark(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 32 << 20, 0);
	area_close(&a);
	a.opt.high_percent = 50;
	a.opt.low_percent = 25;
	area_open(&a);
	fill_region(&a, 250);
	for (int i = 0; i < 2000 && stats(&a).used_bytes > 16 << 20; i++)
		usleep(1000);
	struct cache_stats s = stats(&a);
	assert_true(s.used_bytes <= 16 << 20);
	assert_true(s.evicted > 0);
	assert_int_equal(get_all(&a, 249), 1); /* the newest is there, the oldest is not */
	assert_int_equal(get_all(&a, 0), 0);
	area_remove(&a);
}

static void no_room_for_the_region(void **state)
{
	(void)state;
	struct area a;
	struct rlimit old, limit;
	area_make(&a, 0, 0);
	area_close(&a);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	a.opt.region_bytes = 64 << 20;
	for (int i = 0; i < 2; i++) {
		limit.rlim_cur = i ? 1 << 20 : 20 << 20;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		area_open(&a);
		assert_int_equal(stats(&a).region_bytes, i ? 0 : 16 << 20);
		put(&a, 1);
		get_all(&a, 1);
		assert_int_equal(get_all(&a, 1), 1);
		assert_int_equal(get_all(&a, 1), 1);
		assert_int_equal(stats(&a).frames, !i);
		area_close(&a);
		unlinkat(a.fd, "region", 0); /* what it has, it may keep */
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	area_remove(&a);
}

static void a_write_that_fails_admits_nothing(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 16 << 20, 0);
	put(&a, 9);
	get_all(&a, 9);
	fault_arm("write:2+=ENOSPC");
	assert_int_equal(get_all(&a, 9), 1);
	fault_arm(NULL);
	assert_int_equal(stats(&a).frames, 0);
	assert_int_equal(get_all(&a, 9), 1); /* from the ring, and now it gets in */
	assert_int_equal(stats(&a).frames, 1);
	area_remove(&a);
}

/* Stands for a device that can't give back what it was given: pages of the mapping are not there. */
static void a_lost_page_is_a_miss(void **state)
{
	(void)state;
	struct area a;
	area_make(&a, 16 << 20, 0);
	fill_region(&a, 20);
	int fd = openat(a.fd, "region", O_RDWR);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	unsigned left = count(&a, 20);
	assert_true(left < 20);
	assert_int_equal(count(&a, 20), left);
	assert_int_equal(stats(&a).frames, left);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	close(fd);
	fill_region(&a, 20);
	assert_int_equal(count(&a, 20), 20);
	area_remove(&a);
}

static void reading_only_touches_nothing(void **state)
{
	(void)state;
	struct area a;
	struct stat st;
	area_make(&a, 0, 0);
	area_close(&a);
	a.opt.region_bytes = 16 << 20;
	a.opt.read_only = true;
	area_open(&a);
	fill_region(&a, 5);
	assert_int_equal(count(&a, 5), 5);
	area_close(&a);
	assert_int_equal(fstatat(a.fd, "region", &st, 0), -1);
	assert_int_equal(fstatat(a.fd, "table", &st, 0), -1);
	area_remove(&a);
}

#define RING (6u << 20) /* nothing else is that long */
#define REGION (18u << 20)

struct mapping {
	void *at;
	bool huge;
};

/* The one of this length, of a file of this name or of none. */
static void find_mapping(size_t len, const char *name, struct mapping *ret_m)
{
	char line[4352];
	bool found = false, told = false;
	FILE *f = fopen("/proc/self/smaps", "r");
	assert_non_null(f);
	while (!told && fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && to - from == len &&
		    (name ? strstr(line, name) != NULL : !strchr(line, '/'))) {
			ret_m->at = (void *)from;
			found = true;
		} else if (found && !strncmp(line, "VmFlags:", 8)) {
			ret_m->huge = strstr(line, " hg");
			told = true;
		}
	}
	fclose(f);
	assert_true(told);
}

static void area_make_with(struct area *a, bool huge_pages, bool interleave)
{
	area_make(a, REGION, RING);
	area_close(a);
	a->opt.huge_pages = huge_pages;
	a->opt.interleave = interleave;
	area_open(a);
}

static void huge_pages_are_asked_for(void **state)
{
	(void)state;
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		skip();
	for (int huge = 0; huge < 2; huge++) {
		struct area a;
		struct mapping ring, region;
		area_make_with(&a, huge, false);
		find_mapping(RING, NULL, &ring);
		find_mapping(REGION, "/region", &region);
		assert_int_equal(ring.huge, huge);
		assert_int_equal(region.huge, huge);
		area_remove(&a);
	}
}

/* -1: the kernel has no NUMA, or we may not ask. */
static int policy(void *at)
{
	int mode;
	return syscall(SYS_get_mempolicy, &mode, NULL, 0, at, at ? MPOL_F_ADDR : 0) ? -1 : mode;
}

static _Atomic int policy_of_writes;

int __real_io_write(int fd, const void *data, size_t len, off_t at);
int __wrap_io_write(int fd, const void *data, size_t len, off_t at);
int __wrap_io_write(int fd, const void *data, size_t len, off_t at)
{
	if (len >= 4096)
		policy_of_writes = policy(NULL);
	return __real_io_write(fd, data, len, at);
}

static void nodes_take_turns(void **state)
{
	(void)state;
	int before = policy(NULL);
	if (before < 0)
		skip();
	for (int interleave = 0; interleave < 2; interleave++) {
		struct area a;
		struct mapping ring;
		int expected = interleave ? MPOL_INTERLEAVE : before;
		area_make_with(&a, false, interleave);
		find_mapping(RING, NULL, &ring);
		assert_int_equal(policy(ring.at), expected);
		fill_region(&a, 10);
		assert_int_equal(stats(&a).frames, 10);
		assert_int_equal(policy_of_writes, expected);
		area_close(&a);
		area_open(&a);
		assert_int_equal(count(&a, 10), 10);
		assert_int_equal(policy(NULL), before);
		area_remove(&a);
	}
}

/* Whoever runs the daemon may have given it a policy, with numactl(8) for instance. */
static void a_policy_of_the_thread_stays(void **state)
{
	(void)state;
	struct area a;
	unsigned long node = 1, nodes[16] = { 0 };
	int mode;
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &node, 64))
		skip();
	area_make_with(&a, false, true);
	fill_region(&a, 10);
	assert_int_equal(syscall(SYS_get_mempolicy, &mode, nodes, 1024, NULL, 0), 0);
	assert_int_equal(mode, MPOL_BIND);
	assert_int_equal(nodes[0], 1);
	assert_int_equal(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0), 0);
	area_remove(&a);
}

static void each_way_gives_the_same_bytes(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct area a;
		area_make_with(&a, way & 1, way & 2);
		fill_region(&a, 40);
		assert_int_equal(stats(&a).frames, 40);
		assert_int_equal(count(&a, 40), 40);
		area_close(&a);
		a.opt.huge_pages = !a.opt.huge_pages;
		area_open(&a);
		assert_int_equal(stats(&a).kept_over_remount, 40);
		put(&a, 40);
		assert_int_equal(count(&a, 41), 41);
		area_remove(&a);
	}
}

/* This thread, and those it starts. */
static void refuse_policies(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_set_mempolicy, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void *use_where_refused(void *arg)
{
	struct area a;
	refuse_policies(*(int *)arg);
	assert_int_equal(policy(NULL), -1);
	area_make_with(&a, false, true);
	fill_region(&a, 10);
	assert_int_equal(stats(&a).frames, 10);
	assert_int_equal(count(&a, 10), 10);
	area_remove(&a);
	return NULL;
}

static void without_numa_all_is_as_before(void **state)
{
	(void)state;
	int refusals[] = { ENOSYS, EPERM };
	for (int i = 0; i < 2; i++) {
		pthread_t t;
		assert_int_equal(pthread_create(&t, NULL, use_where_refused, &refusals[i]), 0);
		pthread_join(t, NULL);
	}
}

struct user {
	struct area *a;
	uint64_t seed;
	_Atomic unsigned *hits;
};

static void *use_at_random(void *arg)
{
	struct user *u = arg;
	uint64_t x = u->seed * 7919 + 1;
	for (int n = 0; n < 400; n++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t i = (x >> 33) % ((x >> 60) < 12 ? 60 : 600);
		uint32_t len = len_of(i), at = (uint32_t)((x >> 20) % len);
		if (n % 150 == 149)
			cache_forget_pack(u->a->c, 1 + i % 5);
		if (get(u->a, i, at, len - at < 30000 ? len - at : 30000))
			atomic_fetch_add(u->hits, 1);
		else
			put(u->a, i);
	}
	return NULL;
}

static void many_threads(void **state)
{
	(void)state;
	struct area a;
	pthread_t t[4];
	struct user u[4];
	_Atomic unsigned hits = 0;
	area_make(&a, 8 << 20, 2 << 20);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 4; i++) {
			u[i] = (struct user){ &a, i + 10u * (unsigned)round, &hits };
			assert_int_equal(pthread_create(&t[i], NULL, use_at_random, &u[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		area_close(&a);
		area_open(&a);
		assert_true(stats(&a).kept_over_remount > 0);
	}
	assert_true(hits > 0);
	count(&a, 600);
	area_remove(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_second_use_admits),
		cmocka_unit_test(one_pass_leaves_the_hot_set_alone),
		cmocka_unit_test(a_remount_keeps_it),
		cmocka_unit_test(a_foreign_or_other_region_is_not_trusted),
		cmocka_unit_test(nothing_is_kept_over_a_crash),
		cmocka_unit_test(rotten_bytes_are_misses),
		cmocka_unit_test(a_pack_is_forgotten),
		cmocka_unit_test(the_region_stays_below_its_watermark),
		cmocka_unit_test(no_room_for_the_region),
		cmocka_unit_test(a_write_that_fails_admits_nothing),
		cmocka_unit_test(a_lost_page_is_a_miss),
		cmocka_unit_test(reading_only_touches_nothing),
		cmocka_unit_test(huge_pages_are_asked_for),
		cmocka_unit_test(nodes_take_turns),
		cmocka_unit_test(a_policy_of_the_thread_stays),
		cmocka_unit_test(each_way_gives_the_same_bytes),
		cmocka_unit_test(without_numa_all_is_as_before),
		cmocka_unit_test(many_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
