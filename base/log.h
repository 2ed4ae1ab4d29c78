// SPDX-License-Identifier: MIT
/* log: one line per event to stderr, a file or the journal, with syslog levels.
 *
 * Lines start with "<N>" when stderr belongs to the journal, with a timestamp otherwise. Library
 * code of index/ and store/ logs only what no caller can be told (work in background threads);
 * everything else is returned as -errno and worded by the caller.
 */
#ifndef FOLDFS_LOG_H
#define FOLDFS_LOG_H

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

/* Appends; 0 or -errno; NULL goes back to stderr. flags: 0 or O_NOFOLLOW. */
int log_to_file(const char *path, int flags);
void log_set_level(enum log_level most_verbose);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#endif
