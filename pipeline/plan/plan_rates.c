/* Rates from rank time. The accounts say what each group's ranks spent on an iteration
 * together; they are divided by what the iteration was made of. Where an account holds two
 * kinds of work (optimizer: gradients of micro-batches, steps; files of the update: read by
 * all, written by one), memory and files are taken to move at the rates below. */
#include "pipeline/plan/plan_rates.h"

#include "io/json_lines.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/plan/plan_sizes.h"
#include "scheduler/layout.h"
#include "stages/metric/summary.h"

#include <math.h>
#include <stdio.h>

static const double message_latency_s = 5e-6; /* one message between nodes */
static const double message_bandwidth = 1e9;  /* bytes per second and rank */
static const double letter_s = 20e-6;
static const double read_rate = 1e9;    /* bytes per second, with the digest */
static const double write_rate = 2e8;   /* the same, to the disk */
static const double file_s = 5e-3;      /* to seal a file, whatever its size */
static const double open_s = 3e-4;      /* to read a small one */
static const double memory_rate = 5e9;  /* bytes per second of a pass over a vector */
static const double row_bytes = 64; /* of a sample in the advantage file, which all read */
/* Passes over a vector of the parameters' length. */
enum { LEAF_PASSES = 4, STEP_PASSES = 10 };

enum { MOST_ITERATIONS = 1 << 20, MOST_RANKS = 10000000 };

enum part { WORKING, NETWORK, IO, COMMUNICATION, OPTIMIZER, VOTE, OTHER, ASKED, PARTS };
static const char *const part_name[PARTS] = {"working_s",       "network_s",   "io_s",
                                             "communication_s", "optimizer_s", "vote_s",
                                             "other_s",         "asked_s"};

/* Of each iteration: [n][GROUPS][PARTS]. */
struct accounts {
    int64_t n, room;
    double (*s)[GROUPS][PARTS];
};

double plan_sample_bytes(const struct plan *p)
{
    bool chain = (p->needs & NEEDS_TRAJECTORY) != 0;
    return 4.0 * (double)p->d * (double)(chain ? p->steps + 2 : 1) + 8.0 * (double)p->steps;
}

/* Seconds that can be true: records may have been written by anything. */
static bool seconds(const struct json *v, double *s)
{
    return json_to_f64(v, s) && *s >= 0 && *s < 1e12;
}

static void add_line(struct accounts *a, const struct json *line)
{
    const struct json *time = json_get(line, "rank_time");
    if (time == NULL || a->n == MOST_ITERATIONS)
        return;
    if (a->n == a->room) {
        int64_t room = 2 * a->room + 16;
        a->s = mem_resize(a->s, a->room, room, sizeof *a->s);
        a->room = room;
    }
    for (int g = 0; g < GROUPS; g++) {
        const struct json *group = json_get(time, group_name((enum group)g));
        for (int k = 0; k < PARTS; k++)
            if (group == NULL || (k != ASKED && !seconds(json_get(group, part_name[k]),
                                                         &a->s[a->n][g][k])))
                return; /* written before there were such accounts */
        if (!seconds(json_get(group, part_name[ASKED]), &a->s[a->n][g][ASKED]))
            a->s[a->n][g][ASKED] = 0;
    }
    a->n++;
}

static int read_accounts(struct accounts *a, const char *path)
{
    struct json *line;
    struct json_lines *lines = json_lines_open(path);
    if (lines == NULL)
        return -1;
    while ((line = json_lines_next(lines)) != NULL) {
        add_line(a, line);
        json_free(line);
    }
    json_lines_close(lines);
    return a->n > 0 ? 0
                    : err_set(ERR_INPUT,
                              "%s: has no line with rank_time: let the run finish an "
                              "iteration, or use --calibrate",
                              path);
}

static double median(const struct accounts *a, int g, int k)
{
    int64_t first = a->n >= 3, n = a->n - first; /* the first one meets cold caches */
    double *v = mem_alloc(n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = a->s[first + i][g][k];
    summary_sort(v, n);
    double m = summary_quantile(v, n, 0.5);
    mem_free(v);
    return m;
}

static bool count(const struct json *v, int64_t *n)
{
    return json_to_i64(v, n) && *n > 0 && *n <= MOST_RANKS;
}

/* Ranks of the groups, from accounting.json. */
static int read_sizes(struct plan_rates *r, const char *path, int64_t size[GROUPS])
{
    struct json *j = json_read(path, 1 << 20);
    if (j == NULL)
        return -1;
    bool good = count(json_get(j, "ranks"), &r->ranks);
    if (!count(json_get(j, "cores"), &r->cores))
        r->cores = 0; /* written before it was counted */
    const struct json *groups = json_get(j, "groups");
    for (int64_t i = 0; i < json_count(groups); i++) {
        enum group g;
        const struct json *one = json_item(groups, i);
        const char *name = json_text(json_get(one, "name"));
        if (name != NULL && group_from_name(name, &g))
            good = good && count(json_get(one, "ranks"), &size[g]);
    }
    json_free(j);
    for (int g = 0; g < GROUPS; g++)
        good = good && size[g] > 0 && size[g] <= r->ranks;
    return good ? 0 : err_set(ERR_INPUT, "%s: does not name the ranks of all groups", path);
}

static void divide(struct plan_rates *r, const struct plan *p, double s[GROUPS][PARTS],
                   const int64_t size[GROUPS])
{
    double samples = (double)p->samples, shards = (double)p->shards;
    double pairs = fmax((double)(p->epochs * p->samples * p->trained), 1);
    double steps = (double)p->optimizer_steps;
    double leaves = steps * (double)plan_parts(p->pairs, p->micro);
    const double *u = s[GROUP_UPDATE], *a = s[GROUP_ADVANTAGE], *w = s[GROUP_REWARD];
    const double *o = s[GROUP_ROLLOUT];
    r->evaluation_s = o[NETWORK] / (samples * (double)p->steps * plan_searched(p));
    r->rollout_shard_s = (o[IO] + o[COMMUNICATION]) / shards;
    r->rollout_sample_s = (o[OPTIMIZER] + o[OTHER]) / samples;
    r->reward_shard_s = (w[IO] + w[COMMUNICATION]) / shards;
    r->reward_sample_s = (w[NETWORK] + (w[ASKED] > 0 ? w[ASKED] : w[OTHER])) / samples;
    r->advantage_shard_s = fmin(a[IO] / shards, open_s);
    r->advantage_seal_s = a[IO] - shards * r->advantage_shard_s;
    r->advantage_s = fmax(a[WORKING] - a[IO] - a[VOTE], 0) / (double)size[GROUP_ADVANTAGE];
    r->pair_s = u[NETWORK] / pairs;
    r->pair_rest_s = u[OTHER] / pairs;
    double passes = leaves * LEAF_PASSES + steps * STEP_PASSES;
    r->leaf_s = u[OPTIMIZER] * LEAF_PASSES / fmax(passes, 1);
    r->step_s = u[OPTIMIZER] * STEP_PASSES / fmax(passes, 1);
    double load = (double)p->epochs * samples * plan_sample_bytes(p) / read_rate;
    double seal = file_s + 12 * (double)p->parameters / write_rate;
    r->pair_rest_s += u[IO] * load / (load + seal) / pairs;
    r->update_seal_s = u[IO] * seal / (load + seal);
    r->update_sample_s = row_bytes / read_rate;
    r->update_s = u[COMMUNICATION] / (double)size[GROUP_UPDATE];
}

static void set_constants(struct plan_rates *r)
{
    *r = (struct plan_rates){.latency_s = message_latency_s,
                             .bandwidth = message_bandwidth,
                             .letter_s = letter_s};
}

int plan_rates_read(struct plan_rates *r, const char *dir, const struct plan *run)
{
    struct accounts a = {0};
    double s[GROUPS][PARTS];
    int64_t size[GROUPS] = {0};
    struct text path = {0};
    set_constants(r);
    text_add(&path, "%s/accounting.json", dir);
    int rc = read_sizes(r, path.s, size);
    text_free(&path);
    text_add(&path, "%s/metrics.jsonl", dir);
    if (rc == 0)
        rc = read_accounts(&a, path.s);
    if (rc == 0) {
        for (int g = 0; g < GROUPS; g++)
            for (int k = 0; k < PARTS; k++)
                s[g][k] = median(&a, g, k);
        divide(r, run, s, size);
        r->iterations = a.n;
        r->threads = run->threads;
    }
    text_free(&path);
    mem_free(a.s);
    return rc;
}

/* A backward pass counts as two forward passes. */
static double passes(const struct plan *p)
{
    return p->flops * (double)(plan_walked(p) * (3 + plan_companions(p)));
}

void plan_rates_convert(struct plan_rates *r, const struct plan *run, const struct plan *p)
{
    if (run->flops <= 0)
        return;
    r->evaluation_s *= p->flops / run->flops;
    r->pair_s *= passes(p) / passes(run);
}

/* Seconds to score a sample of a micro-batch of noise. */
static int calibrate_reward(const struct plan *p, double *seconds)
{
    void *ctx = NULL;
    const struct reward_scene scene = {.channels = p->dim[0],
                                       .height = p->dim[1],
                                       .width = p->dim[2],
                                       .classes = p->classes,
                                       .coding = model_coding(p->model),
                                       .config = p->c};
    if (p->reward.open != NULL && p->reward.open(&scene, &ctx) != 0)
        return -1;
    int64_t n = p->micro;
    float *x = mem_alloc(n * p->d, sizeof *x);
    int64_t *label = mem_alloc(n, sizeof *label);
    struct reward_batch b = {.n = n,
                             .channels = p->dim[0],
                             .height = p->dim[1],
                             .width = p->dim[2],
                             .sample = x,
                             .label = p->classes > 0 ? label : NULL,
                             .score = mem_alloc(n, sizeof *b.score),
                             .status = mem_alloc(n, sizeof *b.status)};
    for (int64_t i = 0; i < n * p->d; i++)
        x[i] = (float)(rng_mix64((uint64_t)i) >> 40) / 8388608.0f - 1;
    double start = clock_s();
    int rc = p->reward.score(ctx, &b);
    *seconds = (clock_s() - start) / (double)n;
    if (p->reward.close != NULL)
        p->reward.close(ctx);
    mem_free(x);
    mem_free(label);
    mem_free(b.score);
    mem_free(b.status);
    return rc;
}

int plan_rates_calibrate(struct plan_rates *r, const struct plan *p)
{
    double forward, trained, bytes = plan_sample_bytes(p);
    double vector = 4 * (double)p->parameters;
    struct compute o = compute_of(p->c);
    o.threads = (int)p->threads;
    set_constants(r);
    if (probe_micro_batch(p->model, o, p->micro, &forward, &trained) != 0)
        return -1;
    if (!p->reward.remote && calibrate_reward(p, &r->reward_sample_s) != 0)
        return -1;
    r->evaluation_s = forward / (double)p->micro;
    r->pair_s = (double)plan_walked(p) *
                (trained / (double)p->micro + plan_companions(p) * r->evaluation_s);
    r->pair_rest_s = p->trained > 0 ? bytes / read_rate / (double)p->trained : 0;
    r->rollout_sample_s = bytes / write_rate;
    r->rollout_shard_s = r->reward_shard_s = file_s;
    r->advantage_shard_s = open_s;
    r->advantage_seal_s = file_s;
    r->leaf_s = LEAF_PASSES * vector / memory_rate;
    r->step_s = STEP_PASSES * vector / memory_rate;
    r->update_sample_s = row_bytes / read_rate;
    r->update_seal_s = file_s + 3 * vector / write_rate;
    return 0;
}
