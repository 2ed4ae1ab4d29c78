// SPDX-License-Identifier: MIT
/* Content of small files. A destage that reads a buffer holds a reference; a writer that finds the
 * buffer shared goes on with a copy. fs.memory_bytes counts capacities.
 */
#include "cleanup.h"
#include "inode.h"

struct membuf *membuf_new(struct fs *fs, size_t cap)
{
	struct membuf *m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	m->data = cap ? malloc(cap) : NULL;
	if (cap && !m->data) {
		free(m);
		return NULL;
	}
	m->cap = cap;
	atomic_init(&m->refs, 1);
	atomic_fetch_add(&fs->memory_bytes, cap);
	return m;
}

/* Doubles, so that appending is linear; a first write gets what it asks for. */
static size_t grown(size_t old_cap, size_t want)
{
	return old_cap && want < old_cap * 2 ? old_cap * 2 : want;
}

int membuf_own(struct fs *fs, struct membuf **mem, size_t cap)
{
	struct membuf *m = *mem;
	if (atomic_load(&m->refs) > 1) {
		struct membuf *own = membuf_new(fs, cap > m->len ? cap : m->len);
		if (!own)
			return -ENOMEM;
		if (m->len)
			memcpy(own->data, m->data, m->len);
		own->len = m->len;
		*mem = own;
		membuf_unref(fs, m);
		return 0;
	}
	if (cap <= m->cap)
		return 0;
	cap = grown(m->cap, cap);
	uint8_t *p = realloc(m->data, cap);
	if (!p)
		return -ENOMEM;
	atomic_fetch_add(&fs->memory_bytes, cap - m->cap);
	m->data = p;
	m->cap = cap;
	return 0;
}

void membuf_unref(struct fs *fs, struct membuf *mem)
{
	if (!mem || atomic_fetch_sub(&mem->refs, 1) != 1)
		return;
	atomic_fetch_sub(&fs->memory_bytes, mem->cap);
	free(mem->data);
	free(mem);
}
