// SPDX-License-Identifier: MIT
/* film_memory: a film_source over bytes in memory, and what must hold of any film found in them. */
#ifndef FOLDFS_TEST_FILM_MEMORY_H
#define FOLDFS_TEST_FILM_MEMORY_H
#include "keyframe/detect.h"
#include <errno.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#endif

struct film_memory {
	const uint8_t *data;
	size_t len;
	uint64_t read; /* bytes given */
	uint64_t calls;
};

/* The whole window of all of them; the address sanitizer is told what of it has not been read. */
static uint8_t film_memory_window[FILM_WINDOW];

static inline ssize_t film_memory_read(void *arg, void *buf, size_t len, uint64_t at)
{
	struct film_memory *m = arg;
	size_t n = at >= m->len ? 0 : len < m->len - at ? len : m->len - (size_t)at;
	if (buf == film_memory_window)
		ASAN_UNPOISON_MEMORY_REGION(film_memory_window, n);
	if (n)
		memcpy(buf, m->data + at, n);
	if (buf == film_memory_window)
		ASAN_POISON_MEMORY_REGION(film_memory_window + n, FILM_WINDOW - n);
	m->read += n;
	m->calls++;
	return (ssize_t)n;
}

/* Parses the bytes with one parser, if it takes them for its own (else -ENOMSG). */
static inline int film_memory_parse(struct film_memory *m, const struct film_parser *parser,
				    struct film *f)
{
	struct film_source s = {
		.read = film_memory_read,
		.arg = m,
		.size = m->len,
		.budget = 4 * (uint64_t)m->len + (64u << 20),
		.window = film_memory_window,
	};
	*f = (struct film){ 0 };
	if (!parser->looks(m->data, m->len < DETECT_HEAD ? m->len : DETECT_HEAD))
		return -ENOMSG;
	return parser->parse(&s, f);
}

/* The form that film.h promises. */
static inline bool film_is_sound(const struct film *f, uint64_t size)
{
	if (f->n_tracks > FILM_TRACKS_MAX || f->n > f->max || f->n > FILM_SAMPLES_MAX)
		return false;
	for (size_t i = 0; i < f->n; i++) {
		const struct film_sample *s = &f->samples[i];
		if (s->track >= f->n_tracks || !s->len || s->at > size || s->len > size - s->at)
			return false;
	}
	return true;
}

/* More than it promises: samples of all tracks in the order of the file, none upon another. */
static inline bool film_is_in_order(const struct film *f)
{
	for (size_t i = 1; i < f->n; i++)
		if (f->samples[i].at < f->samples[i - 1].at + f->samples[i - 1].len)
			return false;
	return true;
}
#endif
