/* "What to change": each rule says one thing, with the number that it rests on, or nothing.
 * The numbers from which on a thing is worth a word stand here. */
#include "pipeline/report/report_time.h"

#include "stages/metric/sums.h"

#include <math.h>

static const double idle_much = 0.30;   /* of a group's time */
static const double faster = 0.95;      /* another layout takes so much of the time */
static const double files_much = 0.15;  /* of all work */
static const double answer_much = 0.10; /* of all time, for the coordinator's answers */
static const double scores_much = 0.20; /* of all time, for another program's scores */
static const double vote_much = 0.15;   /* of the update's work */
static const double failed_much = 0.01; /* of samples */
static const double clip_most = 0.5, clip_least = 1e-3;
static const double errors_enough = 2;  /* standard errors of a trend */
static const double kl_much = 0.05;     /* |log ratio| of about 0.3 */
enum { FEW = 8 };                       /* iterations, for a trend */

static double all_of(const struct report_spent *s)
{
    return s->working + report_waited(s);
}

static double idle(const struct report_facts *f, int g)
{
    const struct report_spent *s = &f->shares->sum[g];
    return all_of(s) > 0 ? report_waited(s) / all_of(s) : 0;
}

/* "; the model of sluice plan expects ..." */
static void add_expected(struct text *out, const struct report_facts *f, double seconds)
{
    text_add(out,
             "the model of <b>sluice plan</b> expects %.3g s per iteration instead of %.3g s, "
             "%.0f %% less",
             seconds, f->plan.now_s, 100 * (1 - seconds / f->plan.now_s));
    if (isfinite(f->shares->iteration_s))
        text_add(out, " (measured now: %.3g s)", f->shares->iteration_s);
}

/* From which idle group to which, as many as the better layout has elsewhere. */
static void add_moves(struct text *out, const struct report_facts *f)
{
    int left[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        left[g] = f->plan.split.size[g] - f->layout.size[g];
    for (int from = 0; from < GROUPS; from++) {
        bool named = false;
        for (int to = 0; to < GROUPS; to++) {
            int n = -left[from] < left[to] ? -left[from] : left[to];
            if (n <= 0)
                continue;
            if (named)
                text_add(out, " and ");
            else
                text_add(out, "<b>%s group idle %.0f %%</b>: move ",
                         group_name((enum group)from), 100 * idle(f, from));
            text_add(out, "%d rank%s to %s", n, n == 1 ? "" : "s",
                     group_name((enum group)to));
            named = true;
            left[from] += n;
            left[to] -= n;
        }
        if (named)
            text_add(out, "; ");
    }
}

static void add_sizes(struct text *out, const struct layout *l)
{
    text_add(out, "with <code>groups.placement=split");
    for (int g = 0; g < GROUPS; g++)
        text_add(out, " groups.%s=%d", group_name((enum group)g), l->size[g]);
    text_add(out, "</code> ");
}

/* The group that idles most, GROUPS where none does much. */
static int idlest(const struct report_facts *f)
{
    int most = GROUPS;
    for (int g = 0; g < GROUPS; g++)
        if (idle(f, g) >= idle_much && (most == GROUPS || idle(f, g) > idle(f, most)))
            most = g;
    return most;
}

/* "<b>rollout group idle 70 %</b>: " of groups that own their ranks. */
static void add_idlest(struct text *out, const struct report_facts *f)
{
    int g = idlest(f);
    if (f->apart && g < GROUPS)
        text_add(out, "<b>%s group idle %.0f %%</b>: ", group_name((enum group)g),
                 100 * idle(f, g));
}

static int advise_groups(struct text *out, const struct report_facts *f)
{
    int n = 0;
    const struct plan_proposal *p = &f->plan;
    if (!f->planned || (f->apart && idlest(f) == GROUPS))
        return 0;
    if (p->split_s < faster * p->now_s) {
        text_add(out, "<li>");
        if (f->apart)
            add_moves(out, f);
        add_sizes(out, &p->split);
        add_expected(out, f, p->split_s);
        text_add(out, ".</li>\n");
        n++;
    }
    if (p->shared_s < faster * fmin(p->split_s, p->now_s)) {
        text_add(out, "<li>");
        add_idlest(out, f);
        text_add(out, "with <code>groups.placement=shared</code> and all groups auto ");
        add_expected(out, f, p->shared_s);
        text_add(out, "; each rank needs memory for all roles.</li>\n");
        n++;
    }
    if (p->ahead_s < faster * fmin(fmin(p->split_s, p->shared_s), p->now_s)) {
        text_add(out, "<li>");
        add_idlest(out, f);
        text_add(out, "with <code>max_staleness=%lld</code> rollouts go on during the update: ",
                 (long long)f->max_staleness + 1);
        add_expected(out, f, p->ahead_s);
        text_add(out, "; samples are then one policy older.</li>\n");
        n++;
    }
    return n;
}

static int advise_large(struct text *out, const struct report_facts *f)
{
    int g = idlest(f);
    if (!f->large || g == GROUPS || !f->apart)
        return 0;
    text_add(out, "<li>");
    add_idlest(out, f);
    text_add(out, "<code>sluice plan config.yaml --from</code> this run proposes sizes.</li>\n");
    return 1;
}

/* Fewer, larger shards where files or answers take much. */
static int advise_shards(struct text *out, const struct report_facts *f)
{
    double io = 0, working = 0, lease = 0, all = 0;
    int64_t ranks = f->layout.size[GROUP_ROLLOUT] > 0 ? f->layout.size[GROUP_ROLLOUT] : 1;
    for (int g = 0; g < GROUPS; g++) {
        const struct report_spent *s = &f->shares->sum[g];
        io += g == GROUP_UPDATE ? 0 : s->io;
        working += s->working;
        lease += s->wait.on_s[RECORD_LEASE];
        all += all_of(s);
    }
    bool files = working > 0 && io >= files_much * working;
    bool answers = all > 0 && lease >= answer_much * all;
    if ((!files && !answers) || f->shards < 2 * ranks)
        return 0;
    text_add(out, "<li>");
    if (files)
        text_add(out, "<b>files of shards take %.0f %% of the work</b>", 100 * io / working);
    if (answers)
        text_add(out, "%s<b>ranks wait %.0f %% of their time for the coordinator</b>",
                 files ? ", and " : "", 100 * lease / all);
    text_add(out,
             ": larger shards (<code>rollout.shard_samples</code>, now %lld, which makes %lld "
             "shards for %lld rollout rank%s).</li>\n",
             (long long)f->shard_samples, (long long)f->shards, (long long)ranks,
             ranks == 1 ? "" : "s");
    return 1;
}

/* Micro-batches that do not divide among the update's ranks. */
static int advise_micro_batch(struct text *out, const struct report_facts *f)
{
    const struct report_spent *s = &f->shares->sum[GROUP_UPDATE];
    int64_t ranks = f->layout.size[GROUP_UPDATE], n = f->micro_batches;
    if (ranks < 2 || n < 1 || !(s->vote >= vote_much * s->working) || !(s->working > 0))
        return 0;
    double most = ceil((double)n / (double)ranks);
    if (most * (double)ranks < 1.1 * (double)n)
        return 0;
    text_add(out,
             "<li><b>update ranks wait %.0f %% of their work for the slowest of them</b>: %lld "
             "micro-batches per optimizer step do not divide among %lld ranks; a smaller "
             "<code>model.micro_batch</code> (now %lld) does so more evenly.</li>\n",
             100 * s->vote / s->working, (long long)n, (long long)ranks,
             (long long)f->micro_batch);
    return 1;
}

static int advise_remote(struct text *out, const struct report_facts *f)
{
    double scores = 0, all = 0;
    for (int g = 0; g < GROUPS; g++) {
        scores += f->shares->sum[g].wait.on_s[GROUP_REWARD];
        all += all_of(&f->shares->sum[g]);
    }
    if ((!f->http && !f->exec) || !(all > 0) || scores < scores_much * all)
        return 0;
    text_add(out,
             "<li><b>ranks wait %.0f %% of their time for scores of another program</b>: ",
             100 * scores / all);
    if (f->http)
        text_add(out, "more requests at once (<code>http.in_flight</code>, now %lld), if the "
                      "server can take them.</li>\n",
                 (long long)f->in_flight);
    else
        text_add(out, "more of them at once (<code>exec.workers</code>, now %lld), if there are "
                      "cores.</li>\n",
                 (long long)f->workers);
    return 1;
}

/* Mean of a column's numbers in rows [from, to). */
static double mean(const struct report_metrics *m, enum report_metric k, int64_t from,
                   int64_t to)
{
    struct moments s = {0};
    for (int64_t i = from; i < to; i++)
        moments_add(&s, m->row[i][k]);
    return moments_mean(&s);
}

/* 1, -1: it rises or falls from row `from` on, by *slope per iteration; 0: not clearly. */
static int trend(const struct report_metrics *m, enum report_metric k, int64_t from,
                 double *slope)
{
    struct pairs p = {0};
    double error;
    for (int64_t i = from; i < m->n; i++)
        if (isfinite(m->row[i][k]))
            pairs_add(&p, m->row[i][M_ITERATION], m->row[i][k]);
    *slope = pairs_slope(&p, &error);
    return !(fabs(*slope) > errors_enough * error) ? 0 : *slope > 0 ? 1 : -1;
}

/* The first row of the last quarter. */
static int64_t late(const struct report_metrics *m)
{
    return m->n - (m->n + 3) / 4;
}

static int advise_clip(struct text *out, const struct report_facts *f)
{
    const struct report_metrics *m = f->metrics;
    double clip = mean(m, M_CLIP_FRACTION, late(m), m->n), slope;
    if (m->n < FEW || f->optimizer_steps < 2)
        return 0;
    if (clip >= clip_most) {
        text_add(out,
                 "<li><b>%.0f %% of the ratios left the clip range</b> in the last %lld "
                 "iterations: the steps are large for it; a smaller <code>update.lr</code>, fewer "
                 "inner epochs or a wider <code>algorithm.clip_range</code>.</li>\n",
                 100 * clip, (long long)(m->n - late(m)));
        return 1;
    }
    if (!(clip <= clip_least) || trend(m, M_REWARD_MEAN, 0, &slope) != 0 ||
        !isfinite(slope))
        return 0;
    text_add(out,
             "<li><b>%.2g %% of the ratios left the clip range</b> in the last %lld iterations, and "
             "the reward has no clear trend (%+.2g per iteration): a larger <code>update.lr</code> "
             "has room.</li>\n",
             100 * clip, (long long)(m->n - late(m)), slope);
    return 1;
}

static int advise_signal(struct text *out, const struct report_facts *f)
{
    const struct report_metrics *m = f->metrics;
    int64_t flat = 0;
    while (flat < m->n && m->row[m->n - 1 - flat][M_REWARD_STD] == 0)
        flat++;
    if (flat > 0 && m->row[m->n - 1][M_SAMPLES] > 1) {
        text_add(out,
                 "<li><b>all samples of the last %lld iteration%s have the same reward</b>, "
                 "%.4g: advantages are 0 and nothing is learnt from them.</li>\n",
                 (long long)flat, flat == 1 ? "" : "s", m->row[m->n - 1][M_REWARD_MEAN]);
        return 1;
    }
    if (f->zero_advantages >= 0.5) {
        text_add(out,
                 "<li><b>%.0f %% of the advantages of iteration %lld are 0</b>, those of prompts "
                 "whose copies all got the same reward: more <code>rollout.copies</code>, or a "
                 "reward with finer steps.</li>\n",
                 100 * f->zero_advantages, (long long)f->zero_iteration);
        return 1;
    }
    return 0;
}

static int advise_failed(struct text *out, const struct report_facts *f)
{
    double failed = report_sum(f->metrics, M_FAILED);
    double samples = report_sum(f->metrics, M_SAMPLES);
    if (!(samples > 0) || failed < failed_much * samples)
        return 0;
    text_add(out,
             "<li><b>%.2g %% of the samples have no score</b> (%.0f of %.0f): the status of each "
             "is in the reward shards; <code>reward.retries</code> asks again.</li>\n",
             100 * failed / samples, failed, samples);
    return 1;
}

/* Nothing is left to tell samples apart by. */
static int advise_saturated(struct text *out, const struct report_facts *f)
{
    const struct report_metrics *m = f->metrics;
    int64_t first = report_metrics_find(m, M_REWARD_STD, false);
    if (m->n < FEW || first < 0)
        return 0;
    double from = m->row[first][M_REWARD_STD], to = mean(m, M_REWARD_STD, late(m), m->n);
    double rise = mean(m, M_REWARD_MEAN, late(m), m->n) - m->row[first][M_REWARD_MEAN];
    if (!(from > 0) || !(to > 0 && to <= 0.1 * from) || !(rise > 2 * from))
        return 0;
    text_add(out,
             "<li><b>the reward is saturated</b>: it rose by %.3g while its deviation fell from "
             "%.3g to %.3g, so samples hardly differ any more; end earlier, or use a reward with "
             "more range.</li>\n",
             rise, from, to);
    return 1;
}

static int advise_kl(struct text *out, const struct report_facts *f)
{
    const struct report_metrics *m = f->metrics;
    int64_t half = m->n / 2;
    double rise, reward;
    if (m->n < FEW)
        return 0;
    double early = mean(m, M_APPROX_KL, 0, (m->n + 3) / 4);
    double now = mean(m, M_APPROX_KL, late(m), m->n);
    if (now >= kl_much && now >= 3 * early) {
        text_add(out,
                 "<li><b>steps grow: approx_kl %.3g, at first %.3g</b>: a smaller "
                 "<code>update.lr</code> or <code>update.max_grad_norm</code>.</li>\n",
                 now, early);
        return 1;
    }
    if (f->has_kl_budget || trend(m, M_KL_PATH, half, &rise) <= 0 ||
        trend(m, M_REWARD_MEAN, half, &reward) > 0)
        return 0;
    text_add(out,
             "<li><b>the policy drifts without gain</b>: since iteration %.0f the KL to policy 0 "
             "grew by %.3g per iteration to %.3g nats and the reward did not rise: a policy from "
             "there is as good; <code>run.kl_budget</code> ends a run in time.</li>\n",
             m->row[half][M_ITERATION], rise, m->row[m->n - 1][M_KL_PATH]);
    return 1;
}

/* Gao et al. 2023, as `sluice stats` says it. */
static int advise_guard(struct text *out, const struct report_facts *f)
{
    const struct report_metrics *m = f->metrics;
    double reward, guard;
    int64_t top = report_metrics_find(m, M_GUARD_MEAN, false);
    if (top < 0 || trend(m, M_GUARD_MEAN, 0, &guard) >= 0 ||
        trend(m, M_REWARD_MEAN, 0, &reward) <= 0)
        return 0;
    for (int64_t i = top; i < m->n; i++)
        top = m->row[i][M_GUARD_MEAN] > m->row[top][M_GUARD_MEAN] ? i : top;
    text_add(out,
             "<li><b>over-optimisation</b>: the reward rises by %.3g per iteration while the "
             "guard falls by %.3g; it was highest in iteration %.0f, so prefer a policy near "
             "version %.0f, and <code>run.guard_drop</code> ends a run in time.</li>\n",
             reward, -guard, m->row[top][M_ITERATION], m->row[top][M_ITERATION]);
    return 1;
}

int report_advice(struct text *out, const struct report_facts *f)
{
    static int (*const rule[])(struct text *, const struct report_facts *) = {
        advise_groups, advise_large,  advise_shards, advise_micro_batch,
        advise_remote, advise_failed, advise_signal, advise_saturated,
        advise_clip,   advise_kl,     advise_guard};
    int n = 0;
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
        n += rule[i](out, f);
    return n;
}
