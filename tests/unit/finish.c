/* The thread that ends a sealed file: the file appears sealed, under its name alone; an
 * error of the thread is the caller's, and nothing is left. */
#include "io/finish.h"

#include "io/seal.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <time.h>
#include <unistd.h>

static char dir[512], tmp[600], path[600];

static void make_tmp(void)
{
    char data[SEAL_BYTES + 100] = {0};
    snprintf(tmp, sizeof tmp, "%s/a.tmp.x", dir);
    if (file_write(tmp, data, sizeof data) != 0)
        fprintf(stderr, "# %s\n", err_text());
}

static void test_good(void)
{
    bool sealed = false;
    make_tmp();
    snprintf(path, sizeof path, "%s/a", dir);
    struct finish *f = finish_begin(tmp, path);
    for (int i = 0; i < 10000 && !finish_over(f); i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    tap_ok(finish_over(f) && finish_end(f) == 0, "a file is ended without waiting for it");
    tap_ok(seal_check(path, &sealed) == 0 && sealed, "it is sealed");
    tap_ok(!file_exists(tmp), "its temporary name is gone");
}

static void test_bad(void)
{
    make_tmp();
    snprintf(path, sizeof path, "%s/none/a", dir);
    struct finish *f = finish_begin(tmp, path);
    tap_ok(finish_end(f) == -1 && err_code() != ERR_NONE &&
               strstr(err_text(), path) != NULL,
           "a directory that is missing: %s", err_text());
    tap_ok(!file_exists(tmp), "nothing is left");
    err_clear();
    f = finish_begin(tmp, path);
    tap_ok(finish_end(f) == -1, "no file to end");
    err_clear();
    tap_ok(finish_end(NULL) == 0, "nothing to end");
}

int main(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/finish.XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(dir) == NULL)
        return 1;
    int64_t live = mem_live();
    test_good();
    test_bad();
    tap_ok(mem_live() == live, "no memory is lost");
    snprintf(path, sizeof path, "%s/a", dir);
    unlink(path);
    rmdir(dir);
    return tap_done();
}
