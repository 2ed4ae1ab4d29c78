// SPDX-License-Identifier: MIT
#include "say.h"
#include "config.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void speak(const char *fmt, va_list ap, const char *more)
{
	char line[2048];
	int n = vsnprintf(line, sizeof line, fmt, ap);
	if (n < 0)
		return;
	for (char *c = line; *c; c++) /* a sentence is one line, whatever a path has in it */
		if (*c == '\n')
			*c = '?';
	fflush(stdout);
	fprintf(stderr, "%s: %s%s\n", program_invocation_short_name, line, more);
}

void complain(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	speak(fmt, ap, "");
	va_end(ap);
}

int complain_usage(int code, const char *fmt, ...)
{
	char more[128];
	snprintf(more, sizeof more, "; `%s --help` shows how it is used",
		 program_invocation_short_name);
	va_list ap;
	va_start(ap, fmt);
	speak(fmt, ap, more);
	va_end(ap);
	return code;
}

/* tools/completion reads this: which words begin an option, and which it may be given. */
void say_option(const struct config_option *o)
{
	char name[64];
	bool flag = !strcmp(o->kind, "flag");
	snprintf(name, sizeof name, "%s%s%s", o->name, flag ? "" : "=", flag ? "" : o->kind);
	for (char *c = strchr(name, '='); c && *c; c++)
		*c = (char)toupper((unsigned char)*c);
	printf("  %-23s %s%s%s%s%s\n", name, o->help, *o->range ? "; " : "", o->range,
	       *o->fallback ? ", default " : "", o->fallback);
}

int end_output(int code, int failed)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	complain("the output could not be written: %s", strerror(errno));
	return failed;
}
