/* Samples by reward: a row per iteration, a column per quantile, so that what a reward
 * stands for and what training changed can be seen in one table. */
#include "pipeline/report/report_pictures.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>

enum { QUANTILES = 5, EACH = 4 };

/* A cell: samples [first, first + n) of the ranking. */
struct cell {
    double quantile;
    int64_t first, n;
};

/* Cells do not overlap; of fewer than five samples each has its own. */
static int64_t cells_of(const struct report_ranking *r, struct cell cell[QUANTILES])
{
    const int64_t shown = r->scored < QUANTILES ? r->scored : QUANTILES;
    const int64_t each = shown > 0 && r->scored / shown < EACH ? r->scored / shown : EACH;
    for (int64_t c = 0; c < shown; c++) {
        const double q = shown > 1 ? (double)c / (double)(shown - 1) : 1;
        cell[c] = (struct cell){q, llrint(q * (double)(r->scored - each)), each};
    }
    return shown;
}

/* What the samples are. */
struct gallery {
    const char *rundir;
    struct coding coding;
    double range[2]; /* of all curves */
};

static bool is_text(const struct gallery *g, const struct report_ranking *r)
{
    return report_is_text(&g->coding, r->channels, r->height);
}

/* The sample in the data's units; NULL: damaged. Freed by the caller. */
static float *sample_of(const struct gallery *g, const struct report_ranking *r,
                        const struct report_ranked *s)
{
    int64_t shape[3] = {r->channels, r->height, r->width};
    float *x = report_final(g->rundir, r->iteration, s, shape);
    if (x != NULL && g->coding.kind == CODING_SERIES)
        coding_decode(&g->coding, x, r->channels * r->height * r->width);
    return x;
}

static void add_sample(struct text *out, const struct gallery *g,
                       const struct report_ranking *r, const struct report_ranked *s)
{
    float *x = sample_of(g, r, s);
    char alt[64];
    snprintf(alt, sizeof alt, isfinite(s->reward) ? "sample with reward %.4g"
                                                  : "sample without a reward", s->reward);
    text_add(out, "<figure>");
    if (x == NULL)
        text_add(out, "<p class=\"gone\">damaged</p>");
    else
        report_sample(out, &g->coding,
                      &(struct report_image){x, r->channels, r->height, r->width, alt},
                      g->range[0] < g->range[1] ? g->range : NULL);
    text_add(out, "<figcaption>");
    report_ranked_reward(out, s);
    text_add(out, "</figcaption></figure>\n");
    mem_free(x);
}

static void add_cell(struct text *out, const struct gallery *g,
                     const struct report_ranking *r, const struct cell *c)
{
    text_add(out, "<div class=\"cell\"><h4>");
    if (isnan(c->quantile))
        text_add(out, "no reward</h4>");
    else
        text_add(out, "%.0f %%%s</h4>", 100 * c->quantile,
                 c->quantile == 0     ? ", lowest"
                 : c->quantile == 0.5 ? ", median"
                 : c->quantile == 1   ? ", highest"
                                      : "");
    text_add(out, "<div class=\"few%s\">", is_text(g, r) ? " lines" : "");
    for (int64_t i = 0; i < c->n; i++)
        add_sample(out, g, r, &r->sample[c->first + i]);
    text_add(out, "</div></div>\n");
}

static void add_iteration(struct text *out, const struct gallery *g,
                          const struct report_ranking *r, bool best)
{
    struct cell cell[QUANTILES];
    const int64_t cells = cells_of(r, cell), without = r->n - r->scored;
    text_add(out, "<h3>Iteration %lld <span>%spolicy version %lld; %lld samples",
             (long long)r->iteration, best ? "with the best mean reward; " : "",
             (long long)r->version, (long long)r->n);
    if (r->shards < r->all)
        text_add(out, " of %lld of its %lld shards", (long long)r->shards, (long long)r->all);
    if (without > 0)
        text_add(out, ", %lld without a reward", (long long)without);
    if (r->damaged > 0)
        text_add(out, "; %lld damaged file(s) were left out", (long long)r->damaged);
    text_add(out, "</span></h3>\n<div class=\"quantiles\" style=\"--n:%lld\">\n",
             (long long)(cells + (without > 0)));
    for (int64_t c = 0; c < cells; c++)
        add_cell(out, g, r, &cell[c]);
    if (without > 0)
        add_cell(out, g, r,
                 &(struct cell){NAN, r->scored, without < EACH ? without : EACH});
    text_add(out, "</div>\n");
}

/* Least and largest number of the curves that will be drawn. */
static void find_range(struct gallery *g, const struct report_ranking *r)
{
    struct cell cell[QUANTILES];
    const int64_t cells = cells_of(r, cell);
    for (int64_t c = 0; c < cells; c++)
        for (int64_t i = 0; i < cell[c].n; i++) {
            float *x = sample_of(g, r, &r->sample[cell[c].first + i]);
            for (int64_t k = 0; x != NULL && k < r->width; k++)
                if (isfinite(x[k])) {
                    g->range[0] = fmin(g->range[0], (double)x[k]);
                    g->range[1] = fmax(g->range[1], (double)x[k]);
                }
            mem_free(x);
        }
}

void report_quantiles(struct text *out, const char *rundir, const struct report_ranking *r,
                      int64_t n)
{
    struct gallery g = {.rundir = rundir,
                        .coding = report_coding(rundir),
                        .range = {INFINITY, -INFINITY}};
    if (n < 1)
        return;
    for (int64_t i = 0; i < n; i++)
        if (r[i].height == 1 && !is_text(&g, &r[i]))
            find_range(&g, &r[i]);
    text_add(out, "<section><h2>Samples by reward</h2>\n<p class=\"scale\">Of each iteration "
                  "the samples around quantiles of their rewards, each with its reward.");
    if (g.range[0] < g.range[1])
        text_add(out, " All curves from %.4g to %.4g.", g.range[0], g.range[1]);
    text_add(out, "</p>\n");
    for (int64_t i = 0; i < n; i++)
        add_iteration(out, &g, &r[i], i > 0 && i < n - 1);
    text_add(out, "</section>\n");
}

/* What is gone, next to what the metrics know of. */
static void add_gaps(struct text *out, const struct report_metrics *m,
                     const struct report_ranking *r, int64_t n)
{
    if (m->n == 0)
        return;
    if (n == 0) {
        text_add(out, "<p class=\"note\">No rollout shard can be read (retention has removed "
                      "them, or they are damaged): samples, chains and the maps made of them "
                      "are left out.</p>\n");
        return;
    }
    if ((double)r[0].iteration > m->row[0][M_ITERATION])
        text_add(out, "<p class=\"note\">Rollouts before iteration %lld are gone or damaged: "
                      "it stands for the first one.</p>\n",
                 (long long)r[0].iteration);
    if ((double)r[n - 1].iteration < m->row[m->n - 1][M_ITERATION])
        text_add(out, "<p class=\"note\">Rollouts after iteration %lld are gone or damaged: "
                      "it stands for the last one.</p>\n",
                 (long long)r[n - 1].iteration);
}

void report_samples(struct text *out, const char *rundir, const struct report_metrics *m)
{
    struct report_ranking r[REPORT_SHOWN];
    const int64_t n = report_rank_run(r, rundir, m);
    add_gaps(out, m, r, n);
    report_quantiles(out, rundir, r, n);
    report_strips(out, rundir, r, n);
    for (int64_t i = 0; i < n; i++)
        report_ranking_free(&r[i]);
}
