/* Files: atomic writes leave either the old or the new content and no temporary; errors
 * carry the right code and name the path; lists are sorted. */
#include "io/sys/file.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[512];

static const char *in_dir(const char *name)
{
    static char path[4][1200];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
    return path[at];
}

static bool holds(const char *path, const char *want)
{
    char *data = NULL;
    int64_t len = -1;
    bool good = file_read(path, 1 << 20, &data, &len) == 0 &&
                len == (int64_t)strlen(want) &&
                memcmp(data, want, (size_t)len + 1) == 0;
    mem_free(data);
    return good;
}

static int64_t entries(const char *prefix)
{
    char **names;
    int64_t n;
    if (file_list(dir, prefix, "", &names, &n) != 0)
        return -1;
    file_list_free(names, n);
    return n;
}

/* The call failed with this code and a text that names the path. */
static bool failed(int rc, enum err_code code, const char *path)
{
    bool good = rc == -1 && err_code() == code && strstr(err_text(), path) != NULL;
    if (!good)
        printf("# rc %d, code %d: %s\n", rc, (int)err_code(), err_text());
    err_clear();
    return good;
}

static void test_write(void)
{
    const char *a = in_dir("a.txt");
    tap_ok(file_write(a, "first", 5) == 0 && holds(a, "first") && file_size(a) == 5,
           "a file is written");
    tap_ok(file_write(a, "second one", 10) == 0 && holds(a, "second one"),
           "and replaced as a whole");
    tap_ok(file_write(in_dir("empty"), "", 0) == 0 && holds(in_dir("empty"), ""),
           "an empty file");
    tap_ok(entries("") == 2, "no temporary is left");
    const char *lost = in_dir("missing/b.txt");
    tap_ok(failed(file_write(lost, "x", 1), ERR_INPUT, "missing/b.txt"),
           "a missing directory is an error");
    mkdir(in_dir("folder"), 0777);
    file_write(in_dir("folder/inside"), "x", 1);
    tap_ok(failed(file_write(in_dir("folder"), "x", 1), ERR_INPUT, "folder") &&
               entries("") == 3 && file_exists(in_dir("folder/inside")),
           "a folder in the way is an error, and leaves no temporary");
}

static void test_publish(void)
{
    const char *to = in_dir("p.txt");
    char *tmp = file_tmp_name(to), part[32];
    snprintf(part, sizeof part, ".%ld", (long)getpid());
    tap_ok(strncmp(tmp, to, strlen(to)) == 0 && strstr(tmp, ".tmp.") != NULL &&
               strstr(tmp, part) != NULL,
           "a temporary name carries the process");
    FILE *f = fopen(tmp, "w");
    fputs("whole", f);
    fclose(f);
    tap_ok(!file_exists(to) && file_publish(tmp, to) == 0 && holds(to, "whole") &&
               !file_exists(tmp),
           "publishing renames");
    tap_ok(failed(file_publish(tmp, to), ERR_INPUT, "p.txt") && holds(to, "whole"),
           "nothing to publish is an error, and the old file stays");
    mem_free(tmp);
}

static void test_append(void)
{
    enum { WRITERS = 4, LINES = 25, LINE = 100 };
    const char *path = in_dir("lines");
    char line[LINE + 1];
    for (int w = 0; w < WRITERS; w++)
        if (fork() == 0) {
            int rc = 0;
            memset(line, 'a' + w, LINE);
            line[LINE - 1] = '\n';
            for (int i = 0; i < LINES && rc == 0; i++)
                rc = file_append(path, line, LINE);
            _exit(rc != 0);
        }
    int good = 1, status = 0;
    for (int w = 0; w < WRITERS; w++)
        good &= wait(&status) > 0 && status == 0;
    char *data = NULL;
    int64_t len = 0;
    good &= file_read(path, 1 << 20, &data, &len) == 0 && len == WRITERS * LINES * LINE;
    for (int64_t i = 0; good && i < len; i++)
        good &= data[i] == (i % LINE == LINE - 1 ? '\n' : data[i / LINE * LINE]);
    mem_free(data);
    tap_ok(good, "lines of several processes are appended whole");
    if (file_exists("/dev/full"))
        tap_ok(failed(file_append("/dev/full", "x", 1), ERR_IO, "/dev/full"),
               "a full disk is an I/O error");
    else
        tap_skip("a full disk is an I/O error", "no /dev/full here");
}

static void test_read(void)
{
    char *data = NULL;
    int64_t len = 0;
    file_write(in_dir("ten"), "0123456789", 10);
    tap_ok(file_read(in_dir("ten"), 10, &data, &len) == 0 && len == 10,
           "just small enough");
    mem_free(data);
    data = NULL;
    tap_ok(failed(file_read(in_dir("ten"), 9, &data, &len), ERR_INPUT, "ten") &&
               data == NULL,
           "a file beyond the limit is refused");
    tap_ok(failed(file_read(in_dir("none"), 9, &data, &len), ERR_INPUT, "none"),
           "a missing file is bad input");
    const char *pipe_path = in_dir("pipe");
    const unsigned char *map;
    if (mkfifo(pipe_path, 0600) != 0)
        abort();
    tap_ok(failed(file_read(pipe_path, 9, &data, &len), ERR_INPUT, "pipe"),
           "reading a pipe without a writer ends");
    tap_ok(failed(file_map(pipe_path, &map, &len), ERR_INPUT, "pipe"),
           "so does mapping it");
    tap_ok(failed(file_append(pipe_path, "x", 1), ERR_IO, "pipe"),
           "and appending to one without a reader");
    if (fork() == 0) {
        int fd = open(pipe_path, O_WRONLY);
        _exit(fd < 0 || write(fd, "012", 3) != 3 || usleep(100000) != 0 ||
              write(fd, "345", 3) != 3);
    }
    tap_ok(file_read(pipe_path, 9, &data, &len) == 0 && len == 6 &&
               memcmp(data, "012345", 6) == 0,
           "a pipe with a writer is read to its end");
    mem_free(data);
    data = NULL;
    tap_ok(failed(file_read(dir, 1 << 20, &data, &len), ERR_INPUT, dir),
           "so is a directory");
    tap_ok(file_size(in_dir("none")) == -1 && err_code() == ERR_NONE &&
               !file_exists(in_dir("none")) && !file_is_dir(in_dir("ten")) &&
               file_is_dir(dir),
           "questions leave no error");
}

static void test_map(void)
{
    const unsigned char *p;
    int64_t len = -1;
    tap_ok(file_map(in_dir("ten"), &p, &len) == 0 && len == 10 &&
               memcmp(p, "0123456789", 10) == 0,
           "a file is mapped");
    file_unmap(p, len);
    tap_ok(file_map(in_dir("empty"), &p, &len) == 0 && p == NULL && len == 0,
           "an empty one maps to nothing");
    file_unmap(p, len);
    tap_ok(failed(file_map(in_dir("none"), &p, &len), ERR_INPUT, "none") &&
               failed(file_map(dir, &p, &len), ERR_INPUT, dir),
           "a missing one and a directory do not");
}

static void test_dirs(void)
{
    tap_ok(file_make_dirs(in_dir("x/y/z")) == 0 && file_is_dir(in_dir("x/y/z")) &&
               file_make_dirs(in_dir("x/y/z")) == 0 &&
               file_make_dirs(in_dir("x/y/z/")) == 0,
           "directories with their parents, again and again");
    int rc = file_make_dirs(in_dir("ten/y"));
    tap_ok(rc == -1 && strstr(err_text(), "ten") != NULL && err_code() != ERR_NONE,
           "a file in the way is an error");
    err_clear();
}

static void test_list(void)
{
    static const char *const made[] = {
        "v000010.h5", "v000002.h5", "v000001.h5.tmp.host.7",
        "v.pin",      "w000001.h5", "vh5",
        ".h5",        "v000002.h5x"};
    char **names, path[64];
    int64_t n = -1;
    file_make_dirs(in_dir("list"));
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        snprintf(path, sizeof path, "list/%s", made[i]);
        file_write(in_dir(path), "", 0);
    }
    tap_ok(file_list(in_dir("list"), "v", ".h5", &names, &n) == 0 && n == 2 &&
               strcmp(names[0], "v000002.h5") == 0 &&
               strcmp(names[1], "v000010.h5") == 0,
           "names with prefix and suffix, sorted");
    file_list_free(names, n);
    tap_ok(file_list(in_dir("list"), "", "", &names, &n) == 0 && n == 8,
           "all names, without . and ..");
    file_list_free(names, n);
    tap_ok(file_list(in_dir("nowhere"), "", "", &names, &n) == 0 && n == 0,
           "a missing directory has none");
    file_list_free(names, n);
    tap_ok(failed(file_list(in_dir("ten"), "", "", &names, &n), ERR_INPUT, "ten"),
           "a file is no directory");
    file_list_free(names, n);
}

static void remove_tree(const char *path)
{
    char **names;
    int64_t n;
    if (file_is_dir(path) && file_list(path, "", "", &names, &n) == 0) {
        for (int64_t i = 0; i < n; i++) {
            char *below = text_new("%s/%s", path, names[i]);
            remove_tree(below);
            mem_free(below);
        }
        file_list_free(names, n);
    }
    remove(path);
}

int main(void)
{
    const char *root = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/sluice-file.XXXXXX", root != NULL ? root : "/tmp");
    if (mkdtemp(dir) == NULL)
        return tap_skip_all("no temporary directory");
    test_write();
    test_publish();
    test_append();
    test_read();
    test_map();
    test_dirs();
    test_list();
    remove_tree(dir);
    tap_ok(!file_exists(dir) && mem_live() == 0, "nothing leaks");
    return tap_done();
}
