/* Log lines. A write error of the log itself is ignored: it must not end a run. */
#include "io/sys/log.h"

#include "io/sys/err.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum log_level level_now = LOG_INFO;
static FILE *file;
static char tag[64] = "sluice";

void log_set_level(enum log_level level)
{
    level_now = level;
}

void log_set_tag(const char *t)
{
    snprintf(tag, sizeof tag, "%s", t);
}

int log_open(const char *path)
{
    log_close();
    /* Without waiting for a reader, should the path be a pipe. */
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
    file = fd < 0 ? NULL : fdopen(fd, "a");
    if (file == NULL)
        return err_set_errno("cannot open the log", path);
    setvbuf(file, NULL, _IOLBF, 0);
    return 0;
}

void log_close(void)
{
    if (file != NULL)
        fclose(file);
    file = NULL;
}

const char *log_now(char *buf)
{
    time_t t = time(NULL);
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return buf;
}

static void line(enum log_level level, const char *word, const char *fmt, va_list ap)
{
    char now[32], text[2304];
    if (level > level_now)
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    log_now(now);
    if (file != NULL)
        fprintf(file, "%s %s %s%s\n", now, tag, word, text);
    if (level <= LOG_WARN || level_now == LOG_DEBUG)
        fprintf(stderr, "%s %s %s%s\n", now, tag, word, text);
}

#define LINE(level, word)                                                              \
    do {                                                                               \
        va_list ap;                                                                    \
        va_start(ap, fmt);                                                             \
        line(level, word, fmt, ap);                                                    \
        va_end(ap);                                                                    \
    } while (0)

void log_error(const char *fmt, ...)
{
    LINE(LOG_QUIET, "ERROR ");
}

void log_warn(const char *fmt, ...)
{
    LINE(LOG_WARN, "warning: ");
}

void log_info(const char *fmt, ...)
{
    LINE(LOG_INFO, "");
}

void log_debug(const char *fmt, ...)
{
    LINE(LOG_DEBUG, "debug: ");
}
