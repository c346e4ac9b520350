/* One pending error per thread. Texts are cut, never overflowed. */
#include "io/sys/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local enum err_code pending_code;
static _Thread_local char pending_text[2048];

int err_set(enum err_code code, const char *fmt, ...)
{
    char text[sizeof pending_text]; /* arguments may point into pending_text */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pending_code = code;
    memcpy(pending_text, text, sizeof text);
    return -1;
}

static const char *advice(int e)
{
    switch (e) {
    case ENOSPC:
        return "; free space on this file system, then run the same command again";
    case EDQUOT:
        return "; your quota is used up: free space, then run the same command again";
    case EFBIG:
        return "; raise the limit of a file's size (ulimit -f)";
    case EACCES:
    case EPERM:
    case EROFS:
        return "; check the permissions of this path";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    default:
        return "";
    }
}

int err_set_errno(const char *what, const char *path)
{
    int e = errno;
    enum err_code code = e == ENOENT || e == ENOTDIR || e == EISDIR ? ERR_INPUT : ERR_IO;
    return err_set(code, "%s: %s: %s%s", path, what, strerror(e), advice(e));
}

int err_add(const char *fmt, ...)
{
    char text[sizeof pending_text];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text - 3)
        return -1;
    size_t room = sizeof text - (size_t)n - 3, len = strlen(pending_text);
    memcpy(text + n, ": ", 2);
    memcpy(text + n + 2, pending_text, len < room ? len : room);
    text[(size_t)n + 2 + (len < room ? len : room)] = '\0';
    memcpy(pending_text, text, sizeof text);
    return -1;
}

enum err_code err_code(void)
{
    return pending_code;
}

const char *err_text(void)
{
    return pending_text;
}

void err_clear(void)
{
    pending_code = ERR_NONE;
    pending_text[0] = '\0';
}

void err_bug(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "sluice: bug at %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nThis is a defect of Sluice, not of your input; please report it.\n", stderr);
    abort();
}
