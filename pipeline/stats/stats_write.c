/* The statistics as one sealed file, for programs that prefer arrays. */
#include "pipeline/stats/stats.h"

#include "io/shard.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

/* Columns along one axis: numbers found in structs of one kind. */
struct source {
    const char *name, *units, *long_name;
    double (*of)(const struct stats *s, int64_t i);
};

static double reward_mean(const struct stats *s, int64_t i)
{
    return s->iteration[i].reward.mean;
}
static double reward_std(const struct stats *s, int64_t i)
{
    return s->iteration[i].reward.std;
}
static double reward_median(const struct stats *s, int64_t i)
{
    return s->iteration[i].reward.median;
}
static double guard_mean(const struct stats *s, int64_t i)
{
    return s->iteration[i].guard.mean;
}
static double advantage_std(const struct stats *s, int64_t i)
{
    return moments_std(&s->iteration[i].advantage);
}
static double kl_path(const struct stats *s, int64_t i)
{
    return moments_mean(&s->iteration[i].kl_path);
}
static double first_size(const struct stats *s, int64_t i)
{
    return weights_size(&s->iteration[i].first);
}
static double constant_groups(const struct stats *s, int64_t i)
{
    return (double)s->iteration[i].constant;
}
static double log_prob_mean(const struct stats *s, int64_t k)
{
    return moments_mean(&s->step[k].log_prob);
}
static double kl_mean(const struct stats *s, int64_t k)
{
    return moments_mean(&s->step[k].kl);
}
static double ratio_mean(const struct stats *s, int64_t k)
{
    return moments_mean(&s->step[k].log_ratio);
}
static double ratio_std(const struct stats *s, int64_t k)
{
    return moments_std(&s->step[k].log_ratio);
}
static double step_first_size(const struct stats *s, int64_t k)
{
    return weights_size(&s->step[k].first);
}
static double step_other_size(const struct stats *s, int64_t k)
{
    return weights_size(&s->step[k].other);
}
static double prompt_mean(const struct stats *s, int64_t i)
{
    return moments_mean(&s->prompt[i].reward);
}
static double prompt_std(const struct stats *s, int64_t i)
{
    return moments_std(&s->prompt[i].reward);
}

static const struct source by_iteration[] = {
    {"reward_mean", "1", "mean reward", reward_mean},
    {"reward_std", "1", "standard deviation of the reward", reward_std},
    {"reward_median", "1", "median reward", reward_median},
    {"guard_mean", "1", "mean of reward.guard", guard_mean},
    {"advantage_std", "1", "standard deviation of the usable advantages",
     advantage_std},
    {"kl_path", "nat", "mean KL of a chain to policy 0", kl_path},
    {"effective_samples_first", "1", "effective sample size for policy 0", first_size},
    {"constant_groups", "1", "prompts whose rewards are all equal", constant_groups},
    {NULL, NULL, NULL, NULL},
};
static const struct source by_step[] = {
    {"log_prob_mean", "nat", "mean log-density of the transition", log_prob_mean},
    {"kl_reference_mean", "nat", "mean KL of the transition to policy 0's", kl_mean},
    {"log_ratio_mean", "nat", "mean log importance ratio of policy 0", ratio_mean},
    {"log_ratio_std", "nat", "its standard deviation", ratio_std},
    {"step_effective_samples_first", "1",
     "effective sample size up to the step, policy 0", step_first_size},
    {"step_effective_samples_policy", "1", "the same for the policy that was named",
     step_other_size},
    {NULL, NULL, NULL, NULL},
};
static const struct source by_prompt[] = {
    {"prompt_reward_mean", "1", "mean reward of the prompt", prompt_mean},
    {"prompt_reward_std", "1", "its standard deviation", prompt_std},
    {NULL, NULL, NULL, NULL},
};

static int put_numbers(struct shard_writer *w, const char *name, const char *axis,
                       const char *long_name, const int64_t *v, int64_t n)
{
    const struct column c = {.name = name,
                             .type = COLUMN_I64,
                             .nd = 1,
                             .dim = {n},
                             .axis = {axis},
                             .units = "1",
                             .long_name = long_name,
                             .data = v};
    return shard_put(w, &c);
}

static int put_table(struct shard_writer *w, const struct stats *s, const char *axis,
                     const struct source *from, int64_t n)
{
    double *v = mem_alloc(n, sizeof *v);
    int rc = 0;
    for (; from->name != NULL && rc == 0; from++) {
        for (int64_t i = 0; i < n; i++)
            v[i] = from->of(s, i);
        const struct column c = {.name = from->name,
                                 .type = COLUMN_F64,
                                 .nd = 1,
                                 .dim = {n},
                                 .axis = {axis},
                                 .units = from->units,
                                 .long_name = from->long_name,
                                 .data = v};
        rc = shard_put(w, &c);
    }
    mem_free(v);
    return rc;
}

static int put_axes(struct shard_writer *w, const struct stats *s)
{
    int64_t most = s->n > s->prompts ? s->n : s->prompts;
    int64_t *v = mem_alloc(most > s->steps ? most : s->steps, sizeof *v);
    for (int64_t i = 0; i < s->n; i++)
        v[i] = s->iteration[i].iteration;
    int rc = put_numbers(w, "iteration", "iteration", "iteration", v, s->n);
    for (int64_t i = 0; i < s->n; i++)
        v[i] = s->iteration[i].samples;
    if (rc == 0)
        rc =
            put_numbers(w, "samples", "iteration", "samples of the iteration", v, s->n);
    for (int64_t k = 0; k < s->steps; k++)
        v[k] = s->step[k].t;
    if (rc == 0 && s->steps > 0)
        rc = put_numbers(w, "t", "step", "training timestep", v, s->steps);
    for (int64_t i = 0; i < s->prompts; i++)
        v[i] = s->prompt[i].prompt_id;
    if (rc == 0)
        rc = put_numbers(w, "prompt_id", "prompt_id", "class label", v, s->prompts);
    mem_free(v);
    return rc;
}

static int put_counts(struct shard_writer *w, const struct stats *s)
{
    int64_t *v = mem_alloc(s->n * STATS_STATUSES, sizeof *v);
    for (int64_t i = 0; i < s->n; i++)
        for (int k = 0; k < STATS_STATUSES; k++)
            v[i * STATS_STATUSES + k] = s->iteration[i].status[k];
    const struct column c = {.name = "status_count",
                             .type = COLUMN_I64,
                             .nd = 2,
                             .dim = {s->n, STATS_STATUSES},
                             .axis = {"iteration", "status"},
                             .units = "1",
                             .long_name = "samples with the status",
                             .data = v};
    int rc = shard_put(w, &c);
    mem_free(v);
    double edge[STATS_BINS + 1];
    for (int k = 0; k <= STATS_BINS; k++)
        edge[k] = s->reward.min + k * ((s->reward.max - s->reward.min) / STATS_BINS);
    const struct column e = {.name = "histogram_edge",
                             .type = COLUMN_F64,
                             .nd = 1,
                             .dim = {STATS_BINS + 1},
                             .axis = {"edge"},
                             .units = "1",
                             .long_name = "edges of the histogram of rewards",
                             .data = edge};
    if (rc == 0)
        rc = shard_put(w, &e);
    return rc != 0 ? -1
                   : put_numbers(w, "histogram", "bin", "rewards between two edges",
                                 s->count, STATS_BINS);
}

int stats_write(const struct stats *s, const char *path)
{
    struct shard_head head = {.kind = SHARD_STATISTICS,
                              .iteration = s->iteration[s->n - 1].iteration,
                              .number = -1,
                              .policy_version = -1};
    snprintf(head.run_id, sizeof head.run_id, "%s", s->run_id);
    struct shard_writer *w = shard_create(path, &head);
    if (w == NULL)
        return -1;
    if (put_axes(w, s) != 0 || put_table(w, s, "iteration", by_iteration, s->n) != 0 ||
        (s->steps > 0 && put_table(w, s, "step", by_step, s->steps) != 0) ||
        put_table(w, s, "prompt_id", by_prompt, s->prompts) != 0 ||
        put_counts(w, s) != 0 || shard_note(w, "verdict", s->verdict) != 0) {
        shard_abort(w);
        return -1;
    }
    return shard_seal(w, NULL);
}
