// SPDX-License-Identifier: MIT
/* gc_model: a pool's files, which share chunks as they are made of blocks of a common stock, and what has to
 * hold of them whatever gc does. */
#ifndef FOLDFS_TEST_GC_MODEL_H
#define FOLDFS_TEST_GC_MODEL_H
#include "stack.h"

#define KIB 1024u
#define MIB (1024u * KIB)
#define INO 100u
#define FILES 24u
#define FILE_MAX (600u * KIB)

static const struct chunker_params small = { CHUNKER_FASTCDC, 1024, 4096, 16384 };

struct model {
	struct stack st;
	struct file {
		uint8_t *data;
		size_t len; /* 0: there is none */
	} files[FILES];
	uint64_t seed;
};

static void block(uint8_t *out, size_t len, uint64_t number)
{
	uint64_t seed = number * 77;
	prng_fill(&seed, out, len);
}

static void model_make(struct model *m, uint64_t seed)
{
	*m = (struct model){ .seed = seed };
	stack_make(&m->st);
	m->st.chunker = small;
	m->st.pack_bytes = 300 * KIB;
	for (unsigned i = 0; i < FILES; i++)
		m->files[i].data = malloc(FILE_MAX);
}

static void model_end(struct model *m)
{
	assert_int_equal(stack_close(&m->st), 0);
	for (unsigned i = 0; i < FILES; i++)
		free(m->files[i].data);
	stack_remove(&m->st);
}

static void file_invent(struct file *f, uint64_t *seed)
{
	f->len = 0;
	unsigned blocks = 1 + (unsigned)prng_below(seed, 12);
	for (unsigned i = 0; i < blocks; i++) {
		/* some common, some new */
		uint64_t number = prng_below(seed, 2) ? prng_below(seed, 30) : prng_next(seed);
		size_t len = 5000 + number % 40000;
		block(f->data + f->len, len, number);
		f->len += len;
	}
}

static void model_store(struct model *m, unsigned i)
{
	if (m->files[i].len)
		file_delete(&m->st, INO + i);
	file_invent(&m->files[i], &m->seed);
	assert_int_equal(file_store(&m->st, INO + i, m->files[i].data, m->files[i].len), 0);
}

static void model_delete(struct model *m, unsigned i)
{
	if (m->files[i].len)
		file_delete(&m->st, INO + i);
	m->files[i].len = 0;
}

static void model_check(struct model *m)
{
	for (unsigned i = 0; i < FILES; i++)
		if (m->files[i].len)
			assert_int_equal(
				file_compare(&m->st, INO + i, m->files[i].data, m->files[i].len),
				0);
	check_rows(&m->st);
}

static void half_delete(struct model *m)
{
	for (unsigned i = 0; i < FILES; i++)
		model_store(m, i);
	for (unsigned i = 0; i < FILES; i += 2)
		model_delete(m, i);
}

/* Everything that can go has gone: what is counted is what a scan of the files finds. */
static void assert_lean(struct model *m, const struct gc_result *r)
{
	struct gc_result again;
	assert_int_equal(gc_run(m->st.gc, NULL, NULL, &again), 0);
	assert_int_equal(again.chunks_live, r->chunks_live);
	assert_true(again.chunks_dead <= r->chunks_dead);
	assert_true(again.bytes_dead * 3 <= again.bytes_live); /* at least 75 percent live */
}
#endif
