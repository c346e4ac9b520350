/* The picture of the last iterations: a lane for each rank, a bar for each lease, and pale
 * what the rank waited for. Ranks beyond those shown are in their group's mean. */
#include "pipeline/report/report_time.h"

#include <math.h>
#include <stdio.h>

enum {
    LANES = 4, /* of a group; ranks with several roles: twice as many in all */
    LANE = 18, GAP = 5, TOP = 30, BOTTOM = 24, RIGHT = 20
};
static const double finest = 0.4; /* of the picture's unit: nothing smaller is drawn */

/* The scale, and the place downwards. */
struct scene {
    struct text *out;
    double from, to, scale; /* x = REPORT_LEFT + (t - from) * scale */
    double y;
};

static double x_of(const struct scene *s, double t)
{
    return REPORT_LEFT + (t - s->from) * s->scale;
}

static void rect(const struct scene *s, double from, double to, double y, double h,
                 const char *fill)
{
    double x = fmax(x_of(s, from), REPORT_LEFT), end = x_of(s, fmin(to, s->to));
    if (end - x >= finest)
        text_add(s->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s/>\n",
                 x, y, end - x, h, fill);
}

/* Follows `run` closely enough to be one with it? */
static bool joins(const struct scene *s, const struct report_lease *run,
                  const struct report_lease *l)
{
    return !run->rest && !l->rest && l->group == run->group && l->iteration == run->iteration &&
           l->aside == run->aside && (l->from - run->to) * s->scale < 2 * finest;
}

static void draw_bar(const struct scene *s, const struct report_lease *run, int64_t leases)
{
    double x = fmax(x_of(s, run->from), REPORT_LEFT), end = x_of(s, fmin(run->to, s->to));
    double y = run->aside ? s->y + LANE - 4 : s->y, h = run->aside ? 4 : LANE;
    if (end < x)
        return;
    if (end - x < finest)
        end = x + finest;
    text_add(s->out,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"><title>"
             "rank %d: %s, iteration %lld",
             x, y, end - x, h, report_colour[run->group], run->rank,
             group_name(run->group), (long long)run->iteration);
    if (leases > 1)
        text_add(s->out, ", %lld shards", (long long)leases);
    text_add(s->out, ", %.4g s%s</title></rect>\n", run->to - run->from,
             run->aside ? " beside other work" : "");
}

/* Files dark below, messages grey below, votes pale. */
static void draw_inside(const struct scene *s, const struct report_lease *l)
{
    for (int i = 0; i < l->spans; i++) {
        const struct report_span *p = &l->span[i];
        if (p->kind == TIME_WAITING)
            rect(s, p->from, p->to, s->y, LANE, "fill=\"#fff\" opacity=\".62\"");
        else
            rect(s, p->from, p->to, s->y + LANE * 0.55, LANE * 0.45,
                 p->kind == TIME_IO ? "fill=\"#0f172a\" opacity=\".72\""
                                    : "fill=\"#94a3b8\"");
    }
}

static void draw_waits(const struct scene *s, const struct report_lease *l)
{
    char fill[64];
    for (int i = 0; i < l->waits; i++) {
        snprintf(fill, sizeof fill, "fill=\"%s\"", report_tint[l->wait[i].kind]);
        rect(s, l->wait[i].from, l->wait[i].to, s->y + 3, LANE - 6, fill);
    }
}

static void draw_label(const struct scene *s, const char *text)
{
    text_add(s->out,
             "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" fill=\"#475569\">%s</text>\n",
             REPORT_LEFT - 10, s->y + 13, text);
}

static void draw_rank(struct scene *s, const struct report_line *l, int rank,
                      const char *label)
{
    int64_t first = 0, end, n;
    draw_label(s, label);
    while (first < l->leases && l->lease[first].rank < rank)
        first++;
    for (end = first; end < l->leases && l->lease[end].rank == rank; end++)
        draw_waits(s, &l->lease[end]);
    for (int64_t i = first; i < end; i += n) {
        struct report_lease run = l->lease[i];
        for (n = 1; i + n < end && joins(s, &run, &l->lease[i + n]); n++)
            run.to = fmax(run.to, l->lease[i + n].to);
        if (!run.rest)
            draw_bar(s, &run, n);
    }
    for (int64_t i = first; i < end; i++)
        if (!l->lease[i].aside)
            draw_inside(s, &l->lease[i]);
    s->y += LANE + GAP;
}

/* All ranks of a group: of each iteration the part in which they worked, then by whom they
 * waited for. */
static void draw_mean(struct scene *s, const struct report_line *l, int g,
                      const char *label)
{
    char fill[64];
    draw_label(s, label);
    for (int i = 0; i < l->extents; i++) {
        const struct report_extent *e = &l->extent[i];
        const struct report_spent *m = &e->mean[g];
        double all = m->working + report_waited(m), at = e->from;
        if (!(all > 0))
            continue;
        double unit = (e->to - e->from) / all;
        snprintf(fill, sizeof fill, "fill=\"%s\" opacity=\".8\"", report_colour[g]);
        rect(s, at, at + m->working * unit, s->y + 4, LANE - 8, fill);
        at += m->working * unit;
        for (int k = 0; k < RECORD_WAITS; k++) {
            snprintf(fill, sizeof fill, "fill=\"%s\"", report_tint[k]);
            rect(s, at, at + m->wait.on_s[k] * unit, s->y + 4, LANE - 8, fill);
            at += m->wait.on_s[k] * unit;
        }
    }
    s->y += LANE + GAP;
}

static bool has(const struct report_line *l, int g, int rank)
{
    return rank >= l->first[g] && rank < l->first[g] + l->ranks[g];
}

bool report_line_overlaps(const struct report_line *l)
{
    for (int a = 0; a < GROUPS; a++)
        for (int b = 0; b < a; b++)
            if (l->ranks[a] > 0 && l->ranks[b] > 0 &&
                l->first[a] < l->first[b] + l->ranks[b] &&
                l->first[b] < l->first[a] + l->ranks[a])
                return true;
    return false;
}

/* Ranks that have leases in the file, ascending, `most` of them; returns how many. */
static int ranks_seen(const struct report_line *l, int g, int most, int *rank)
{
    int n = 0;
    for (int64_t i = 0; i < l->leases && n < most; i++)
        if ((g == GROUPS || has(l, g, l->lease[i].rank)) &&
            (n == 0 || rank[n - 1] != l->lease[i].rank))
            rank[n++] = l->lease[i].rank;
    return n;
}

static void draw_lanes(struct scene *s, const struct report_line *l)
{
    int rank[2 * LANES];
    char label[64];
    bool together = report_line_overlaps(l);
    for (int g = together ? GROUPS : 0; g < (together ? GROUPS + 1 : GROUPS); g++) {
        int n = ranks_seen(l, g, together ? 2 * LANES : LANES, rank);
        for (int i = 0; i < n; i++) {
            snprintf(label, sizeof label, "%s%srank %d",
                     !together && i == 0 ? group_name((enum group)g) : "",
                     !together && i == 0 ? ", " : "", rank[i]);
            draw_rank(s, l, rank[i], label);
        }
        if (!together && l->ranks[g] > n && n > 0) {
            snprintf(label, sizeof label, "mean of %d", l->ranks[g]);
            draw_mean(s, l, g, label);
        }
        s->y += n > 0 ? GAP : 0;
    }
    for (int g = 0; together && g < GROUPS; g++)
        if (l->ranks[g] > 2 * LANES) {
            snprintf(label, sizeof label, "%s, mean", group_name((enum group)g));
            draw_mean(s, l, g, label);
        }
}

/* A step of 1, 2 or 5 times a power of ten that gives about eight ticks. */
static double tick_step(double range)
{
    double step = pow(10, floor(log10(range / 8)));
    return step * (range / step > 40 ? 5 : range / step > 16 ? 2 : 1);
}

static void draw_axis(const struct scene *s, const struct report_line *l, double bottom)
{
    double step = tick_step(s->to - s->from);
    for (double t = 0; t <= s->to - s->from; t += step)
        text_add(s->out,
                 "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" "
                 "fill=\"#64748b\">%.4g s</text>\n",
                 x_of(s, s->from + t), bottom + 16, t);
    for (int i = 0; i < l->extents; i++) {
        const struct report_extent *e = &l->extent[i];
        double x = x_of(s, e->from), end = x_of(s, e->to);
        text_add(s->out,
                 "<path d=\"M%.1f %d V%.1f\" stroke=\"#cbd5e1\" stroke-dasharray=\"3 3\"/>"
                 "<text x=\"%.1f\" y=\"16\" text-anchor=\"middle\" fill=\"#64748b\">"
                 "iteration %lld%s</text>\n",
                 x, TOP - 8, bottom, (x + end) / 2, (long long)e->iteration,
                 e->complete ? "" : " (not finished)");
    }
}

void report_lanes(struct text *out, const struct report_line *l)
{
    struct text body = {0};
    struct scene s = {.out = &body, .from = INFINITY, .y = TOP};
    for (int i = 0; i < l->extents; i++) {
        s.from = fmin(s.from, l->extent[i].from);
        s.to = fmax(s.to, l->extent[i].to);
    }
    if (!(s.to > s.from))
        return;
    s.scale = (REPORT_WIDTH - REPORT_LEFT - RIGHT) / (s.to - s.from);
    draw_lanes(&s, l);
    draw_axis(&s, l, s.y);
    text_add(out, "<h3>The last ");
    text_add(out, l->extents == 1 ? "iteration" : "%d iterations", l->extents);
    text_add(out, " <span>each lane is a rank</span></h3>\n");
    report_svg(out, s.y + BOTTOM, "what each rank did, over time");
    text_add(out, "%s</svg>\n", body.s);
    if (l->left_out > 0)
        text_add(out, "<p class=\"scale\">%lld leases were too many to be recorded.</p>\n",
                 (long long)l->left_out);
    text_free(&body);
}

