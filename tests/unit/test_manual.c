// SPDX-License-Identifier: MIT
/* The manual pages name each option of the table, with its range and default, and no other. */
#include "config.h"
#include "cleanup.h"
#include "io.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char *read_page(const char *name)
{
	const char *source = getenv("FOLDFS_SOURCE");
	char path[4096];
	void *data = NULL;
	size_t len;
	snprintf(path, sizeof path, "%s/man/%s", source ? source : ".", name);
	assert_int_equal(io_slurp(AT_FDCWD, path, 1 << 20, &data, &len), 0);
	char *text = malloc(len + 1);
	memcpy(text, data, len);
	text[len] = 0;
	free(data);
	return text;
}

/* The paragraph that describes an option, up to the next list item; NULL: there is none. */
static char *item_of(const char *page, const char *option)
{
	char head[128];
	snprintf(head, sizeof head, "\n.It Cm %s", option);
	size_t n = strlen(head);
	for (const char *at = page; (at = strstr(at, head)); at += n) {
		if (at[n] != ' ' && at[n] != '\n')
			continue;
		const char *next = strstr(at + n, "\n.It "), *end = strstr(at + n, "\n.El");
		if (!next || (end && end < next))
			next = end;
		return next ? strndup(at, (size_t)(next - at)) : NULL;
	}
	return NULL;
}

static void described(const char *name, const char *page, const struct config_option *o)
{
	CLEANUP_FREE char *item = item_of(page, o->name);
	char limits[256];
	if (!item)
		fail_msg("%s does not describe %s", name, o->name);
	if (!strcmp(o->kind, "flag") || !strcmp(o->kind, "path") || !strcmp(o->kind, "text"))
		return;
	snprintf(limits, sizeof limits, "Range %s, default %s.", o->range, o->fallback);
	if (!strstr(item, limits))
		fail_msg("%s does not say of %s: %s", name, o->name, limits);
}

static void test_each_option_is_described(void **state)
{
	(void)state;
	CLEANUP_FREE char *conf = read_page("foldfs.conf.5");
	CLEANUP_FREE char *mkfs = read_page("mkfs.foldfs.8");
	CLEANUP_FREE char *mount = read_page("mount.foldfs.8");
	const struct config_option *o;
	for (size_t i = 0; (o = config_option(i)); i++) {
		if (o->scopes & CONFIG_MKFS)
			described("mkfs.foldfs.8", mkfs, o);
		if (o->scopes & CONFIG_POOL)
			described("foldfs.conf.5", conf, o);
		else if (o->scopes & CONFIG_MOUNT)
			described("mount.foldfs.8", mount, o);
	}
}

static void check_items(const char *name, unsigned scope)
{
	CLEANUP_FREE char *page = read_page(name);
	for (const char *at = page; (at = strstr(at, "\n.It Cm "));) {
		const struct config_option *o;
		size_t i = 0, n;
		at += strlen("\n.It Cm ");
		n = strcspn(at, " \n");
		while ((o = config_option(i)) && (strlen(o->name) != n || memcmp(o->name, at, n)))
			i++;
		if (!o || !(o->scopes & scope))
			fail_msg("%s describes %.*s, which is no option there", name, (int)n, at);
	}
}

static void test_nothing_else_is_described(void **state)
{
	(void)state;
	check_items("foldfs.conf.5", CONFIG_POOL);
	check_items("mkfs.foldfs.8", CONFIG_MKFS);
	check_items("mount.foldfs.8", CONFIG_MOUNT);
}

/* Where a long line may be broken says nothing. */
static void drop_breaks(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++)
		if (from[0] == '\\' && from[1] == ':')
			from++;
		else
			*to++ = *from;
	*to = 0;
}

static void test_profiles_are_told_as_they_are(void **state)
{
	(void)state;
	CLEANUP_FREE char *page = read_page("foldfs-tuning.7");
	const char *name, *options;
	drop_breaks(page);
	for (size_t i = 0; (options = config_profile(i, &name)); i++) {
		CLEANUP_FREE char *item = item_of(page, name);
		char line[256];
		if (!item)
			fail_msg("foldfs-tuning.7 does not describe %s", name);
		snprintf(line, sizeof line, "\n.D1 %s", options);
		if (*options && !strstr(item, line))
			fail_msg("foldfs-tuning.7 does not say of %s: %s", name, options);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_option_is_described),
		cmocka_unit_test(test_nothing_else_is_described),
		cmocka_unit_test(test_profiles_are_told_as_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
