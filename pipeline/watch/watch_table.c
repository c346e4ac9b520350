/* Many runs, a line each. The columns of a line are in the order of their worth: as
 * many as fit. */
#include "pipeline/watch/watch_frame.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_LEAST = 12, CURVE = 12, GAP = 1 };

enum column {
    STATE,
    ITERATION,
    REWARD,
    CURVES,
    ETA,
    SIGN,
    SPREAD,
    KL,
    CLIP,
    RATE,
    MEMORY,
    COLUMNS
};
static const struct {
    const char *title;
    int width;
} columns[COLUMNS] = {
    {"state", 8}, {"iteration", 9}, {"reward", 9}, {"", CURVE},
    {"eta", 10},  {"sign", 11},     {"spread", 8}, {"kl", 8},
    {"clip", 5},  {"samples/s", 9}, {"MB", 6},
};

/* How many columns fit beside the name, which may have two fifths of the line and what
 * is left over. */
static int choose(const struct watch_canvas *c, int wanted, int *name)
{
    const int most = c->columns * 2 / 5;
    int k = 0, least = wanted < most ? wanted : most;
    least = least > NAME_LEAST ? least : NAME_LEAST;
    int left = c->columns - least;
    for (; k < COLUMNS && left >= columns[k].width + GAP; k++)
        left -= columns[k].width + GAP;
    *name = least + left < wanted ? least + left
            : wanted > NAME_LEAST ? wanted
                                  : NAME_LEAST;
    return k;
}

static void number(char *buf, size_t size, const char *fmt, double v)
{
    if (isfinite(v))
        snprintf(buf, size, fmt, v);
    else
        snprintf(buf, size, "-");
}

static void cell_text(const struct watch_run *r, enum column k, double age, char *out,
                      size_t size)
{
    const double *v = r->metrics.value, eta = watch_run_eta(r);
    const int64_t done = r->version >= 0 ? r->version : r->metrics.iteration + 1;
    char span[32];
    switch (k) {
    case STATE:
        snprintf(out, size, "%s", watch_state_name(r->state));
        break;
    case ITERATION:
        snprintf(out, size, "%lld", (long long)done);
        if (r->iterations >= 0)
            snprintf(out, size, "%lld/%lld", (long long)done, (long long)r->iterations);
        break;
    case REWARD:
        number(out, size, "%.5g", v[WATCH_REWARD]);
        break;
    case SPREAD:
        number(out, size, "%.3g", v[WATCH_REWARD_STD]);
        break;
    case KL:
        number(out, size, "%.2g", v[WATCH_KL]);
        break;
    case CLIP:
        number(out, size, "%.2f", v[WATCH_CLIP]);
        break;
    case RATE:
        number(out, size, "%.1f", v[WATCH_SAMPLES] / v[WATCH_ITERATION_S]);
        break;
    case MEMORY:
        number(out, size, "%.0f", v[WATCH_RSS] / 1048576);
        break;
    case ETA:
        snprintf(out, size, "%s",
                 r->state == WATCH_RUNNING && isfinite(eta)
                     ? watch_frame_span(span, eta)
                     : "-");
        break;
    case SIGN:
        snprintf(out, size, "%s", watch_frame_span(span, age));
        break;
    default:
        snprintf(out, size, "%s", "");
    }
}

/* A text in a column of its own, cut to it. */
static void cell(struct watch_canvas *c, enum watch_colour colour, int width,
                 const char *s)
{
    const int end = c->used + width, all = c->columns;
    c->columns = end < all ? end : all;
    watch_canvas_put(c, colour, "%s", s);
    c->columns = all;
    watch_canvas_tab(c, end);
}

static void put_row(struct watch_canvas *c, const struct watch_run *r, int name,
                    int shown, double age)
{
    cell(c, WATCH_PLAIN, name, r->name);
    for (int k = 0; k < shown; k++) {
        const int end = c->used + GAP + columns[k].width;
        watch_canvas_tab(c, c->used + GAP);
        if (k == CURVES) {
            double v[CURVE];
            watch_canvas_curve(c, v, watch_metrics_history(&r->metrics, v, CURVE));
        } else {
            char text[64];
            const bool quiet = r->state == WATCH_RUNNING && age > WATCH_QUIET_S;
            cell_text(r, (enum column)k, age, text, sizeof text);
            cell(c,
                 k == STATE           ? watch_frame_colour(r, age)
                 : k == SIGN && quiet ? WATCH_BAD
                                      : WATCH_PLAIN,
                 columns[k].width, text);
        }
        watch_canvas_tab(c, end);
    }
    watch_canvas_line(c);
}

static int rank_of(const struct watch_run *r)
{
    static const int rank[WATCH_STATES] = {5, 4, 0, 1, 2, 3, 6};
    return rank[r->state];
}

struct entry {
    const struct watch_run *run;
    int64_t at;
};

static int by_worth(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int d = rank_of(x->run) - rank_of(y->run);
    return d != 0 ? d : (x->at > y->at) - (x->at < y->at);
}

static void put_counts(struct watch_canvas *c, struct watch_run *const *run, int64_t n)
{
    int64_t count[WATCH_STATES] = {0};
    for (int64_t i = 0; i < n; i++)
        count[run[i]->state]++;
    watch_canvas_put(c, WATCH_BOLD, "%lld runs", (long long)n);
    for (int s = 0; s < WATCH_STATES; s++)
        if (count[s] > 0)
            watch_canvas_item(c, s == WATCH_FAILED ? WATCH_BAD : WATCH_PLAIN, "%lld %s",
                              (long long)count[s],
                              watch_state_name((enum watch_state)s));
    watch_canvas_line(c);
}

void watch_frame_runs(struct watch_canvas *c, struct watch_run *const *run, int64_t n,
                      struct watch_clocks t)
{
    int name, wanted = 0;
    struct entry *e = mem_alloc(n, sizeof *e);
    for (int64_t i = 0; i < n; i++) {
        const int len = (int)strnlen(run[i]->name, 1000);
        e[i] = (struct entry){run[i], i};
        wanted = len > wanted ? len : wanted;
    }
    const int shown = choose(c, wanted, &name);
    put_counts(c, run, n);
    cell(c, WATCH_DIM, name, "run");
    for (int k = 0; k < shown; k++) {
        watch_canvas_tab(c, c->used + GAP);
        cell(c, WATCH_DIM, columns[k].width, columns[k].title);
    }
    watch_canvas_line(c);
    int64_t rows = n;
    if (c->rows > 0 && c->lines + n > c->rows) {
        rows = c->rows - c->lines - 1 > 0 ? c->rows - c->lines - 1 : 0;
        qsort(e, (size_t)n, sizeof *e, by_worth);
    }
    for (int64_t i = 0; i < rows; i++)
        put_row(c, e[i].run, name, shown, watch_run_age(e[i].run, t.now, t.wall));
    if (rows < n) {
        watch_canvas_put(c, WATCH_DIM, "and %lld more", (long long)(n - rows));
        watch_canvas_line(c);
    }
    mem_free(e);
}
