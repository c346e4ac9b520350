/* Log lines for people: "2026-01-31T12:00:00Z rollout/1 host text" on stderr or, once
 * log_open was called, in a file. Machines read metrics.jsonl instead. */
#ifndef SLUICE_IO_SYS_LOG_H
#define SLUICE_IO_SYS_LOG_H

enum log_level { LOG_QUIET = 0, LOG_WARN = 1, LOG_INFO = 2, LOG_DEBUG = 3 };

/* One of the two mutable globals of the program (with the pending error). */
void log_set_level(enum log_level level);

/* The tag that follows the time stamp, e.g. "rollout/1 node07"; cut at 63 bytes. */
void log_set_tag(const char *tag);

/* From now on lines also go to this file (appended, line-buffered). 0 or -1 (ERR_IO). */
int log_open(const char *path);
void log_close(void);

/* Warnings and errors always also reach stderr. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* File only (stderr too at LOG_DEBUG or where no file is open). */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "2026-01-31T12:00:00Z" for now, into buf of at least 32 bytes; returns buf. */
const char *log_now(char *buf);

#endif
