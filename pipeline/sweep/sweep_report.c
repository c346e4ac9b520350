/* The page of a sweep: best members, curves, what matters, all members. Drawn as SVG in
 * the page; only numbers and escaped text enter it. */
#include "pipeline/sweep/sweep_effect.h"

#include "io/rundir.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1040, HEIGHT = 340, LEFT = 64, BELOW = 34, CURVES = 400, ROWS = 2000 };

/* A plot's frame in data units. */
struct frame {
    double x0, x1, y0, y1;
    int width, height;
    bool log;
};

static double at_x(const struct frame *f, double x)
{
    double u =
        f->log ? log(x / f->x0) / log(f->x1 / f->x0) : (x - f->x0) / (f->x1 - f->x0);
    return LEFT + (f->width - LEFT - 12) * u;
}

static double at_y(const struct frame *f, double y)
{
    return f->height - BELOW - (f->height - BELOW - 12) * (y - f->y0) / (f->y1 - f->y0);
}

static void widen(double *low, double *high)
{
    if (*high > *low)
        return;
    double d = *low == 0 ? 1 : fabs(*low) * 0.1;
    *low -= d;
    *high += d;
}

/* Frame, four lines across, numbers at their ends. */
static void open_plot(struct text *t, const struct frame *f, const char *below)
{
    text_add(t,
             "<svg viewBox=\"0 0 %d %d\" style=\"width:100%%\" font-size=\"12\" "
             "fill=\"#475569\" role=\"img\" aria-label=\"plot by ",
             f->width, f->height);
    report_escape(t, below);
    text_add(t, "\">");
    for (int k = 0; k <= 3; k++) {
        double y = f->y0 + (f->y1 - f->y0) * k / 3;
        text_add(
            t,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e2e8f0\"/>"
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>",
            LEFT, f->width - 12, at_y(f, y), at_y(f, y), LEFT - 6, at_y(f, y) + 4, y);
    }
    text_add(t,
             "<text x=\"%d\" y=\"%d\">%.4g</text><text x=\"%d\" y=\"%d\" "
             "text-anchor=\"end\">%.4g</text><text x=\"%d\" y=\"%d\" "
             "text-anchor=\"middle\">",
             LEFT, f->height - 14, f->x0, f->width - 12, f->height - 14, f->x1,
             (LEFT + f->width) / 2, f->height - 14);
    report_escape(t, below);
    text_add(t, "</text>");
}

struct order {
    double metric;
    int64_t member;
};

static int by_metric(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    double p = isnan(x->metric) ? -INFINITY : x->metric,
           q = isnan(y->metric) ? -INFINITY : y->metric;
    return p > q ? -1 : p < q ? 1 : (x->member > y->member) - (x->member < y->member);
}

/* Members by their last metric, the best first; to be freed. */
static struct order *sort_members(const struct sweep *s, const struct sweep_result *r)
{
    struct order *o = mem_alloc(s->members, sizeof *o);
    for (int64_t i = 0; i < s->members; i++)
        o[i] = (struct order){r[i].last, i};
    qsort(o, (size_t)s->members, sizeof *o, by_metric);
    return o;
}

static enum report_metric column_of(const struct sweep *s)
{
    return strcmp(s->metric, "guard_mean") == 0 ? M_GUARD_MEAN : M_REWARD_MEAN;
}

static void widen_by(struct frame *f, const struct report_metrics *m,
                     enum report_metric k)
{
    for (int64_t i = 0; i < m->n; i++) {
        double x = m->row[i][M_ITERATION], y = m->row[i][k];
        if (!isfinite(y))
            continue;
        f->x0 = fmin(f->x0, x);
        f->x1 = fmax(f->x1, x);
        f->y0 = fmin(f->y0, y);
        f->y1 = fmax(f->y1, y);
    }
}

static void add_curve(struct text *t, const struct sweep *s,
                      const struct sweep_member *m, const struct sweep_result *r,
                      const struct frame *f)
{
    for (int64_t i = 0; i < r->metrics.n; i++) {
        double y = r->metrics.row[i][column_of(s)];
        if (isfinite(y))
            text_add(t, "%.1f,%.1f ", at_x(f, r->metrics.row[i][M_ITERATION]),
                     at_y(f, y));
    }
    text_add(t, "\"><title>%s ", m->id);
    struct text what = {0};
    sweep_describe(s, m, &what);
    report_escape(t, what.s != NULL ? what.s : "");
    text_free(&what);
    text_add(t, "</title></polyline>");
}

/* The best CURVES of the members; the five best in colour and on top. */
static void add_curves(struct text *t, const struct sweep *s,
                       const struct sweep_result *r, const struct order *o)
{
    static const char *const colour[] = {"#1d4ed8", "#c2410c", "#15803d", "#7c3aed",
                                         "#be185d"};
    struct frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY, WIDTH, HEIGHT, false};
    int64_t n = s->members < CURVES ? s->members : CURVES;
    for (int64_t i = 0; i < n; i++)
        widen_by(&f, &r[o[i].member].metrics, column_of(s));
    text_add(t, "<section><h2>Curves of %s</h2>", s->metric);
    if (!(f.y0 <= f.y1)) {
        text_add(t, "<p class=\"note\">No iteration has finished yet.</p></section>\n");
        return;
    }
    widen(&f.x0, &f.x1);
    widen(&f.y0, &f.y1);
    open_plot(t, &f, "iteration");
    for (int64_t i = n - 1; i >= 0; i--) {
        text_add(t,
                 "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" "
                 "stroke-opacity=\"%s\" points=\"",
                 i < 5 ? colour[i] : "#94a3b8", i < 5 ? "2" : "1",
                 i < 5 ? "1" : "0.55");
        add_curve(t, s, &s->member[o[i].member], &r[o[i].member], &f);
    }
    text_add(t, "</svg><p>");
    for (int64_t i = 0; i < 5 && i < n; i++) {
        struct text what = {0};
        sweep_describe(s, &s->member[o[i].member], &what);
        text_add(t, "<span style=\"color:%s\">&#9632;</span> %s ", colour[i],
                 s->member[o[i].member].id);
        report_escape(t, what.s != NULL ? what.s : "");
        text_add(t, "<br>");
        text_free(&what);
    }
    text_add(t, "%s</p></section>\n",
             n < s->members ? "Only the 400 best members are drawn." : "");
}

/* Each member as a dot: the key's number across, the metric upwards. */
static void add_scatter(struct text *t, const struct sweep *s,
                        const struct sweep_result *r, int64_t key)
{
    struct frame f = {INFINITY, -INFINITY, INFINITY, -INFINITY, 500, 240, false};
    double x;
    for (int64_t i = 0; i < s->members; i++) {
        const char *v = s->member[i].value[key];
        if (v == NULL || !text_to_f64(v, &x) || !isfinite(r[i].last))
            continue;
        f.x0 = fmin(f.x0, x);
        f.x1 = fmax(f.x1, x);
        f.y0 = fmin(f.y0, r[i].last);
        f.y1 = fmax(f.y1, r[i].last);
    }
    if (!(f.x0 < f.x1))
        return;
    f.log = f.x0 > 0 && f.x1 / f.x0 >= 10;
    widen(&f.y0, &f.y1);
    text_add(t, "<figure class=\"plot\">");
    open_plot(t, &f, s->key[key]);
    for (int64_t i = 0; i < s->members; i++) {
        const char *v = s->member[i].value[key];
        if (v != NULL && text_to_f64(v, &x) && isfinite(r[i].last))
            text_add(t,
                     "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#1d4ed8\" "
                     "fill-opacity=\"0.5\"><title>%s</title></circle>",
                     at_x(&f, x), at_y(&f, r[i].last), s->member[i].id);
    }
    text_add(t, "</svg></figure>\n");
}

static void add_levels(struct text *t, const struct sweep_effect *e)
{
    for (int64_t k = 0; k < e->levels; k++) {
        text_add(t, "%s", k > 0 ? " &nbsp; " : "");
        report_escape(t, e->level[k]);
        text_add(t, ": <b>");
        report_number(t, e->mean[k]);
        text_add(t, "</b> <span style=\"color:#64748b\">(%lld)</span>",
                 (long long)e->count[k]);
    }
    if (e->levels == 0)
        text_add(t, "many values");
}

static void add_effects(struct text *t, const struct sweep *s,
                        const struct sweep_result *r)
{
    struct sweep_effect *e = mem_alloc(s->keys + 1, sizeof *e);
    sweep_effects(s, r, e);
    text_add(
        t,
        "<section><h2>What matters</h2><p>Last %s of the members. Rank correlation "
        "(Spearman): 1 rises with the key, -1 falls. Share: part of the variance that "
        "lies between the key's values.</p><table><tr><th>key</th><th>rank "
        "correlation</th><th>share</th><th style=\"text-align:left\">mean by value "
        "(members)</th></tr>\n",
        s->metric);
    for (int64_t k = 0; k < s->keys; k++) {
        text_add(t, "<tr><td>");
        report_escape(t, s->key[e[k].key]);
        text_add(t, "</td><td>");
        report_number(t, e[k].rank);
        text_add(t, "</td><td>");
        report_number(t, e[k].share);
        text_add(t, "</td><td class=\"text\">");
        add_levels(t, &e[k]);
        text_add(t, "</td></tr>\n");
    }
    text_add(t, "</table><div class=\"plots\">\n");
    for (int64_t k = 0; k < s->keys && k < 8; k++)
        if (!isnan(e[k].rank))
            add_scatter(t, s, r, e[k].key);
    text_add(t, "</div></section>\n");
    mem_free(e);
}

static void add_members(struct text *t, const struct sweep *s,
                        const struct sweep_result *r, const struct order *o)
{
    int64_t n = s->members < ROWS ? s->members : ROWS;
    text_add(
        t,
        "<details open><summary>Members, best first</summary><table><tr><th>id</th>"
        "<th>state</th><th>code</th><th>iterations</th><th>last %s</th><th>best</th>"
        "<th>KL per step</th><th>path KL</th><th>time</th>",
        s->metric);
    for (int64_t k = 0; k < s->keys; k++) {
        text_add(t, "<th>");
        report_escape(t, s->key[k]);
        text_add(t, "</th>");
    }
    text_add(t, "</tr>\n");
    for (int64_t i = 0; i < n; i++) {
        const struct sweep_member *m = &s->member[o[i].member];
        const struct sweep_result *x = &r[o[i].member];
        const double v[] = {x->last, x->best, x->kl, x->kl_path};
        text_add(t, "<tr><td>%s</td><td%s>%s</td><td>", m->id,
                 x->state == SWEEP_FAILED ? " class=\"down\"" : "",
                 sweep_state_name(x->state));
        report_number(t, x->code < 0 ? NAN : (double)x->code);
        text_add(t, "</td><td>%lld", (long long)x->iterations);
        for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
            text_add(t, "</td><td>");
            report_number(t, v[k]);
        }
        text_add(t, "</td><td>");
        report_seconds(t, x->wall_s);
        for (int64_t k = 0; k < s->keys; k++) {
            text_add(t, "</td><td>");
            report_escape(t, m->value[k] != NULL ? m->value[k] : "");
        }
        text_add(t, "</td></tr>\n");
    }
    text_add(t, "</table>%s</details>\n",
             n < s->members ? "<p>table.csv has the others.</p>" : "");
}

static void add_failures(struct text *t, const struct sweep *s,
                         const struct sweep_result *r)
{
    bool any = false;
    for (int64_t i = 0; i < s->members; i++) {
        if (r[i].state != SWEEP_FAILED)
            continue;
        text_add(t, "%s<tr><td>%s</td><td>%lld</td><td class=\"text\">",
                 any ? "" : "<section><h2>Failures</h2><table>", s->member[i].id,
                 (long long)r[i].code);
        report_escape(t, r[i].message);
        text_add(t, "</td></tr>\n");
        any = true;
    }
    text_add(t, any ? "</table></section>\n" : "");
}

static void add_card(struct text *t, const char *label, double v, const char *note)
{
    text_add(t, "<div class=\"card\"><small>%s</small><strong>", label);
    report_number(t, v);
    text_add(t, "</strong><small>%s</small></div>\n", note);
}

static void add_cards(struct text *t, const struct sweep *s,
                      const struct sweep_result *r, const struct order *o)
{
    double count[SWEEP_FINISHED + 1] = {0}, hours = 0;
    for (int64_t i = 0; i < s->members; i++) {
        count[r[i].state]++;
        hours += isfinite(r[i].wall_s) ? r[i].wall_s / 3600 : 0;
    }
    text_add(t, "<div class=\"cards\">\n");
    add_card(t, "Best member, last", o[0].metric, s->member[o[0].member].id);
    add_card(t, "Members", (double)s->members, "");
    add_card(t, "Finished", count[SWEEP_FINISHED], "");
    add_card(t, "Failed", count[SWEEP_FAILED], "");
    add_card(t, "Hours of members", hours, "");
    text_add(t, "</div>\n");
}

int sweep_report(const struct sweep *s, const struct sweep_result *r)
{
    struct text t = {0};
    char now[32], *path = rundir_path(s->dir, "report.html");
    struct order *o = sort_members(s, r);
    text_add(&t, "%s<title>", report_head);
    report_escape(&t, s->dir);
    text_add(&t, " — Sluice sweep</title>\n%s</head><body><main>\n<header><h1>Sweep ",
             report_style);
    report_escape(&t, s->dir);
    text_add(&t, "</h1><div class=\"chips\"><span>Configuration <b>");
    report_escape(&t, s->base);
    text_add(
        &t,
        "</b></span><span>by Sluice <b>%s</b></span><span>at <b>%s</b></span></div>"
        "</header>\n",
        version_number(), log_now(now));
    add_cards(&t, s, r, o);
    add_curves(&t, s, r, o);
    add_effects(&t, s, r);
    add_failures(&t, s, r);
    add_members(&t, s, r, o);
    text_add(
        &t,
        "<footer>Written by <b>sluice sweep collect</b>. This file holds everything "
        "it shows and loads nothing.</footer>\n</main></body></html>\n");
    int rc = file_write(path, t.s, t.len);
    mem_free(o);
    mem_free(path);
    text_free(&t);
    return rc;
}
