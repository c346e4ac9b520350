/* Files. Every return of the operating system is checked; temporary files carry host and
 * pid so that two jobs on one directory never share one. */
#include "io/sys/file.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIPE_PATIENCE_MS = 3000 };

/* Opens without waiting for the other end of a pipe. */
static int open_reading(const char *path)
{
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* read() that gives a pipe, which may never have a writer, a few seconds. */
static ssize_t read_some(int fd, bool is_pipe, char *p, int64_t size)
{
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = is_pipe ? poll(&wait, 1, PIPE_PATIENCE_MS) : 1;
        if (ready == 0)
            errno = ETIMEDOUT;
        if (ready == 0 || (ready < 0 && errno != EINTR))
            return -1;
        ssize_t n = ready < 0 ? -1 : read(fd, p, (size_t)size);
        if (n >= 0 || (errno != EINTR && errno != EAGAIN))
            return n;
    }
}

int file_read(const char *path, int64_t max, char **data, int64_t *len)
{
    struct stat st;
    int rc = -1, fd = open_reading(path);
    char *buf = NULL;
    int64_t at = 0;
    if (fd < 0)
        return err_set_errno("cannot open", path);
    if (fstat(fd, &st) != 0) {
        err_set_errno("cannot stat", path);
        goto done;
    }
    if (S_ISDIR(st.st_mode)) {
        err_set(ERR_INPUT, "%s: is a directory, a file was expected", path);
        goto done;
    }
    if (st.st_size > max) {
        err_set(ERR_INPUT, "%s: has %lld bytes, at most %lld are accepted here", path,
                (long long)st.st_size, (long long)max);
        goto done;
    }
    int64_t cap = st.st_size + 1;
    buf = mem_alloc(cap + 1, 1);
    for (;;) {
        ssize_t n = read_some(fd, !S_ISREG(st.st_mode), buf + at, cap - at);
        if (n < 0) {
            if (errno == ETIMEDOUT)
                err_set(ERR_INPUT, "%s: is a pipe into which nobody writes", path);
            else
                err_set_errno("cannot read", path);
            goto done;
        }
        if (n == 0)
            break;
        at += n;
        if (at == cap) { /* a pipe, or it grew */
            if (at > max) {
                err_set(ERR_INPUT, "%s: more than %lld bytes", path, (long long)max);
                goto done;
            }
            buf = mem_resize(buf, cap + 1, cap * 2 + 1, 1);
            cap *= 2;
        }
    }
    buf[at] = '\0';
    *data = buf;
    *len = at;
    buf = NULL;
    rc = 0;
done:
    mem_free(buf);
    close(fd);
    return rc;
}

char *file_tmp_name(const char *path)
{
    char host[128] = "host";
    gethostname(host, sizeof host - 1);
    return text_new("%s.tmp.%s.%ld", path, host, (long)getpid());
}

static int write_all(int fd, const char *p, int64_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, (size_t)(len < (1 << 30) ? len : (1 << 30)));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= n;
    }
    return 0;
}

int file_write(const char *path, const void *data, int64_t len)
{
    char *tmp = file_tmp_name(path);
    int rc = -1, fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        err_set_errno("cannot create", tmp);
        goto done;
    }
    rc = write_all(fd, data, len);
    if (rc != 0)
        err_set_errno("cannot write", path);
    if (close(fd) != 0 && rc == 0)
        rc = err_set_errno("cannot write", path);
    if (rc == 0)
        rc = file_publish(tmp, path);
    else
        unlink(tmp);
done:
    mem_free(tmp);
    return rc;
}

int file_append(const char *path, const void *data, int64_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set_errno("cannot open", path);
    int rc = write_all(fd, data, len);
    if (rc != 0)
        err_set_errno("cannot write", path);
    else if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        rc = err_set_errno("cannot flush", path);
    if (close(fd) != 0 && rc == 0)
        rc = err_set_errno("cannot write", path);
    return rc;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = fsync(fd);
    if (rc != 0 && (errno == EINVAL || errno == ENOTSUP)) /* file system without fsync */
        rc = 0;
    int e = errno;
    close(fd);
    errno = e;
    return rc;
}

int file_publish(const char *tmp, const char *path)
{
    char *dir = mem_text(path);
    char *slash = strrchr(dir, '/');
    int rc = 0;
    if (slash == dir)
        slash[1] = '\0';
    else if (slash != NULL)
        *slash = '\0';
    if (sync_path(tmp, O_RDONLY) != 0 || rename(tmp, path) != 0) {
        rc = err_set_errno("cannot publish", path);
        unlink(tmp);
    } else if (sync_path(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY) != 0) {
        rc = err_set_errno("cannot flush the directory of", path);
    }
    mem_free(dir);
    return rc;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

int file_make_dirs(const char *path)
{
    char *p = mem_text(path);
    int rc = 0;
    for (char *s = p + 1; rc == 0; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, 0777) != 0 && !(errno == EEXIST && file_is_dir(p)))
            rc = err_set_errno("cannot create the directory", p);
        *s = c;
        if (c == '\0')
            break;
    }
    mem_free(p);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int file_list(const char *dir, const char *prefix, const char *suffix, char ***names,
              int64_t *n)
{
    *names = NULL;
    *n = 0;
    DIR *d = opendir(dir);
    if (d == NULL)
        return errno == ENOENT ? 0 : err_set_errno("cannot list", dir);
    int64_t cap = 0;
    size_t np = strlen(prefix), ns = strlen(suffix);
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (e == NULL)
            break;
        size_t len = strlen(e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            len < np + ns || strncmp(e->d_name, prefix, np) != 0 ||
            strcmp(e->d_name + len - ns, suffix) != 0)
            continue;
        if (*n == cap) {
            *names = mem_resize(*names, cap, cap * 2 + 16, sizeof **names);
            cap = cap * 2 + 16;
        }
        (*names)[(*n)++] = mem_text(e->d_name);
    }
    int rc = errno != 0 ? err_set_errno("cannot list", dir) : 0;
    closedir(d);
    if (*n > 1)
        qsort(*names, (size_t)*n, sizeof **names, by_name);
    return rc;
}

void file_list_free(char **names, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        mem_free(names[i]);
    mem_free(names);
}

int file_map(const char *path, const unsigned char **p, int64_t *len)
{
    struct stat st;
    int rc = -1, fd = open_reading(path);
    *p = NULL;
    *len = 0;
    if (fd < 0)
        return err_set_errno("cannot open", path);
    if (fstat(fd, &st) != 0) {
        err_set_errno("cannot stat", path);
    } else if (!S_ISREG(st.st_mode)) {
        err_set(ERR_INPUT, "%s: is not a regular file", path);
    } else if (st.st_size == 0) {
        rc = 0;
    } else {
        void *m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (m == MAP_FAILED) {
            err_set_errno("cannot map", path);
        } else {
            *p = m;
            *len = st.st_size;
            rc = 0;
        }
    }
    close(fd);
    return rc;
}

void file_unmap(const unsigned char *p, int64_t len)
{
    if (p != NULL)
        munmap((void *)(uintptr_t)p, (size_t)len);
}

int file_link(const char *from, const char *to)
{
    const unsigned char *p;
    int64_t len;
    if (link(from, to) == 0 || errno == EEXIST)
        return 0;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != ENOTSUP &&
        errno != ENOSYS && errno != EACCES)
        return err_set_errno("cannot link", from);
    if (file_map(from, &p, &len) != 0)
        return -1;
    int rc = file_write(to, p, len);
    file_unmap(p, len);
    return rc;
}
