// SPDX-License-Identifier: MIT
#include "restore.h"
#include <errno.h>
#include <stdio.h>

int restore_diagnose(const char *path, enum restore_need *ret_need, struct pool_error *err)
{
	(void)path;
	(void)err;
	*ret_need = RESTORE_NOTHING;
	return 0;
}

int restore_index(const char *path, const struct restore_options *opt,
		  struct restore_result *ret_result, struct pool_error *err)
{
	(void)opt;
	(void)ret_result;
	snprintf(err->text, sizeof err->text, "%s: there is no dump of its index", path);
	return -ENOENT;
}

int restore_log(const char *path, const struct restore_options *opt,
		struct restore_result *ret_result, struct pool_error *err)
{
	(void)opt;
	(void)ret_result;
	snprintf(err->text, sizeof err->text, "%s: its log cannot be cut yet", path);
	return -ENOENT;
}
