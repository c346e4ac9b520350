/* Plots of a mixture: each component by iteration, what each adds to the sum, the
 * distributions at first and at last, and two components against each other. */
#include "pipeline/report/report_mix.h"

#include "io/sys/mem.h"
#include "stages/metric/summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BINS = 28, MAX_POINTS = 2000 };

static const char sum_colour[] = "#0f172a";

/* "<swatch>NAME": HTML. */
static void add_title(struct text *out, const struct report_mix *x, int64_t k)
{
    text_add(out, "<i class=\"swatch\" style=\"background:%s\"></i>",
             k < 0 ? sum_colour : x->part[k].colour);
    if (k < 0)
        text_add(out, "sum");
    else
        report_escape(out, x->part[k].name);
}

static bool has_units(const struct report_mix_part *p)
{
    return p->units[0] != '\0' && strcmp(p->units, "1") != 0;
}

static bool finish(struct text *out, struct text *script, const struct text *title,
                   const char *note, const char *about, bool wide)
{
    return report_plot_finish(out, script,
                              &(struct report_plot){.title = title->s, .note = note,
                                                    .about = about, .wide = wide});
}

static bool draw_part(struct text *out, const struct report_mix *x, int64_t k)
{
    const struct report_mix_part *p = &x->part[k];
    const struct report_metrics *m = x->metrics;
    struct text script = {0}, title = {0}, note = {0};
    report_plot_begin(&script, 515, 230);
    report_plot_iterations(&script, m);
    text_add(&script, "$d << EOD\n");
    for (int64_t i = 0; i < m->n; i = report_plot_next(m, i)) {
        report_plot_number(&script, m->row[i][M_ITERATION]);
        report_plot_number(&script, p->at < 0 ? m->row[i][M_GUARD_MEAN]
                                              : m->scored[i].part[p->at].mean);
        report_plot_number(&script, p->at < 0 ? m->row[i][M_GUARD_ERROR]
                                              : m->scored[i].part[p->at].std);
        text_add(&script, "\n");
    }
    text_add(&script,
             "EOD\nplot $d using 1:($2-$3):($2+$3) with filledcurves fs transparent solid "
             "0.15 lc rgb '%s' notitle, $d using 1:2 with linespoints pt 7 ps 0.35 lw 2.2 "
             "lc rgb '%s' notitle\n",
             p->colour, p->colour);
    add_title(&title, x, k);
    if (p->reward != NULL) {
        report_escape(&note, p->reward);
        if (has_units(p)) {
            text_add(&note, " in ");
            report_escape(&note, p->units);
        }
        text_add(&note, "; ");
    }
    if (p->at < 0)
        text_add(&note, "guard, ± one standard error");
    else if (p->weight == 0)
        text_add(&note, "only watched, ± one deviation");
    else if (isfinite(p->weight))
        text_add(&note, "weight %.4g, ± one deviation", p->weight);
    else
        text_add(&note, "± one deviation");
    bool good = finish(out, &script, &title, note.s, "mean score by iteration", false);
    text_free(&title);
    text_free(&note);
    return good;
}

/* What component k adds on average in row i: as it stands, or since row `from`. */
static double added(const struct report_mix *x, int64_t k, int64_t i, int64_t from)
{
    const struct report_mix_part *p = &x->part[k];
    const struct report_metrics *m = x->metrics;
    const double mean = m->scored[i].part[p->at].mean;
    if (from < 0)
        return p->weight * (mean - p->offset) / p->scale;
    const double then = m->scored[from].part[p->at].mean;
    const double unit = x->moving ? m->scored[from].part[p->at].std : p->scale;
    return unit > 0 ? p->weight * (mean - then) / unit : NAN;
}

/* The first row in which all that count have a mean; -1: none. */
static int64_t first_row(const struct report_mix *x)
{
    const struct report_metrics *m = x->metrics;
    for (int64_t i = 0; i < m->n; i++) {
        bool all = true;
        for (int64_t k = 0; k < x->parts; k++)
            all &= !report_mix_counts(x, k) ||
                   isfinite(m->scored[i].part[x->part[k].at].mean);
        if (all)
            return i;
    }
    return -1;
}

static bool draw_added(struct text *out, const struct report_mix *x, int64_t from,
                       const char *name, const char *note, bool wide)
{
    const struct report_metrics *m = x->metrics;
    struct text script = {0}, title = {0}, legend = {0};
    int64_t column = 2;
    report_plot_begin(&script, wide ? 1040 : 515, 300);
    report_plot_iterations(&script, m);
    text_add(&script, "set xzeroaxis lt 1 lw 1 lc rgb '#94a3b8'\n$d << EOD\n");
    for (int64_t i = 0; i < m->n; i = report_plot_next(m, i)) {
        double sum = 0;
        report_plot_number(&script, m->row[i][M_ITERATION]);
        for (int64_t k = 0; k < x->parts; k++)
            if (report_mix_counts(x, k)) {
                sum += added(x, k, i, from);
                report_plot_number(&script, added(x, k, i, from));
            }
        report_plot_number(&script, sum);
        text_add(&script, "\n");
    }
    text_add(&script, "EOD\nplot ");
    text_add(&title, "%s", name);
    for (int64_t k = 0; k < x->parts; k++)
        if (report_mix_counts(x, k)) {
            text_add(&script,
                     "$d using 1:%lld with linespoints pt 7 ps 0.35 lw 2.2 lc rgb '%s' "
                     "notitle, ",
                     (long long)column++, x->part[k].colour);
            text_add(&legend, " &nbsp;");
            add_title(&legend, x, k);
        }
    text_add(&legend, " &nbsp;");
    add_title(&legend, x, -1);
    text_add(&legend, "<br>%s", note);
    text_add(&script, "$d using 1:%lld with lines lw 2.2 dt 2 lc rgb '%s' notitle\n",
             (long long)column, sum_colour);
    bool good = finish(out, &script, &title, legend.s, name, wide);
    text_free(&title);
    text_free(&legend);
    return good;
}

/* The finite ones of n numbers, sorted; *count of them. */
static double *sorted(struct report_mix_column c, int64_t n, int64_t *count)
{
    double *v = mem_alloc(n, sizeof *v);
    *count = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(c.x[i * c.stride]))
            v[(*count)++] = c.x[i * c.stride];
    summary_sort(v, *count);
    return v;
}

/* Shares of v[n] in BINS bins of [low, high]; what lies outside counts at the ends. */
static void fill(const double *v, int64_t n, double low, double high, double *bin)
{
    for (int b = 0; b < BINS; b++)
        bin[b] = 0;
    for (int64_t i = 0; i < n; i++) {
        double place = (v[i] - low) / (high - low) * BINS;
        bin[place < 0 ? 0 : place >= BINS ? BINS - 1 : (int)place] += 1.0 / (double)n;
    }
}

/* 1, 2 or 5 times a power of ten: three to five of them in a range. */
static double tic_step(double range)
{
    double ten = pow(10, floor(log10(range / 2.5))), rest = range / 2.5 / ten;
    return ten * (rest >= 5 ? 5 : rest >= 2 ? 2 : 1);
}

/* Component k's scores at first (grey) and at last; k < 0: the sum's. */
static bool draw_bins(struct text *out, const struct report_mix *x,
                      const struct report_mix_scores *first,
                      const struct report_mix_scores *last, int64_t k)
{
    const struct report_mix_scores *side[2] = {first, last};
    double *v[2], bin[2][BINS], low = INFINITY, high = -INFINITY;
    int64_t n[2];
    bool good = true, cut = false;
    for (int i = 0; i < 2; i++) {
        v[i] = sorted(k < 0 ? (struct report_mix_column){side[i]->total, 1}
                            : report_mix_score(side[i], k),
                      side[i]->n, &n[i]);
        if (n[i] == 0)
            continue;
        double ends[2] = {summary_quantile(v[i], n[i], 0.01),
                          summary_quantile(v[i], n[i], 0.99)};
        cut |= n[i] >= 100 && (v[i][0] < ends[0] || v[i][n[i] - 1] > ends[1]);
        low = fmin(low, n[i] >= 100 ? ends[0] : v[i][0]);
        high = fmax(high, n[i] >= 100 ? ends[1] : v[i][n[i] - 1]);
    }
    if (!(low < high)) { /* one value, or none */
        low = isfinite(low) ? low - 0.5 : 0;
        high = isfinite(high) ? high + 0.5 : 1;
    }
    struct text script = {0}, title = {0};
    const double width = (high - low) / BINS;
    for (int i = 0; i < 2; i++)
        fill(v[i], n[i], low, high, bin[i]);
    report_plot_begin(&script, 340, 210);
    text_add(&script,
             "set boxwidth %.9g\nset xrange [%.17g:%.17g]\nset yrange [0:]\nset format y "
             "'%%.0f %%%%'\nset xtics %.9g\n$d << EOD\n",
             width, low - width, high + width, tic_step(high - low));
    for (int b = 0; b < BINS; b++)
        text_add(&script, "%.9g %.9g %.9g\n", low + (b + 0.5) * width, 100 * bin[0][b],
                 100 * bin[1][b]);
    text_add(&script,
             "EOD\nplot $d using 1:2 with boxes fs solid noborder lc rgb '#cbd5e1' notitle, "
             "$d using 1:3 with boxes fs transparent solid 0.55 noborder lc rgb '%s' "
             "notitle\n",
             k < 0 ? sum_colour : x->part[k].colour);
    add_title(&title, x, k);
    char note[96] = "";
    if (cut)
        snprintf(note, sizeof note, "the outermost 1 %% in the last bins");
    good = finish(out, &script, &title, note, "scores at first and at last", false);
    text_free(&title);
    mem_free(v[0]);
    mem_free(v[1]);
    return good;
}

static void put_points(struct text *script, const char *block,
                       const struct report_mix_scores *s, const int64_t pair[2])
{
    const struct report_mix_column a = report_mix_score(s, pair[0]),
                                   b = report_mix_score(s, pair[1]);
    const int64_t step = s->n / MAX_POINTS + 1;
    text_add(script, "$%s << EOD\nnan nan\n", block);
    for (int64_t i = 0; i < s->n; i += step) {
        report_plot_number(script, a.x[i * a.stride]);
        report_plot_number(script, b.x[i * b.stride]);
        text_add(script, "\n");
    }
    text_add(script, "EOD\n");
}

bool report_mix_scatter(struct text *out, const struct report_mix *x,
                        const struct report_mix_scores *first,
                        const struct report_mix_scores *last, const int64_t pair[2])
{
    static const char *const axis[] = {"xlabel", "ylabel"};
    struct text script = {0}, title = {0};
    char note[128];
    report_plot_begin(&script, 515, 330);
    for (int i = 0; i < 2; i++) {
        const struct report_mix_part *p = &x->part[pair[i]];
        char *label = text_new("%s%s%s", p->name, has_units(p) ? ", " : "",
                               has_units(p) ? p->units : "");
        text_add(&script, "set %s ", axis[i]);
        report_plot_text(&script, label);
        text_add(&script, " tc rgb '%s'\n", p->colour);
        mem_free(label);
    }
    put_points(&script, "a", first, pair);
    put_points(&script, "b", last, pair);
    text_add(&script, "plot $a using 1:2 with points pt 7 ps 0.45 lc rgb '#94a3b8' notitle, "
                      "$b using 1:2 with points pt 7 ps 0.55 lc rgb '#1d4ed8' notitle\n");
    text_add(&title, "%s", "The two that agree least ");
    snprintf(note, sizeof note, "each dot a sample: iteration %lld grey, %lld blue",
             (long long)first->iteration, (long long)last->iteration);
    bool good = finish(out, &script, &title, note, "one component against another", false);
    text_free(&title);
    return good;
}

static bool draw_sums(struct text *out, const struct report_mix *x)
{
    const int64_t from = first_row(x);
    bool good = true;
    if (!x->known || from < 0)
        return true;
    text_add(out, "<section><h2>What each adds to the sum</h2><div class=\"plots\">\n");
    if (!x->moving)
        good = draw_added(out, x, -1, "On average",
                          "weight × (mean score − offset) / scale; dashed: their sum", false);
    good = good && draw_added(out, x, from, "Since the first iteration",
                              x->moving ? "change of the mean score in the first iteration's "
                                          "deviations, times the weight"
                                        : "the same, less what it was then: who moves the sum",
                              x->moving);
    text_add(out, "</div></section>\n");
    return good;
}

bool report_mix_plots(struct text *out, const struct report_mix *x,
                      const struct report_mix_scores *first,
                      const struct report_mix_scores *last)
{
    struct text all = {0};
    bool good = true;
    text_add(&all, "<section><h2>Components by iteration</h2><div class=\"plots\">\n");
    for (int64_t k = 0; k < x->parts && good; k++)
        good = draw_part(&all, x, k);
    text_add(&all, "</div></section>\n");
    good = good && draw_sums(&all, x);
    if (good && last->n > 0) {
        text_add(&all,
                 "<section><h2>Distributions</h2><p class=\"scale\">Shares of the samples by "
                 "score, iteration %lld in grey, iteration %lld in colour.</p><div "
                 "class=\"plots three\">\n",
                 (long long)first->iteration, (long long)last->iteration);
        for (int64_t k = 0; k < x->parts && good; k++)
            good = draw_bins(&all, x, first, last, k);
        good = good && draw_bins(&all, x, first, last, -1);
        text_add(&all, "</div></section>\n");
    }
    if (good)
        text_add_bytes(out, all.s, all.len);
    text_free(&all);
    return good;
}
