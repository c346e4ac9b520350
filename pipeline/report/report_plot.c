/* Curves, drawn by gnuplot as a child process: the script goes in through a socket, one
 * SVG comes out through a pipe. No shell takes part; numbers, constant text and quoted
 * names enter the script. The plot command is its last line, so gnuplot has read everything
 * before it writes. */
#include "pipeline/child.h"
#include "pipeline/report/report_parts.h"

#include <math.h>
#include <stdio.h>

static bool run_gnuplot(const struct text *script, struct text *svg)
{
    char name[] = "gnuplot", plain[] = "-d", from[] = "-";
    char *argv[] = {name, plain, from, NULL};
    return child_filter(argv, script, svg);
}

/* One picture: its columns (the first is the x axis) and the plot command on $d. */
struct plot {
    const char *title, *note;
    int wide;
    int column[6]; /* M_ITERATION first, -1 ends */
    const char *extra, *command;
};

static const struct plot plots[] = {
    {"Reward",
     "mean, ± one standard deviation of the samples, smallest and largest",
     1,
     {M_ITERATION, M_REWARD_MEAN, M_REWARD_STD, M_REWARD_MIN, M_REWARD_MAX, -1},
     "set key top left horizontal\n",
     "plot $d using 1:($2-$3):($2+$3) with filledcurves lc rgb '#dbeafe' title '± "
     "std', "
     "$d using 1:4 with lines lw 1.3 dt 3 lc rgb '#64748b' title 'min, max', "
     "$d using 1:5 with lines lw 1.3 dt 3 lc rgb '#64748b' notitle, "
     "$d using 1:2 with linespoints pt 7 ps 0.35 lw 2.2 lc rgb '#1d4ed8' title "
     "'mean'\n"},
    {"Approximate KL",
     "per step, between the policy after the update and before it",
     0,
     {M_ITERATION, M_APPROX_KL, -1},
     "set format y '%.1e'\n",
     "plot $d using 1:2 with linespoints pt 7 ps 0.35 lw 2 lc rgb '#7c3aed' notitle\n"},
    {"Path KL",
     "of whole chains to the first policy, in nats",
     0,
     {M_ITERATION, M_KL_PATH, -1},
     "set yrange [0:]\n",
     "plot $d using 1:2 with linespoints pt 7 ps 0.35 lw 2 lc rgb '#be185d' notitle\n"},
    {"Guard",
     "mean of reward.guard, ± one standard error",
     0,
     {M_ITERATION, M_GUARD_MEAN, M_GUARD_ERROR, -1},
     "",
     "plot $d using 1:($2-$3):($2+$3) with filledcurves lc rgb '#dcfce7' notitle, "
     "$d using 1:2 with linespoints pt 7 ps 0.35 lw 2 lc rgb '#15803d' notitle\n"},
    {"Clip fraction",
     "pairs whose ratio left the clip range",
     0,
     {M_ITERATION, M_CLIP_FRACTION, -1},
     "set yrange [0:]\n",
     "plot $d using 1:2 with linespoints pt 7 ps 0.35 lw 2 lc rgb '#c2410c' notitle\n"},
    {"Gradient norm",
     "before clipping",
     0,
     {M_ITERATION, M_GRAD_NORM, -1},
     "set yrange [0:]\n",
     "plot $d using 1:2 with linespoints pt 7 ps 0.35 lw 2 lc rgb '#0f766e' notitle\n"},
    {"Time per iteration",
     "seconds from a group's first lease to its last file; groups overlap",
     0,
     {M_ITERATION, M_T_ROLLOUT, M_T_REWARD, M_T_ADVANTAGE, M_T_UPDATE, -1},
     "set yrange [0:]\nset key outside top center horizontal\n"
     "z(c) = valid(c) ? column(c) : 0\n",
     "plot $d using 1:(z(2)+z(3)+z(4)+z(5)) with boxes fs solid noborder lc rgb "
     "'#f59e0b' "
     "title 'update', $d using 1:(z(2)+z(3)+z(4)) with boxes fs solid noborder lc rgb "
     "'#8b5cf6' title 'advantage', $d using 1:(z(2)+z(3)) with boxes fs solid noborder "
     "lc rgb '#10b981' title 'reward', $d using 1:2 with boxes fs solid noborder lc "
     "rgb "
     "'#3b82f6' title 'rollout'\n"},
};

void report_plot_begin(struct text *script, int width, int height)
{
    text_add(script,
             "set encoding utf8\nset terminal svg size %d,%d noenhanced font "
             "'Helvetica,13' linewidth 1\n"
             "set border 3 lc rgb '#94a3b8'\nset tics nomirror tc rgb '#475569' scale 0.5\n"
             "set grid ytics lt 1 lw 0.6 lc rgb '#e2e8f0'\nset key tc rgb '#475569'\n"
             "set datafile missing 'nan'\n",
             width, height);
}

enum { MAX_ROWS = 2000 };

int64_t report_plot_next(const struct report_metrics *m, int64_t i)
{
    const int64_t next = i + (m->n + MAX_ROWS - 1) / MAX_ROWS;
    return i < m->n - 1 && next > m->n - 1 ? m->n - 1 : next;
}

void report_plot_iterations(struct text *script, const struct report_metrics *m)
{
    const double first = m->row[0][M_ITERATION], last = m->row[m->n - 1][M_ITERATION];
    text_add(script,
             "set xlabel 'iteration' tc rgb '#475569' offset 0,0.4\nset xrange "
             "[%.17g:%.17g]\nset boxwidth %.9g\n%s",
             first - 0.5, last + 0.5, 0.85 * (double)((m->n + MAX_ROWS - 1) / MAX_ROWS), last - first < 12 ? "set xtics 1\n" : "");
}

void report_plot_text(struct text *script, const char *s)
{
    text_add(script, "'");
    for (; *s != '\0'; s++)
        if (*s == '\'')
            text_add(script, "''");
        else if ((unsigned char)*s < ' ' || *s == 127)
            text_add(script, " ");
        else
            text_add_bytes(script, s, 1);
    text_add(script, "'");
}

void report_plot_number(struct text *script, double v)
{
    if (isfinite(v))
        text_add(script, "%.9g ", v);
    else
        text_add(script, "nan ");
}

bool report_plot_finish(struct text *out, struct text *script, const struct report_plot *p)
{
    struct text svg = {0};
    bool good = run_gnuplot(script, &svg);
    if (good) {
        text_add(out,
                 "<figure class=\"plot%s\"><figcaption><b>%s</b> <span>%s</span>"
                 "</figcaption><img alt=\"%s\" src=\"data:image/svg+xml;base64,",
                 p->wide ? " wide" : "", p->title, p->note, p->about);
        report_base64(out, svg.s, svg.len);
        text_add(out, "\"></figure>\n");
    }
    text_free(script);
    text_free(&svg);
    return good;
}

static bool draw(struct text *out, const struct report_metrics *m, const struct plot *p)
{
    struct text script = {0};
    char about[64];
    report_plot_begin(&script, p->wide ? 1040 : 515, p->wide ? 320 : 260);
    report_plot_iterations(&script, m);
    text_add(&script, "%s$d << EOD\n", p->extra);
    for (int64_t i = 0; i < m->n; i = report_plot_next(m, i)) {
        for (int k = 0; p->column[k] >= 0; k++)
            report_plot_number(&script, m->row[i][p->column[k]]);
        text_add(&script, "\n");
    }
    text_add(&script, "EOD\n%s", p->command);
    snprintf(about, sizeof about, "%s by iteration", p->title);
    return report_plot_finish(out, &script,
                              &(struct report_plot){.title = p->title, .note = p->note,
                                                    .about = about, .wide = p->wide});
}

bool report_plots(struct text *out, const struct report_metrics *m, bool guard)
{
    struct text all = {0};
    bool good = true;
    text_add(&all, "<div class=\"plots\">\n");
    for (size_t i = 0; good && i < sizeof plots / sizeof *plots; i++)
        if (report_metrics_find(m, (enum report_metric)plots[i].column[1], false) >= 0 &&
            (guard || plots[i].column[1] != M_GUARD_MEAN))
            good = draw(&all, m, &plots[i]);
    text_add(&all, "</div>\n");
    if (good)
        text_add_bytes(out, all.s, all.len);
    text_free(&all);
    return good;
}
