/* The statistics as JSON (io/FORMAT.md, Statistics). */
#include "pipeline/stats/stats.h"

#include "stages/reward/reward.h"

#include <math.h>

static void put_known(struct json_out *out, const char *key, double v)
{
    if (isfinite(v))
        json_out_f64(out, key, v);
}

static void put_moments(struct json_out *out, const char *key, const struct moments *m)
{
    if (m->n == 0)
        return;
    json_out_map(out, key);
    json_out_i64(out, "n", m->n);
    json_out_f64(out, "mean", m->mean);
    put_known(out, "error", moments_error(m));
    json_out_f64(out, "std", moments_std(m));
    json_out_f64(out, "min", m->min);
    json_out_f64(out, "max", m->max);
    json_out_end(out);
}

static void put_status(struct json_out *out, const int64_t status[STATS_STATUSES])
{
    json_out_map(out, "status");
    for (int k = 0; k < STATS_STATUSES; k++)
        json_out_i64(out, reward_status_name((enum reward_status)k), status[k]);
    json_out_end(out);
}

static void put_groups(struct json_out *out, const struct stats *s)
{
    struct moments between = {0}, within = {0};
    int64_t groups = 0, constant = 0;
    for (int64_t i = 0; i < s->prompts; i++)
        moments_add(&between, moments_mean(&s->prompt[i].reward));
    for (int64_t i = 0; i < s->n; i++) {
        groups += s->iteration[i].groups;
        constant += s->iteration[i].constant;
        moments_add(&within, moments_mean(&s->iteration[i].group_std));
    }
    json_out_map(out, "groups");
    json_out_i64(out, "prompts", s->prompts);
    json_out_i64(out, "groups", groups);
    json_out_i64(out, "constant", constant);
    put_known(out, "std_within", moments_mean(&within));
    put_known(out, "std_between", moments_std(&between));
    json_out_end(out);
}

static void put_parts(struct json_out *out, const struct stats *s)
{
    if (s->parts < 2)
        return;
    json_out_map(out, "components");
    for (int64_t k = 0; k < s->parts; k++) {
        json_out_map(out, s->part[k]);
        json_out_i64(out, "n", s->all_part[k].n);
        put_known(out, "mean", moments_mean(&s->all_part[k]));
        put_known(out, "std", moments_std(&s->all_part[k]));
        put_known(out, "correlation", pairs_correlation(&s->reward_part[k]));
        put_known(out, "first", moments_mean(&s->iteration[0].part[k]));
        put_known(out, "last", moments_mean(&s->iteration[s->n - 1].part[k]));
        json_out_end(out);
    }
    json_out_end(out);
}

static void put_estimate(struct json_out *out, const char *key, const struct weights *w)
{
    double error, mean = weights_mean(w, &error);
    if (w->n == 0)
        return;
    json_out_map(out, key);
    json_out_i64(out, "n", w->n);
    json_out_f64(out, "effective_samples", weights_size(w));
    put_known(out, "reward", mean);
    put_known(out, "error", error);
    put_known(out, "reward_plain", weights_plain(w));
    json_out_end(out);
}

static const struct stats_step *last_live(const struct stats *s)
{
    const struct stats_step *last = NULL;
    for (int64_t k = 0; k < s->steps; k++)
        if (s->step[k].live)
            last = &s->step[k];
    return last;
}

static void put_diversity(struct json_out *out, const char *key,
                          const struct stats_diversity *d)
{
    json_out_map(out, key);
    json_out_i64(out, "iteration", d->iteration);
    json_out_i64(out, "n", d->n);
    put_known(out, "pairwise_distance", d->pairwise);
    put_known(out, "frechet_data", d->frechet_data);
    put_known(out, "nearest_mean", d->nearest_mean);
    put_known(out, "nearest_min", d->nearest_min);
    put_known(out, "copied_share", d->copied);
    json_out_end(out);
}

static void put_watch(struct json_out *out, const struct stats *s)
{
    json_out_map(out, "watch");
    put_known(out, "correlation", pairs_correlation(&s->watch));
    put_known(out, "reward_slope", s->slope[0]);
    put_known(out, "reward_slope_error", s->slope_error[0]);
    put_known(out, "guard_slope", s->slope[1]);
    put_known(out, "guard_slope_error", s->slope_error[1]);
    json_out_text(out, "verdict", s->verdict);
    json_out_end(out);
}

static void put_samples(struct json_out *out, const char *key,
                        const struct stats_sample *b, int64_t n)
{
    json_out_list(out, key);
    for (int64_t i = 0; i < n; i++) {
        json_out_map(out, NULL);
        json_out_f64(out, "reward", b[i].reward);
        put_known(out, "guard", b[i].guard);
        json_out_i64(out, "iteration", b[i].iteration);
        json_out_i64(out, "shard", b[i].shard);
        json_out_i64(out, "row", b[i].row);
        json_out_i64(out, "sample_index", b[i].index);
        json_out_i64(out, "prompt_id", b[i].prompt_id);
        if (b[i].prompt[0] != '\0')
            json_out_text(out, "prompt", b[i].prompt);
        if (b[i].decoded[0] != '\0')
            json_out_text(out, "text", b[i].decoded);
        json_out_end(out);
    }
    json_out_end(out);
}

static void put_steps(struct json_out *out, const struct stats *s)
{
    json_out_list(out, "steps");
    for (int64_t k = 0; k < s->steps; k++) {
        const struct stats_step *p = &s->step[k];
        json_out_map(out, NULL);
        json_out_i64(out, "t", p->t);
        json_out_bool(out, "density", p->live != 0);
        put_moments(out, "log_prob", &p->log_prob);
        put_moments(out, "kl_reference", &p->kl);
        put_moments(out, "log_ratio_first", &p->log_ratio);
        put_known(out, "effective_samples_first", weights_size(&p->first));
        put_moments(out, "advantage", &p->advantage);
        put_known(out, "effective_samples_policy", weights_size(&p->other));
        json_out_end(out);
    }
    json_out_end(out);
}

static void put_iteration(struct json_out *out, const struct stats *s,
                          const struct stats_iteration *it)
{
    json_out_map(out, NULL);
    json_out_i64(out, "iteration", it->iteration);
    json_out_i64(out, "samples", it->samples);
    put_status(out, it->status);
    put_known(out, "reward_mean", it->reward.mean);
    put_known(out, "reward_error", it->reward.error);
    put_known(out, "reward_std", it->reward.std);
    put_known(out, "reward_median", it->reward.median);
    put_known(out, "guard_mean", it->guard.mean);
    put_known(out, "guard_error", it->guard.error);
    put_known(out, "correlation", pairs_correlation(&it->reward_guard));
    json_out_i64(out, "usable", it->usable);
    put_known(out, "advantage_std", moments_std(&it->advantage));
    put_known(out, "kl_path", moments_mean(&it->kl_path));
    json_out_i64(out, "groups", it->groups);
    json_out_i64(out, "constant_groups", it->constant);
    put_known(out, "group_std", moments_mean(&it->group_std));
    put_known(out, "effective_samples_first", weights_size(&it->first));
    put_known(out, "approx_kl", it->approx_kl);
    put_known(out, "clip_fraction", it->clip_fraction);
    put_known(out, "ratio_absdev_max", it->ratio_absdev_max);
    for (int64_t k = 0; k < s->parts && s->parts > 1; k++)
        put_moments(out, s->part[k], &it->part[k]);
    json_out_end(out);
}

static void put_lists(struct json_out *out, const struct stats *s)
{
    double width = (s->reward.max - s->reward.min) / STATS_BINS;
    json_out_list(out, "histogram");
    for (int k = 0; k < STATS_BINS && s->reward.n > 0; k++) {
        json_out_map(out, NULL);
        json_out_f64(out, "from", s->reward.min + k * width);
        json_out_i64(out, "samples", s->count[k]);
        json_out_end(out);
    }
    json_out_end(out);
    put_steps(out, s);
    put_samples(out, "best", s->best, s->bests);
    put_samples(out, "worst", s->worst, s->worsts);
    json_out_list(out, "prompts");
    for (int64_t i = 0; i < s->prompts; i++) {
        json_out_map(out, NULL);
        json_out_i64(out, "prompt_id", s->prompt[i].prompt_id);
        put_moments(out, "reward", &s->prompt[i].reward);
        json_out_end(out);
    }
    json_out_end(out);
    json_out_list(out, "iterations");
    for (int64_t i = 0; i < s->n; i++)
        put_iteration(out, s, &s->iteration[i]);
    json_out_end(out);
}

void stats_put(const struct stats *s, struct json_out *out)
{
    const struct stats_step *last = last_live(s);
    json_out_i64(out, "first_iteration", s->iteration[0].iteration);
    json_out_i64(out, "last_iteration", s->iteration[s->n - 1].iteration);
    json_out_i64(out, "samples", s->samples);
    put_status(out, s->status);
    put_moments(out, "reward", &s->reward);
    put_known(out, "reward_first", s->iteration[0].reward.mean);
    put_known(out, "reward_last", s->iteration[s->n - 1].reward.mean);
    put_moments(out, "guard", &s->guard);
    put_moments(out, "advantage", &s->advantage);
    if (s->advantage.n > 0)
        json_out_f64(out, "advantage_zero_share",
                     (double)s->advantage_zero / (double)s->advantage.n);
    put_groups(out, s);
    put_parts(out, s);
    if (last != NULL) {
        put_estimate(out, "policy_first", &last->first);
        put_estimate(out, "policy_other", &last->other);
    }
    json_out_map(out, "diversity");
    put_diversity(out, "first", &s->apart[0]);
    put_diversity(out, "last", &s->apart[1]);
    put_known(out, "frechet_first_last", s->frechet);
    json_out_end(out);
    put_watch(out, s);
    put_lists(out, s);
}
