/* What became of the samples that were to be scored. */
#include "pipeline/report/report_mix.h"

#include <math.h>
#include <string.h>

static const char *const colours[REPORT_STATUSES] = {"#bbf7d0", "#b91c1c", "#f59e0b",
                                                     "#7c3aed", "#0f172a", "#94a3b8"};

/* Samples by status over all iterations; false where no line tells. */
static bool add_up(const struct report_metrics *m, double total[REPORT_STATUSES])
{
    bool any = false;
    for (int k = 0; k < REPORT_STATUSES; k++)
        total[k] = 0;
    for (int64_t i = 0; i < m->n; i++)
        if (isfinite(m->scored[i].status[0])) {
            any = true;
            for (int k = 0; k < REPORT_STATUSES; k++)
                total[k] += m->scored[i].status[k];
        }
    return any;
}

/* Stacked: the last status first, so that each box covers its part of the one before. */
static void draw(struct text *out, const struct report_metrics *m)
{
    struct text script = {0}, all = {0};
    report_plot_begin(&script, 1040, 260);
    report_plot_iterations(&script, m);
    text_add(&script, "set yrange [0:]\nset key outside top center horizontal\n$d << EOD\n");
    for (int64_t i = 0; i < m->n; i = report_plot_next(m, i)) {
        double height = 0;
        report_plot_number(&script, m->row[i][M_ITERATION]);
        for (int k = 0; k < REPORT_STATUSES; k++)
            report_plot_number(&script, height += m->scored[i].status[k]);
        text_add(&script, "\n");
    }
    text_add(&script, "EOD\nplot ");
    for (int k = REPORT_STATUSES - 1; k >= 0; k--)
        text_add(&script, "$d using 1:%d with boxes fs solid noborder lc rgb '%s' title '%s'%s",
                 k + 2, colours[k], reward_status_name((enum reward_status)k),
                 k > 0 ? ", " : "\n");
    if (report_plot_finish(&all, &script,
                           &(struct report_plot){.title = "Samples by status", .note = "",
                                                 .about = "samples by status and iteration",
                                                 .wide = true}))
        text_add_bytes(out, all.s, all.len);
    text_free(&all);
}

static void add_row(struct text *out, const double *count, double silent)
{
    double total = silent;
    for (int k = 0; k < REPORT_STATUSES; k++) {
        total += count[k];
        text_add(out, k > 0 && count[k] > 0 ? "<td class=\"down\">%.0f</td>" : "<td>%.0f</td>",
                 count[k]);
    }
    text_add(out, "<td>%.0f</td><td>%.3g %%</td>", silent,
             total > 0 ? 100 * count[0] / total : 0);
}

static void add_parts(struct text *out, const struct report_mix *x,
                      const struct report_mix_scores *s)
{
    for (int64_t k = 0; k < x->parts && s->n > 0; k++) {
        double count[REPORT_STATUSES] = {0}, silent = 0;
        for (int64_t i = 0; i < s->n; i++) {
            uint8_t status = s->status[i * s->parts + k];
            if (status < REPORT_STATUSES)
                count[status]++;
            else
                silent++;
        }
        text_add(out, "<tr><td><i class=\"swatch\" style=\"background:%s\"></i>",
                 x->part[k].colour);
        report_escape(out, x->part[k].name);
        text_add(out, "%s, iteration %lld</td>", x->part[k].at < 0 ? " (guard)" : "",
                 (long long)s->iteration);
        add_row(out, count, silent);
        text_add(out, "</tr>\n");
    }
}

/* Of every component, over the whole run, from the metrics. */
static void add_scored(struct text *out, const struct report_mix *x)
{
    const struct report_metrics *m = x->metrics;
    text_add(out, "<p class=\"scale\">Scored over the whole run: ");
    for (int64_t k = 0, said = 0; k < x->parts; k++) {
        double scored = 0, samples = 0;
        for (int64_t i = 0; i < m->n && x->part[k].at >= 0; i++) {
            double v = m->scored[i].part[x->part[k].at].scored;
            scored += isfinite(v) ? v : 0;
            samples += isfinite(v) && isfinite(m->row[i][M_SAMPLES]) ? m->row[i][M_SAMPLES] : 0;
        }
        if (x->part[k].at < 0)
            continue;
        text_add(out, "%s", said++ > 0 ? ", " : "");
        report_escape(out, x->part[k].name);
        text_add(out, " %.0f of %.0f", scored, samples);
    }
    text_add(out, ".</p>\n");
}

void report_mix_statuses(struct text *out, const struct report_metrics *m,
                         const struct report_mix *x, const struct report_mix_scores *last)
{
    double total[REPORT_STATUSES], bad = 0;
    bool said = add_up(m, total);
    for (int k = 1; k < REPORT_STATUSES; k++)
        bad += said ? total[k] : 0;
    if (!said || (x == NULL && bad == 0))
        return;
    text_add(out, "<section><h2>Statuses</h2>\n");
    if (bad > 0)
        draw(out, m);
    else
        text_add(out, "<p>Every sample of every iteration has its reward.</p>");
    text_add(out, "<table><tr><th></th>");
    for (int k = 0; k < REPORT_STATUSES; k++)
        text_add(out, "<th>%s</th>", reward_status_name((enum reward_status)k));
    text_add(out, "<th>no score</th><th>ok</th></tr>\n<tr><td>the reward, all iterations</td>");
    add_row(out, total, 0);
    text_add(out, "</tr>\n");
    if (x != NULL)
        add_parts(out, x, last);
    text_add(out, "</table>\n");
    if (x != NULL)
        add_scored(out, x);
    text_add(out, "</section>\n");
}
