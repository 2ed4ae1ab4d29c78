// SPDX-License-Identifier: MIT
/* Asking about films: what the reader finds arrives, and nothing else ever does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "bytes.h"
#include "cleanup.h"
#include "fault.h"
#include "film_wire.h"
#include "films.h"
#include "prng.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

static struct films *films, *hasty;

static void put_id(struct buf *b, uint32_t id, uint64_t len)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		if (id >> shift)
			buf_put_u8(b, (uint8_t)(id >> shift));
	buf_put_u8(b, 0x01); /* a size of eight bytes */
	for (int shift = 48; shift >= 0; shift -= 8)
		buf_put_u8(b, (uint8_t)(len >> shift));
}

static void put_element(struct buf *b, uint32_t id, const void *data, size_t len)
{
	put_id(b, id, len);
	buf_put(b, data, len);
}

/* A Matroska file of one video track and some blocks. */
static int make_film(uint64_t *ret_size)
{
	CLEANUP_BUF struct buf entry = { 0 }, tracks = { 0 }, cluster = { 0 }, segment = { 0 },
			       all = { 0 };
	uint8_t block[5000] = { 0x81, 0, 0, 0x80 };
	put_element(&entry, 0xd7, "\1", 1);
	put_element(&entry, 0x83, "\1", 1);
	put_element(&entry, 0x86, "V_VP9", 5);
	put_element(&tracks, 0xae, entry.data, entry.len);
	put_element(&cluster, 0xe7, "\0", 1);
	for (unsigned i = 0; i < 300; i++) {
		block[3] = i % 10 ? 0 : 0x80;
		put_element(&cluster, 0xa3, block, sizeof block);
	}
	put_element(&segment, 0x1654ae6b, tracks.data, tracks.len);
	put_element(&segment, 0x1f43b675, cluster.data, cluster.len);
	put_element(&all, 0x1a45dfa3, "\x42\x82\x84webm", 7);
	put_element(&all, 0x18538067, segment.data, segment.len);
	int fd = memfd_create("film", MFD_CLOEXEC);
	assert_int_equal(write(fd, all.data, all.len), all.len);
	*ret_size = all.len;
	return fd;
}

static int start(void **state)
{
	(void)state;
	fault_arm("film_hang:2+=EIO");
	static const struct films_options quick = { .seconds = 1 };
	int r = films_start(&quick, &hasty);
	fault_arm(NULL);
	return r ? r : films_start(NULL, &films);
}

static int stop(void **state)
{
	(void)state;
	films_stop(films);
	films_stop(hasty);
	films_stop(NULL);
	return 0;
}

static void what_the_reader_finds_arrives(void **state)
{
	(void)state;
	uint64_t size;
	CLEANUP_CLOSE int fd = make_film(&size);
	for (unsigned round = 0; round < 3; round++) {
		struct film f = { 0 };
		assert_int_equal(films_find(films, fd, size, NULL, NULL, &f), 0);
		assert_int_equal(f.container, FILM_MATROSKA);
		assert_int_equal(f.n_tracks, 1);
		assert_int_equal(f.tracks[0].kind, FILM_VIDEO);
		assert_string_equal(f.tracks[0].codec, "vp9");
		assert_int_equal(f.n, 300);
		for (size_t i = 0; i < f.n; i++) {
			assert_int_equal(f.samples[i].len, 4996);
			assert_int_equal(f.samples[i].key, i % 10 == 0);
		}
		film_done(&f);
	}
}

static void what_is_no_film_is_none(void **state)
{
	(void)state;
	CLEANUP_CLOSE int fd = memfd_create("noise", MFD_CLOEXEC);
	static uint8_t data[1 << 20];
	struct film f = { 0 };
	uint64_t seed = 1;
	prng_fill(&seed, data, sizeof data);
	assert_int_equal(write(fd, data, sizeof data), sizeof data);
	assert_int_equal(films_find(films, fd, sizeof data, NULL, NULL, &f), 0);
	assert_int_equal(f.container, FILM_NONE);
	film_done(&f);
	unsigned likely = 0;
	for (unsigned i = 0; i < 1000; i++)
		likely += films_may_be(data + 512 * i, 512);
	assert_in_range(likely, 0, 20);
	assert_false(films_may_be(data, 0));
	assert_true(films_may_be((const uint8_t *)"\0\0\0\x20"
						  "ftypisom",
				 12));
	assert_true(films_may_be((const uint8_t *)"RIFF\1\2\3\4AVI LIST", 16));
}

static bool always(void *arg)
{
	++*(unsigned *)arg;
	return true;
}

/* The reader that spins is ended by its limits, and one that nobody waits for, too. */
static void a_reader_that_hangs_is_ended(void **state)
{
	(void)state;
	struct film f = { 0 };
	uint64_t size;
	unsigned asked = 0;
	CLEANUP_CLOSE int fd = make_film(&size);
	int r = films_find(hasty, fd, size, NULL, NULL, &f);
	assert_true(r == -EPIPE || r == -ETIMEDOUT);
	assert_null(f.samples);
	assert_int_equal(films_find(hasty, fd, size, always, &asked, &f), -ECANCELED);
	assert_int_equal(asked, 1);
}

struct wire {
	uint8_t *data;
	size_t len, at, step;
};

static ssize_t read_wire(void *arg, void *buf, size_t len)
{
	struct wire *w = arg;
	size_t n = w->len - w->at < len ? w->len - w->at : len;
	n = n > w->step ? w->step : n;
	memcpy(buf, w->data + w->at, n);
	w->at += n;
	return (ssize_t)n;
}

static void make_wire(struct wire *w)
{
	struct film f = { .container = FILM_AVI };
	film_add_track(&f, FILM_VIDEO, "h264");
	film_add_track(&f, FILM_AUDIO, "aac");
	for (unsigned i = 0; i < 1000; i++) {
		struct film_sample s = { .at = i * 100, .len = 90, .track = i % 2, .key = i < 9 };
		film_add_sample(&f, &s);
	}
	int fd = memfd_create("wire", MFD_CLOEXEC);
	assert_int_equal(film_wire_put(fd, &f, 0), 0);
	film_done(&f);
	w->len = (size_t)lseek(fd, 0, SEEK_END);
	w->data = malloc(w->len);
	assert_int_equal(pread(fd, w->data, w->len, 0), w->len);
	close(fd);
}

/* Whatever comes, a film is in order or there is none. */
static void a_reader_that_lies_gives_nothing(void **state)
{
	(void)state;
	struct wire w;
	struct film f = { 0 };
	make_wire(&w);
	w.step = 777;
	w.at = 0;
	assert_int_equal(film_wire_get(read_wire, &w, 100000, &f), 0);
	assert_int_equal(f.n, 1000);
	assert_string_equal(f.tracks[1].codec, "aac");
	film_done(&f);
	w.at = 0;
	assert_int_equal(film_wire_get(read_wire, &w, 99000, &f), -EUCLEAN); /* beyond the end */
	for (size_t cut = 0; cut < w.len; cut += 501) {
		struct wire shorter = { w.data, cut, 0, 4096 };
		assert_int_equal(film_wire_get(read_wire, &shorter, 100000, &f), -EPIPE);
		assert_null(f.samples);
	}
	uint64_t seed = 3;
	unsigned refused = 0;
	for (unsigned i = 0; i < 4000; i++) {
		size_t at = prng_below(&seed, i % 2 ? 64 : w.len);
		uint8_t was = w.data[at];
		w.data[at] = (uint8_t)prng_next(&seed);
		w.at = 0;
		w.step = w.len;
		int r = film_wire_get(read_wire, &w, 100000, &f);
		refused += r < 0;
		for (size_t k = 0; r == 0 && k < f.n; k++) {
			assert_true(f.samples[k].track < f.n_tracks);
			assert_true(f.samples[k].at + f.samples[k].len <= 100000);
		}
		film_done(&f);
		w.data[at] = was;
	}
	assert_in_range(refused, 100, 4000);
	free(w.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_reader_finds_arrives),
		cmocka_unit_test(what_is_no_film_is_none),
		cmocka_unit_test(a_reader_that_hangs_is_ended),
		cmocka_unit_test(a_reader_that_lies_gives_nothing),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
