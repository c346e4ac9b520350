/* The canvas. Only ASCII, the block characters below, characters that wcwidth knows,
 * and sequences of this file's own reach the terminal. */
#include "pipeline/watch/watch_canvas.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

/* The character at s: its bytes in *len, its columns, or 0 where it must not be shown.
 */
static int character(const struct watch_canvas *c, const char *s, int *len)
{
    const unsigned char *u = (const unsigned char *)s;
    *len = 1;
    if (u[0] < 0x80)
        return u[0] >= 0x20 && u[0] != 0x7f;
    const int more = u[0] >= 0xf0 && u[0] < 0xf5   ? 3
                     : u[0] >= 0xe0 && u[0] < 0xf0 ? 2
                     : u[0] >= 0xc2 && u[0] < 0xe0 ? 1
                                                   : 0;
    static const unsigned first[] = {0, 0x80, 0x800, 0x10000};
    unsigned code = u[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (u[i] & 0x3f);
    }
    if (more == 0 || code < first[more] || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000))
        return 0;
    *len = more + 1;
    const int columns = c->utf8 ? wcwidth((wchar_t)code) : 0;
    return columns > 0 ? columns : 0;
}

static bool hidden(const struct watch_canvas *c)
{
    return c->rows > 0 && c->lines >= c->rows;
}

static void add(struct watch_canvas *c, enum watch_colour colour, const char *s)
{
    static const char *const sgr[] = {"",         "\x1b[2m",  "\x1b[1m",
                                      "\x1b[32m", "\x1b[33m", "\x1b[31m"};
    int len;
    bool paint = c->colour && colour != WATCH_PLAIN;
    if (hidden(c) || *s == '\0')
        return;
    if (paint)
        text_add(&c->out, "%s", sgr[colour]);
    for (; *s != '\0'; s += len) {
        int columns = character(c, s, &len);
        bool good = columns > 0;
        columns = good ? columns : 1;
        if (c->used + columns > c->columns)
            break;
        text_add_bytes(&c->out, good ? s : "?", good ? len : 1);
        c->used += columns;
    }
    c->gap = true;
    if (paint)
        text_add(&c->out, "\x1b[0m");
}

static int columns_of(const struct watch_canvas *c, const char *s)
{
    int sum = 0, len;
    for (; *s != '\0'; s += len) {
        int columns = character(c, s, &len);
        sum += columns > 0 ? columns : 1;
    }
    return sum;
}

static char *print(const char *fmt, va_list ap)
{
    char *s = NULL;
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    s = mem_alloc(n < 0 ? 1 : n + 1, 1);
    if (n > 0)
        vsnprintf(s, (size_t)n + 1, fmt, ap);
    return s;
}

void watch_canvas_put(struct watch_canvas *c, enum watch_colour colour, const char *fmt,
                      ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = print(fmt, ap);
    va_end(ap);
    add(c, colour, s);
    mem_free(s);
}

void watch_canvas_item(struct watch_canvas *c, enum watch_colour colour,
                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = print(fmt, ap);
    va_end(ap);
    if (c->gap && c->used + 2 + columns_of(c, s) > c->columns) {
        watch_canvas_line(c);
        watch_canvas_tab(c, c->indent);
    } else if (c->gap) {
        watch_canvas_tab(c, c->used + 2);
    }
    add(c, colour, s);
    mem_free(s);
}

void watch_canvas_tab(struct watch_canvas *c, int column)
{
    while (!hidden(c) && c->used < column && c->used < c->columns) {
        text_add(&c->out, " ");
        c->used++;
    }
    c->gap = false;
}

void watch_canvas_line(struct watch_canvas *c)
{
    if (!hidden(c)) {
        while (c->used > 0 && c->out.s[c->out.len - 1] == ' ') {
            c->out.len--;
            c->used--;
        }
        text_add(&c->out, "%s", c->end != NULL ? c->end : "\n");
    }
    c->lines++;
    c->used = 0;
    c->gap = false;
}

void watch_canvas_bar(struct watch_canvas *c, int width, double fraction)
{
    static const char *const part[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const double f = isfinite(fraction) ? fmin(fmax(fraction, 0), 1) : 0;
    const int eighths = (int)(f * width * 8);
    const int full = eighths / 8, rest = c->utf8 && full < width ? eighths % 8 : 0;
    struct text t = {0};
    for (int i = 0; i < width; i++)
        text_add(&t, "%s",
                 i < full                 ? (c->utf8 ? "█" : "#")
                 : i == full && rest != 0 ? part[rest]
                                          : (c->utf8 ? "░" : "."));
    add(c, WATCH_PLAIN, t.s != NULL ? t.s : "");
    text_free(&t);
}

void watch_canvas_curve(struct watch_canvas *c, const double *v, int64_t n)
{
    static const char *const block[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const ascii[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    double low = INFINITY, high = -INFINITY;
    struct text t = {0};
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) {
            low = fmin(low, v[i]);
            high = fmax(high, v[i]);
        }
    for (int64_t i = 0; i < n; i++) {
        /* halves, since high - low may overflow */
        double at = high > low ? (v[i] / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
        int level = isfinite(at) ? (int)fmin(at * 8, 7) : 0;
        text_add(&t, "%s",
                 !isfinite(v[i]) ? " "
                 : c->utf8       ? block[level]
                                 : ascii[level]);
    }
    add(c, WATCH_PLAIN, t.s != NULL ? t.s : "");
    text_free(&t);
}
