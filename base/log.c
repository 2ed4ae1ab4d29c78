// SPDX-License-Identifier: MIT
/* One write(2) per line, so that lines of several threads never mix. */
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_most_verbose = LOG_LEVEL_INFO;

int log_to_file(const char *path, int flags)
{
	int fd = STDERR_FILENO;
	if (path) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0644);
		if (fd < 0)
			return -errno;
	}
	int old = atomic_exchange(&log_fd, fd);
	if (old != STDERR_FILENO)
		close(old);
	return 0;
}

void log_set_level(enum log_level most_verbose)
{
	atomic_store(&log_most_verbose, (int)most_verbose);
}

static size_t line_prefix(char *out, size_t size, enum log_level level, int fd)
{
	static const char *const names[] = { "", "", "", "error", "warning", "", "info", "debug" };
	if (fd == STDERR_FILENO && getenv("JOURNAL_STREAM"))
		return (size_t)snprintf(out, size, "<%d>", level);
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	size_t n = strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, size - n, ".%03ld foldfs %s: ", now.tv_nsec / 1000000,
				    names[level & 7]);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if ((int)level > atomic_load_explicit(&log_most_verbose, memory_order_relaxed))
		return;
	int saved = errno;
	char line[2048];
	int fd = atomic_load(&log_fd);
	size_t n = line_prefix(line, sizeof line, level, fd);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	va_end(ap);
	n += m < 0 ? 0 : (size_t)m < sizeof line - n - 1 ? (size_t)m : sizeof line - n - 2;
	line[n++] = '\n';
	ssize_t ignored = write(fd, line, n); /* nobody is left to be told */
	(void)ignored;
	errno = saved;
}
