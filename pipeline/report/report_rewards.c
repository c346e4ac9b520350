/* A mixture in the report: in words and numbers what the components are, which of them
 * disagree, and which of them the sum follows. */
#include "pipeline/report/report_mix.h"

#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

/* Below it two components are said to disagree, above it to agree. */
static const double notable = 0.2;

/* What the last scores say about the components together. */
struct verdict {
    int64_t counting; /* components in the sum */
    int64_t pair[2];  /* those that count and agree least; -1: none can be compared */
    double lowest;    /* their correlation, as they are wanted */
    int64_t leader;   /* with the largest share; -1: the sum does not vary */
    int64_t usable;   /* samples with a sum */
    double share[REPORT_MIX_PARTS];
    double with_sum[REPORT_MIX_PARTS]; /* correlation of the scores as they stand */
};

static double sign_of(const struct report_mix *x, int64_t k)
{
    return report_mix_counts(x, k) && x->part[k].weight < 0 ? -1 : 1;
}

/* Of the scores of a and b, turned as they are wanted. */
static double correlation(const struct report_mix *x, const struct report_mix_scores *s,
                          int64_t a, int64_t b)
{
    return sign_of(x, a) * sign_of(x, b) *
           report_mix_correlation(report_mix_score(s, a), report_mix_score(s, b), s->n);
}

static void judge(const struct report_mix *x, const struct report_mix_scores *s,
                  struct verdict *v)
{
    const struct report_mix_column total = {s->total, 1};
    *v = (struct verdict){.pair = {-1, -1}, .lowest = INFINITY, .leader = -1};
    for (int64_t i = 0; i < s->n; i++)
        v->usable += isfinite(s->total[i]);
    for (int64_t a = 0; a < x->parts && s->n > 0; a++) {
        v->with_sum[a] = report_mix_correlation(report_mix_score(s, a), total, s->n);
        v->share[a] = report_mix_counts(x, a) ? report_mix_share(s, a) : NAN;
        v->counting += report_mix_counts(x, a);
        if (isfinite(v->share[a]) &&
            (v->leader < 0 || v->share[a] > v->share[v->leader]))
            v->leader = a;
        for (int64_t b = 0; b < a; b++) {
            double r = correlation(x, s, a, b);
            if (report_mix_counts(x, a) && report_mix_counts(x, b) && r < v->lowest) {
                v->lowest = r;
                v->pair[0] = b;
                v->pair[1] = a;
            }
        }
    }
}

static void bold(struct text *out, const struct report_mix *x, int64_t k)
{
    text_add(out, "<b style=\"color:%s\">", x->part[k].colour);
    report_mix_name(out, x, k);
    text_add(out, "</b>");
}

static void say_pair(struct text *out, const struct report_mix *x, const struct verdict *v)
{
    const bool apart = v->lowest <= -notable, together = v->lowest >= notable;
    if (!apart)
        text_add(out, together ? "The components agree, even those least alike: "
                               : "No components disagree much; least alike are ");
    bold(out, x, v->pair[0]);
    text_add(out, " and ");
    bold(out, x, v->pair[1]);
    text_add(out, "%s correlation %.2f; ", apart ? " disagree:" : ",", v->lowest);
}

static void say_sum(struct text *out, const struct report_mix *x, const struct verdict *v)
{
    if (v->leader < 0) {
        text_add(out, "the sum is the same for all samples: what the components add "
                      "cancels, or is constant.");
        return;
    }
    text_add(out, "the sum follows ");
    bold(out, x, v->leader);
    text_add(out, ", which makes %.0f %% of its variance", 100 * v->share[v->leader]);
    for (int64_t k = 0; k < x->parts; k++) {
        const bool next = k != v->leader && v->share[k] >= 0.5 * v->share[v->leader];
        if (!next && !(v->share[k] < -0.01))
            continue;
        text_add(out, "; ");
        bold(out, x, k);
        text_add(out, next ? " makes %.0f %%" : " takes %.0f %% off",
                 100 * fabs(v->share[k]));
    }
    text_add(out, ".");
}

/* Change of a component's mean from the first iteration to the last, in deviations of the
 * first; from and to are the means. */
static double change(const struct report_mix *x, int64_t k, double *from, double *to)
{
    const struct report_metrics *m = x->metrics;
    const int64_t at = x->part[k].at;
    double std = NAN;
    *from = *to = NAN;
    for (int64_t i = 0; i < m->n; i++) {
        double v = at < 0 ? m->row[i][M_GUARD_MEAN] : m->scored[i].part[at].mean;
        if (!isfinite(v))
            continue;
        if (!isfinite(*from)) {
            *from = v;
            std = at < 0 ? m->row[i][M_GUARD_ERROR] *
                               sqrt(fmax(1, m->row[i][M_SAMPLES] - m->row[i][M_FAILED]))
                         : m->scored[i].part[at].std;
        }
        *to = v;
    }
    return std > 0 ? (*to - *from) / std : NAN;
}

static void say_changes(struct text *out, const struct report_mix *x)
{
    int64_t said = 0;
    double from, to;
    for (int64_t k = 0; k < x->parts; k++) {
        double d = change(x, k, &from, &to);
        if (!isfinite(d) || x->metrics->n < 2)
            continue;
        text_add(out, said++ == 0 ? "<p>Over the run " : ", ");
        text_add(out, x->part[k].at < 0 ? "the guard " : "");
        text_add(out, "<b style=\"color:%s\">", x->part[k].colour);
        report_escape(out, x->part[k].name);
        text_add(out, "</b> %s %.2f", d < 0 ? "fell by" : "rose by", fabs(d));
    }
    if (said > 0)
        text_add(out, ", in deviations of the first iteration's samples.</p>");
}

static void add_finding(struct text *out, const struct report_mix *x,
                        const struct report_mix_scores *s, const struct verdict *v)
{
    text_add(out, "<div class=\"finding\">");
    if (s->n > 0 && x->known) {
        text_add(out, "<p class=\"lead\">");
        if (v->pair[0] >= 0) {
            say_pair(out, x, v);
            say_sum(out, x, v);
        } else if (v->usable < 3) {
            text_add(out, "Fewer than three samples of iteration %lld have a score of every "
                          "component that counts.",
                     (long long)s->iteration);
        } else {
            text_add(out, v->counting == 1 ? "One component counts; "
                                           : "No two components that count vary; ");
            say_sum(out, x, v);
        }
        text_add(out, "</p><p>Measured on %lld samples of iteration %lld",
                 (long long)v->usable, (long long)s->iteration);
        text_add(out, v->usable < s->n ? "; %lld more have no sum.</p>" : ".</p>",
                 (long long)(s->n - v->usable));
    }
    say_changes(out, x);
    text_add(out, "</div>\n");
}

/* What could not be read, and why less is shown. */
static void add_gaps(struct text *out, const struct report_mix *x,
                     const struct report_mix_scores *first,
                     const struct report_mix_scores *last)
{
    const int64_t damaged =
        first->iteration == last->iteration && first->n > 0
            ? (first->damaged > last->damaged ? first->damaged : last->damaged)
            : first->damaged + last->damaged;
    const struct report_metrics *m = x->metrics;
    if (!x->known)
        text_add(out, "<p class=\"note\">config.yaml does not tell the components' weights, "
                      "so what they add to the sum is not known.</p>");
    if (last->n == 0) {
        text_add(out, "<p class=\"note\">No reward shard can be read (retention has removed "
                      "them, or they are damaged): distributions, correlations and samples "
                      "are left out; the curves come from metrics.jsonl.</p>");
        return;
    }
    if (damaged > 0)
        text_add(out, "<p class=\"note\">%lld damaged reward shard(s) were left out.</p>",
                 (long long)damaged);
    if (m->n > 0 && (double)first->iteration > m->row[0][M_ITERATION])
        text_add(out, "<p class=\"note\">Reward shards before iteration %lld are gone: it "
                      "stands for the first one where single scores are shown.</p>",
                 (long long)first->iteration);
    if (m->n > 0 && (double)last->iteration < m->row[m->n - 1][M_ITERATION])
        text_add(out, "<p class=\"note\">Reward shards after iteration %lld are gone or "
                      "damaged: it stands for the last one where single scores are shown."
                      "</p>",
                 (long long)last->iteration);
    for (int64_t i = 0; i < m->n; i++)
        if (m->row[i][M_ITERATION] == (double)last->iteration &&
            m->row[i][M_SAMPLES] > (double)last->n)
            text_add(out, "<p class=\"note\">%lld of the %.0f samples of iteration %lld are "
                          "still there.</p>",
                     (long long)last->n, m->row[i][M_SAMPLES], (long long)last->iteration);
}

static void add_share(struct text *out, double share, const char *colour)
{
    if (!isfinite(share)) {
        text_add(out, "<td>—</td>");
        return;
    }
    text_add(out, "<td class=\"bar\"><i style=\"width:%.0fpx;background:%s\"></i> %.1f %%</td>",
             fmin(1, fabs(share)) * 60, share < 0 ? "#b91c1c" : colour, 100 * share);
}

/* "0.5 × (score − 3) / 2" */
static void add_term(struct text *out, const struct report_mix *x, int64_t k)
{
    const struct report_mix_part *p = &x->part[k];
    if (!report_mix_counts(x, k)) {
        text_add(out, p->at < 0 ? "guard" : p->weight == 0 ? "only watched" : "—");
        return;
    }
    text_add(out, "%.4g × ", p->weight);
    if (x->moving)
        text_add(out, "score compared");
    else if (p->offset != 0)
        text_add(out, "(score %s %.4g)", p->offset < 0 ? "+" : "−", fabs(p->offset));
    else
        text_add(out, "score");
    if (!x->moving && p->scale != 1)
        text_add(out, " / %.4g", p->scale);
}

static void add_parts(struct text *out, const struct report_mix *x, const struct verdict *v,
                      bool scores)
{
    text_add(out, "<table class=\"parts\"><tr><th>component</th><th>reward</th><th>unit</th>"
                  "<th>enters the sum as</th><th>mean, first → last</th>"
                  "<th>change, deviations</th>%s</tr>\n",
             scores ? "<th>correlation with sum</th><th>share of its variance</th>" : "");
    for (int64_t k = 0; k < x->parts; k++) {
        const struct report_mix_part *p = &x->part[k];
        double from, to, moved = change(x, k, &from, &to);
        text_add(out, "<tr><td><i class=\"swatch\" style=\"background:%s\"></i>", p->colour);
        report_escape(out, p->name);
        text_add(out, "</td><td>");
        report_escape(out, p->reward == NULL ? "—" : p->reward);
        text_add(out, "</td><td>");
        report_escape(out, p->units);
        text_add(out, "</td><td>");
        add_term(out, x, k);
        text_add(out, "</td><td>");
        report_number(out, from);
        text_add(out, " → ");
        report_number(out, to);
        text_add(out, "</td><td class=\"%s\">", moved < 0 ? "down" : "up");
        if (isfinite(moved))
            text_add(out, "%+.2f", moved);
        else
            text_add(out, "—");
        text_add(out, "</td>");
        if (scores) {
            text_add(out, isfinite(v->with_sum[k]) ? "<td>%.2f</td>" : "<td>—</td>",
                     v->with_sum[k]);
            add_share(out, v->share[k], p->colour);
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table>\n");
}

/* Blue for agreement, red for its contrary. */
static void add_cell(struct text *out, double r)
{
    if (isfinite(r))
        text_add(out, "<td style=\"background:rgba(%s,%.2f)%s\">%.2f</td>",
                 r < 0 ? "220,38,38" : "37,99,235", 0.75 * fabs(r),
                 fabs(r) > 0.65 ? ";color:#fff" : "", r);
    else
        text_add(out, "<td class=\"none\">—</td>");
}

static void add_matrix(struct text *out, const struct report_mix *x,
                       const struct report_mix_scores *s, const struct verdict *v)
{
    bool turned = false;
    text_add(out, "<h3>Correlations <span>of the scores in iteration %lld</span></h3>"
                  "<table class=\"heat\"><tr><th></th>",
             (long long)s->iteration);
    for (int64_t k = 0; k < x->parts; k++) {
        text_add(out, "<th>");
        report_mix_name(out, x, k);
        text_add(out, "</th>");
        turned |= sign_of(x, k) < 0;
    }
    text_add(out, "<th>sum</th></tr>\n");
    for (int64_t a = 0; a < x->parts; a++) {
        text_add(out, "<tr><th>");
        report_mix_name(out, x, a);
        text_add(out, "</th>");
        for (int64_t b = 0; b < x->parts; b++)
            add_cell(out, correlation(x, s, a, b));
        add_cell(out, sign_of(x, a) * v->with_sum[a]);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table><p class=\"scale\">Of each pair the samples count that both have "
                  "scored; — where one is constant or fewer than three are left.%s</p>\n",
             turned ? " A minus before a name: its weight is negative, so it is wanted low, "
                      "and enters with its sign turned."
                    : "");
}

void report_rewards(struct text *out, const char *rundir, const struct report_metrics *m,
                    const struct config *config)
{
    struct report_mix *x = mem_alloc(1, sizeof *x);
    struct report_mix_scores first = {0}, last = {0};
    struct verdict v;
    if (!report_mix_create(x, rundir, m, config)) {
        report_mix_statuses(out, m, NULL, NULL);
        mem_free(x);
        return;
    }
    report_mix_find(x, false, &first);
    report_mix_find(x, true, &last);
    judge(x, &last, &v);
    text_add(out, "<section><h2>The components of the reward</h2>\n");
    add_finding(out, x, &last, &v);
    add_gaps(out, x, &first, &last);
    add_parts(out, x, &v, last.n > 0);
    if (x->moving)
        text_add(out, "<p class=\"scale\">reward.mixing is <b>%s</b>: each component is "
                      "compared with the other samples before it is weighted; the sum and "
                      "the shares here take the iteration's mean and deviation for that.</p>",
                 config_text(config, "reward.mixing"));
    text_add(out, "</section>\n");
    if (!report_mix_plots(out, x, &first, &last))
        text_add(out, "<p class=\"note\">The components' plots need gnuplot, which is not "
                      "here (or failed).</p>\n");
    if (last.n > 0) {
        text_add(out, "<section><h2>Who agrees with whom</h2><div class=\"plots\">"
                      "<div%s>",
                 x->parts > 5 ? " class=\"wide\"" : "");
        add_matrix(out, x, &last, &v);
        text_add(out, "</div>\n");
        if (v.pair[0] >= 0)
            report_mix_scatter(out, x, &first, &last, v.pair);
        text_add(out, "</div></section>\n");
        report_mix_chosen(out, x, &last);
    }
    report_mix_statuses(out, m, x, &last);
    report_mix_scores_free(&first);
    report_mix_scores_free(&last);
    mem_free(x);
}
