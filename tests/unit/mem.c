/* Memory: aligned, zeroed, counted; impossible sizes end the process. */
#include "io/sys/mem.h"

#include "tests/tap.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

static bool all(const unsigned char *p, int64_t n, unsigned char value)
{
    for (int64_t i = 0; i < n; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* Does this request end a process, instead of giving a small block? */
static bool ends(int64_t count, size_t size)
{
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        mem_free(mem_alloc(count, size));
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

static void test_alloc(void)
{
    static const int64_t counts[] = {0, 1, 63, 64, 65, 4097, 1000003};
    bool aligned = true, zero = true;
    for (int round = 0; round < 3; round++) /* blocks used before are zeroed again */
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            unsigned char *p = mem_alloc(counts[k], 1);
            aligned &= p != NULL && (uintptr_t)p % 64 == 0;
            zero &= all(p, counts[k], 0);
            memset(p, 0xa5, (size_t)counts[k]);
            mem_free(p);
        }
    tap_ok(aligned, "blocks lie on 64 bytes, empty ones too");
    tap_ok(zero, "blocks are zeroed");
}

static void test_resize(void)
{
    unsigned char *p = mem_resize(NULL, 0, 10, 4);
    memset(p, 7, 40);
    p = mem_resize(p, 10, 5000, 4);
    tap_ok(all(p, 40, 7) && all(p + 40, 20000 - 40, 0) && (uintptr_t)p % 64 == 0,
           "growing keeps the old and zeroes the new");
    p = mem_resize(p, 5000, 3, 4);
    tap_ok(all(p, 12, 7) && mem_live() == 1, "shrinking keeps the rest");
    mem_free(p);
}

static void test_count(void)
{
    int64_t before = mem_live();
    char *a = mem_text("a text"), *b = mem_text("");
    tap_ok(strcmp(a, "a text") == 0 && b[0] == '\0' && mem_text(NULL) == NULL &&
               mem_live() == before + 2,
           "copies of strings are counted");
    mem_free(a);
    mem_free(b);
    mem_free(NULL);
    tap_ok(mem_live() == before, "and given back");
    tap_ok(mem_peak_rss() > 100000, "the peak of resident memory is known");
}

int main(void)
{
    test_alloc();
    test_resize();
    test_count();
    tap_ok(ends(-1, 1) && ends(INT64_MAX, 2) && ends(INT64_MAX, 16) &&
               ends(INT64_MAX, 1),
           "negative and overflowing sizes end the process");
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}
