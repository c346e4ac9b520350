/* Strings. */
#include "io/sys/text.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(struct text *t, int64_t n)
{
    if (t->len + n + 1 <= t->cap)
        return;
    int64_t cap = (t->len + n + 1) * 2;
    t->s = mem_resize(t->s, t->cap, cap, 1);
    t->cap = cap;
}

void text_add_bytes(struct text *t, const void *p, int64_t n)
{
    reserve(t, n);
    memcpy(t->s + t->len, p, (size_t)n);
    t->len += n;
    t->s[t->len] = '\0';
}

static void add_va(struct text *t, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n > 0) {
        reserve(t, n);
        vsnprintf(t->s + t->len, (size_t)n + 1, fmt, again);
        t->len += n;
    } else {
        reserve(t, 0);
    }
    va_end(again);
}

void text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_va(t, fmt, ap);
    va_end(ap);
}

void text_free(struct text *t)
{
    mem_free(t->s);
    *t = (struct text){0};
}

char *text_new(const char *fmt, ...)
{
    struct text t = {0};
    va_list ap;
    va_start(ap, fmt);
    add_va(&t, fmt, ap);
    va_end(ap);
    return t.s;
}

bool text_to_i64(const char *s, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || *end != '\0' || errno != 0)
        return false;
    *out = v;
    return true;
}

bool text_to_f64(const char *s, double *out)
{
    char *end = NULL;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || *end != '\0' || !isfinite(v))
        return false;
    *out = v;
    return true;
}

bool text_to_seconds(const char *s, double *out)
{
    double days = 0, part = 0, total = 0;
    char *end = NULL;
    const char *dash = strchr(s, '-');
    if (dash != NULL && dash != s) {
        days = strtod(s, &end);
        if (end != dash)
            return false;
        s = dash + 1;
    }
    int parts = 0;
    for (;; s = end + 1) {
        part = strtod(s, &end);
        if (end == s || !isfinite(part) || part < 0)
            return false;
        total = total * 60 + part;
        parts++;
        if (*end != ':' || parts == 3)
            break;
    }
    double unit = 1;
    if (parts == 1 && *end != '\0') {
        const char *units = "smhd", *u = strchr(units, *end);
        static const double seconds[] = {1, 60, 3600, 86400};
        if (u == NULL || end[1] != '\0')
            return false;
        unit = seconds[u - units];
    } else if (*end != '\0') {
        return false;
    }
    if (dash != NULL) /* days-hours[:minutes[:seconds]] */
        for (; parts < 3; parts++)
            total *= 60;
    *out = days * 86400 + total * unit;
    return true;
}

static int64_t distance(const char *a, const char *b)
{
    enum { MAX = 96 };
    int64_t row[MAX + 1], m = (int64_t)strlen(a), n = (int64_t)strlen(b);
    if (m > MAX || n > MAX)
        return MAX;
    for (int64_t j = 0; j <= n; j++)
        row[j] = j;
    for (int64_t i = 1; i <= m; i++) {
        int64_t diag = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= n; j++) {
            int64_t best = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *text_nearest(const char *word, const char *const *candidates, int64_t n)
{
    const char *best = NULL;
    int64_t limit = (int64_t)strlen(word) / 2 + 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t d = distance(word, candidates[i]);
        if (d <= limit) {
            limit = d - 1;
            best = candidates[i];
        }
    }
    return best;
}

int text_unknown(const char *what, const char *name, const char *const *known, int64_t n)
{
    struct text all = {0};
    for (int64_t i = 0; i < n; i++)
        text_add(&all, "%s%s", i > 0 ? ", " : "", known[i]);
    const char *near = text_nearest(name, known, n);
    err_set(ERR_USAGE, "unknown %s \"%.60s\"%s%s%s (there are %s)", what, name,
            near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
            near != NULL ? "\"?" : "", all.s != NULL ? all.s : "none");
    text_free(&all);
    return -1;
}
