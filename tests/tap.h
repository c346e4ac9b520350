/* TAP for C tests: `ok` lines, a plan at the end, exit 1 when anything failed. A test
 * that needs data which are not there calls tap_skip_all and returns. */
#ifndef SLUICE_TESTS_TAP_H
#define SLUICE_TESTS_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

static inline int tap_ok(int good, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static inline int tap_ok(int good, const char *fmt, ...)
{
    va_list ap;
    printf("%sok %d - ", good ? "" : "not ", ++tap_count);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
    tap_failed += !good;
    return good;
}

/* |got - want| <= tol (NaN never is). */
static inline int tap_near(double got, double want, double tol, const char *what)
{
    return tap_ok(fabs(got - want) <= tol, "%s: got %.17g, want %.17g, tolerance %g", what,
                  got, want, tol);
}

static inline void tap_skip(const char *what, const char *why)
{
    printf("ok %d - %s # SKIP %s\n", ++tap_count, what, why);
}

static inline int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failed != 0;
}

static inline int tap_skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    return 0;
}

/* Directory of the reference numbers ("goldens"), or NULL where they are absent. Set by
 * the environment variable SLUICE_SHARED, default "../shared". */
static inline const char *tap_shared(const char *sub)
{
    static char path[1024];
    const char *root = getenv("SLUICE_SHARED");
    snprintf(path, sizeof path, "%s/%s", root != NULL ? root : "../shared", sub);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return NULL;
    fclose(f);
    return path;
}

#endif
