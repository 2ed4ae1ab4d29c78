// SPDX-License-Identifier: MIT
/* The table of ARCHITECTURE.md, and over all combinations of facts: what the kernel forbids is never
 * answered (a native open beside cached ones, another mode beside native ones), and nothing that must
 * be seen by the daemon goes past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "mode.h"

struct row {
	const char *what;
	struct open_facts facts;
	enum open_mode mode;
	bool keep_cache, attr_volatile;
};

static const struct row table[] = {
	{ "new, read and write",
	  { .native_works = true, .reads = true, .writes = true },
	  OPEN_NATIVE,
	  false,
	  true },
	{ "new, write only", { .native_works = true, .writes = true }, OPEN_DIRECT, false, false },
	{ "new, write only, mode=native",
	  { .native_works = true, .prefer_native = true, .writes = true },
	  OPEN_NATIVE,
	  false,
	  true },
	{ "staged, read",
	  { .native_works = true, .reads = true, .content = CONTENT_STAGED },
	  OPEN_NATIVE,
	  false,
	  false },
	{ "staged, setuid, read",
	  { .native_works = true, .reads = true, .content = CONTENT_STAGED, .guarded = true },
	  OPEN_NATIVE,
	  false,
	  false },
	{ "staged, setuid, write",
	  { .native_works = true,
	    .reads = true,
	    .writes = true,
	    .content = CONTENT_STAGED,
	    .guarded = true },
	  OPEN_CACHED,
	  true,
	  false },
	{ "staged, no passthrough",
	  { .reads = true, .writes = true, .content = CONTENT_STAGED },
	  OPEN_CACHED,
	  true,
	  false },
	{ "staged, open cached by another",
	  { .native_works = true, .reads = true, .content = CONTENT_STAGED, .cached_opens = 1 },
	  OPEN_CACHED,
	  true,
	  false },
	{ "destaged, read",
	  { .native_works = true, .reads = true, .content = CONTENT_MAPPED },
	  OPEN_CACHED,
	  true,
	  false },
	{ "destaged, read, was native before",
	  { .native_works = true, .reads = true, .content = CONTENT_MAPPED, .cache_stale = true },
	  OPEN_CACHED,
	  false,
	  false },
	{ "destaged, with a copy, read",
	  { .native_works = true, .reads = true, .content = CONTENT_COPIED },
	  OPEN_NATIVE,
	  false,
	  false },
	{ "destaged, with a copy, setuid, read",
	  { .native_works = true, .reads = true, .content = CONTENT_COPIED, .guarded = true },
	  OPEN_NATIVE,
	  false,
	  false },
	{ "destaged, with a copy, open cached by another",
	  { .native_works = true, .reads = true, .content = CONTENT_COPIED, .cached_opens = 1 },
	  OPEN_CACHED,
	  true,
	  false },
	{ "destaged, with a copy, descriptors are short",
	  { .native_works = true, .reads = true, .content = CONTENT_COPIED, .space_short = true },
	  OPEN_CACHED,
	  true,
	  false },
	{ "destaged, with a copy that nobody uses, read and write",
	  { .native_works = true, .reads = true, .writes = true, .content = CONTENT_COPIED },
	  OPEN_CACHED,
	  true,
	  false },
	{ "destaged, with a copy that nobody uses, write",
	  { .native_works = true, .writes = true, .content = CONTENT_COPIED },
	  OPEN_DIRECT,
	  false,
	  false },
	{ "destaged, append",
	  { .native_works = true, .writes = true, .content = CONTENT_MAPPED },
	  OPEN_DIRECT,
	  false,
	  false },
	{ "destaged, write, writeback session",
	  { .writeback = true, .writes = true, .content = CONTENT_MAPPED },
	  OPEN_CACHED,
	  true,
	  false },
	{ "mapping lives on",
	  { .native_works = true, .reads = true, .native_written = true },
	  OPEN_NATIVE,
	  false,
	  false },
	{ "staging full, new, read and write",
	  { .native_works = true, .space_short = true, .reads = true, .writes = true },
	  OPEN_CACHED,
	  true,
	  false },
};

static void follows_the_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct open_answer a = mode_decide(&table[i].facts);
		if (a.mode != table[i].mode || a.keep_cache != table[i].keep_cache ||
		    a.attr_volatile != table[i].attr_volatile)
			fail_msg("%s: mode %d keep_cache %d volatile %d", table[i].what,
				 (int)a.mode, a.keep_cache, a.attr_volatile);
	}
}

static struct open_facts nth(unsigned bits)
{
	return (struct open_facts){
		.native_works = bits & 1,
		.writeback = bits & 2,
		.prefer_native = bits & 4,
		.space_short = bits & 8,
		.reads = bits & 16,
		.writes = bits & 32,
		.native_opens = bits & 64 ? 1 : 0,
		.cached_opens = bits & 128 ? 1 : 0,
		.native_written = bits & 256,
		.guarded = bits & 512,
		.cache_stale = bits & 1024,
		.content = (enum content_where)(bits >> 11 & 7),
	};
}

static void never_breaks_a_rule(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 1u << 14; bits++) {
		struct open_facts f = nth(bits);
		if (f.content > CONTENT_COPIED)
			continue;
		struct open_answer a = mode_decide(&f);
		if (f.native_opens) {
			assert_int_equal(a.mode, OPEN_NATIVE);
			continue;
		}
		if (f.cached_opens || !f.native_works)
			assert_int_not_equal(a.mode, OPEN_NATIVE);
		if (a.mode == OPEN_NATIVE) {
			assert_false(a.keep_cache); /* the kernel answers EIO to that */
			assert_true(f.native_written || f.content == CONTENT_STAGED ||
				    f.content == CONTENT_NONE || f.content == CONTENT_COPIED);
			/* a copy is for readers: what is written to it would be in no row */
			if (f.content == CONTENT_COPIED && !f.native_written)
				assert_false(f.writes);
			if (f.writes && !f.native_written)
				assert_false(f.guarded || f.space_short);
			assert_int_equal(a.attr_volatile, f.writes);
		}
		if (f.cache_stale)
			assert_false(a.keep_cache);
		if (a.mode == OPEN_DIRECT)
			assert_true(f.writes && !f.reads && !f.writeback);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_the_table),
		cmocka_unit_test(never_breaks_a_rule),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
