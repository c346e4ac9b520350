/* Walks over a run: iteration by iteration, shard by shard. Rewards are read twice, the
 * second time for the histogram, whose range the first reading finds. */
#include "pipeline/stats/stats_internal.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/metrics_log.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_VALUES = 1 << 18 };

/* Scalars of one iteration's samples. */
struct gathered {
    struct scored {
        double reward, guard;
        int64_t prompt_id;
    } * row;
    int64_t n, cap;
};

static char *sub_path(const char *dir, const char *kind, int64_t iteration)
{
    return text_new("%s/%s/i%06lld", dir, kind, (long long)iteration);
}

static void rows_free(struct stats_rows *r)
{
    mem_free(r->reward);
    mem_free(r->guard);
    mem_free(r->status);
    mem_free(r->index);
    mem_free(r->prompt_id);
    mem_free(r->prompt);
}

static bool column_is(struct shard *f, const char *name, enum column_type type,
                      int64_t n)
{
    enum column_type has;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    return shard_has(f, name, &has, &nd, dim) && has == type && nd == 1 && dim[0] == n;
}

static int rows_read(struct stats_rows *r, struct shard *f)
{
    const int64_t any = -1;
    int64_t dim[SHARD_MAX_ND];
    r->reward = shard_get(f, "reward", COLUMN_F64, 1, &any, dim);
    r->n = r->reward == NULL ? 0 : dim[0];
    r->status = shard_get(f, "status", COLUMN_U8, 1, &r->n, NULL);
    r->index = shard_get(f, "sample_index", COLUMN_I64, 1, &r->n, NULL);
    if (r->reward == NULL || r->status == NULL || r->index == NULL)
        return -1;
    r->prompt_id = mem_alloc(r->n, sizeof *r->prompt_id);
    if (column_is(f, "reward_guard", COLUMN_F64, r->n)) {
        r->guard = shard_get(f, "reward_guard", COLUMN_F64, 1, &r->n, NULL);
        if (r->guard == NULL)
            return -1;
    }
    return 0;
}

/* Index of a component, a new one for a new name; -1 where there are too many. */
static int64_t part_of(struct stats *s, const char *name)
{
    for (int64_t k = 0; k < s->parts; k++)
        if (strcmp(s->part[k], name) == 0)
            return k;
    if (s->parts == STATS_PARTS)
        return -1;
    s->part[s->parts] = mem_text(name);
    return s->parts++;
}

static int take_parts(struct stats *s, struct stats_iteration *it,
                      const struct stats_rows *r, struct shard *f)
{
    char **name;
    int64_t n = shard_columns(f, &name);
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        if (strncmp(name[i], "reward_", 7) != 0 ||
            strcmp(name[i], "reward_guard") == 0 ||
            !column_is(f, name[i], COLUMN_F64, r->n))
            continue;
        int64_t k = part_of(s, name[i] + 7);
        double *v = k < 0 ? NULL : shard_get(f, name[i], COLUMN_F64, 1, &r->n, NULL);
        rc = k >= 0 && v == NULL ? -1 : 0;
        for (int64_t j = 0; j < r->n && v != NULL; j++) {
            moments_add(&it->part[k], v[j]);
            moments_add(&s->all_part[k], v[j]);
            pairs_add(&it->reward_part[k], r->reward[j], v[j]);
            pairs_add(&s->reward_part[k], r->reward[j], v[j]);
        }
        mem_free(v);
    }
    file_list_free(name, n);
    return rc;
}

/* Keeps the STATS_BEST samples of the largest sign * reward, the earlier of equal ones.
 */
static void keep(struct stats_sample *list, int64_t *n, double sign,
                 const struct stats_rows *r, int64_t i)
{
    int64_t at = *n;
    while (at > 0 && sign * r->reward[i] > sign * list[at - 1].reward)
        at--;
    if (at == STATS_BEST)
        return;
    *n += *n < STATS_BEST;
    memmove(list + at + 1, list + at, (size_t)(*n - 1 - at) * sizeof *list);
    list[at] = (struct stats_sample){
        .reward = r->reward[i],
        .guard = r->guard != NULL ? r->guard[i] : NAN,
        .iteration = r->iteration,
        .shard = r->shard,
        .row = i,
        .index = r->index[i],
        .prompt_id = r->prompt_id[i],
    };
    if (r->prompt != NULL)
        snprintf(list[at].prompt, sizeof list[at].prompt, "%s",
                 r->prompt + i * r->prompt_len);
}

static void take_rows(struct stats *s, struct stats_iteration *it,
                      const struct stats_rows *r, struct gathered *g)
{
    if (g->n + r->n > g->cap) {
        int64_t more = (g->n + r->n) * 2;
        g->row = mem_resize(g->row, g->cap, more, sizeof *g->row);
        g->cap = more;
    }
    for (int64_t i = 0; i < r->n; i++) {
        uint8_t status = r->status[i] < STATS_STATUSES ? r->status[i] : REWARD_FAILED;
        double guard = r->guard != NULL ? r->guard[i] : NAN;
        it->status[status]++;
        s->status[status]++;
        moments_add(&s->guard, guard);
        pairs_add(&it->reward_guard, r->reward[i], guard);
        g->row[g->n++] = (struct scored){r->reward[i], guard, r->prompt_id[i]};
        if (!isfinite(r->reward[i]))
            continue;
        moments_add(&s->reward, r->reward[i]);
        keep(s->best, &s->bests, 1, r, i);
        keep(s->worst, &s->worsts, -1, r, i);
    }
    it->samples += r->n;
    s->samples += r->n;
}

static int read_shard(struct stats *s, struct stats_iteration *it, const char *reward,
                      const char *rollout, struct gathered *g,
                      struct stats_policy *other, int64_t number)
{
    struct stats_rows r = {.iteration = it->iteration, .shard = number};
    struct shard *f = shard_open(reward, SHARD_REWARD);
    int rc = f == NULL ? -1 : rows_read(&r, f);
    if (rc == 0)
        snprintf(s->run_id, sizeof s->run_id, "%s", shard_head(f)->run_id);
    if (rc == 0 && file_exists(rollout)) {
        struct shard *chain = shard_open(rollout, SHARD_ROLLOUT);
        rc = chain == NULL ? -1 : stats_chain_read(s, it, &r, chain, other);
        shard_close(chain);
        s->bytes += file_size(rollout);
    }
    if (rc == 0)
        rc = take_parts(s, it, &r, f);
    if (rc == 0)
        take_rows(s, it, &r, g);
    s->bytes += file_size(reward);
    shard_close(f);
    rows_free(&r);
    return rc;
}

static int by_prompt(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->prompt_id > y->prompt_id) - (x->prompt_id < y->prompt_id);
}

static int by_id(const void *a, const void *b)
{
    const struct stats_prompt *x = a, *y = b;
    return (x->prompt_id > y->prompt_id) - (x->prompt_id < y->prompt_id);
}

/* Adds the rows, sorted by prompt, to their prompts' statistics. Prompts that are new come
 * behind the others and are sorted in at the end. */
static void take_prompts(struct stats *s, const struct gathered *g, int64_t groups)
{
    const int64_t known = s->prompts;
    s->prompt = mem_resize(s->prompt, known, known + groups, sizeof *s->prompt);
    for (int64_t i = 0, end; i < g->n; i = end) {
        const struct stats_prompt key = {.prompt_id = g->row[i].prompt_id};
        struct stats_prompt *p =
            known == 0 ? NULL
                       : bsearch(&key, s->prompt, (size_t)known, sizeof key, by_id);
        if (p == NULL) {
            p = &s->prompt[s->prompts++];
            *p = key;
        }
        for (end = i; end < g->n && g->row[end].prompt_id == key.prompt_id; end++)
            moments_add(&p->reward, g->row[end].reward);
    }
    s->prompt = mem_resize(s->prompt, known + groups, s->prompts, sizeof *s->prompt);
    if (s->prompts > 1)
        qsort(s->prompt, (size_t)s->prompts, sizeof *s->prompt, by_id);
}

/* Groups of an iteration, and the quantiles. */
static void finish_iteration(struct stats *s, struct stats_iteration *it,
                             struct gathered *g)
{
    double *reward = mem_alloc(g->n, sizeof *reward),
           *guard = mem_alloc(g->n, sizeof *guard);
    int64_t rewards = 0, guards = 0;
    if (g->n > 1)
        qsort(g->row, (size_t)g->n, sizeof *g->row, by_prompt);
    for (int64_t i = 0, end; i < g->n; i = end) {
        struct moments m = {0};
        for (end = i; end < g->n && g->row[end].prompt_id == g->row[i].prompt_id; end++)
            moments_add(&m, g->row[end].reward);
        it->groups++;
        if (m.n > 1)
            moments_add(&it->group_std, moments_std(&m));
        it->constant += m.n > 1 && m.min == m.max;
    }
    take_prompts(s, g, it->groups);
    for (int64_t i = 0; i < g->n; i++) {
        if (isfinite(g->row[i].reward))
            reward[rewards++] = g->row[i].reward;
        if (isfinite(g->row[i].guard))
            guard[guards++] = g->row[i].guard;
    }
    it->reward = summary_of(reward, rewards);
    it->guard = summary_of(guard, guards);
    mem_free(reward);
    mem_free(guard);
}

static int take_step_advantages(struct stats *s, struct shard *f, const uint8_t *usable,
                                int64_t n)
{
    enum column_type type;
    int nd, rc = 0;
    int64_t dim[SHARD_MAX_ND];
    if (!shard_has(f, "step_advantage", &type, &nd, dim) || type != COLUMN_F64 ||
        nd != 2 || dim[0] != n || dim[1] != s->steps || s->steps < 1)
        return 0;
    const int64_t most = BLOCK_VALUES / s->steps;
    double *block = mem_alloc((n < most ? n : most) * s->steps, sizeof *block);
    for (int64_t at = 0; at < n && rc == 0; at += most) {
        int64_t rows = n - at < most ? n - at : most;
        rc = shard_get_rows(f, "step_advantage", COLUMN_F64, at, rows, block);
        for (int64_t i = 0; i < rows * s->steps && rc == 0; i++)
            if (usable[at + i / s->steps] && s->step[i % s->steps].live)
                moments_add(&s->step[i % s->steps].advantage, block[i]);
    }
    mem_free(block);
    return rc;
}

static int read_advantage(struct stats *s, struct stats_iteration *it, const char *dir)
{
    char rel[96], *path = rundir_path(dir, rundir_advantage(rel, it->iteration));
    const int64_t any = -1;
    int64_t n = 0, dim[SHARD_MAX_ND] = {0};
    int rc = 0;
    if (file_exists(path)) {
        struct shard *f = shard_open(path, SHARD_ADVANTAGE);
        double *v =
            f == NULL ? NULL : shard_get(f, "advantage", COLUMN_F64, 1, &any, dim);
        n = v == NULL ? 0 : dim[0];
        uint8_t *usable =
            v == NULL ? NULL : shard_get(f, "usable", COLUMN_U8, 1, &n, NULL);
        rc = usable == NULL ? -1 : take_step_advantages(s, f, usable, n);
        for (int64_t i = 0; i < n && rc == 0; i++) {
            if (!usable[i])
                continue;
            it->usable++;
            moments_add(&it->advantage, v[i]);
            moments_add(&s->advantage, v[i]);
            s->advantage_zero += v[i] == 0;
        }
        mem_free(usable);
        mem_free(v);
        shard_close(f);
        s->bytes += file_size(path);
    }
    mem_free(path);
    return rc;
}

static int read_iteration(const struct stats_options *o, struct stats *s,
                          struct stats_iteration *it, struct stats_policy *other)
{
    char **name, *reward = sub_path(o->dir, "reward", it->iteration);
    char *rollout = sub_path(o->dir, "rollout", it->iteration);
    struct gathered g = {0};
    int64_t n = 0;
    int rc = file_list(reward, "s", ".h5", &name, &n);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        char *a = rundir_path(reward, name[i]), *b = rundir_path(rollout, name[i]);
        rc = read_shard(s, it, a, b, &g, other, strtoll(name[i] + 1, NULL, 10));
        mem_free(a);
        mem_free(b);
    }
    if (rc == 0)
        finish_iteration(s, it, &g);
    if (rc == 0)
        rc = read_advantage(s, it, o->dir);
    file_list_free(name, n);
    mem_free(g.row);
    mem_free(reward);
    mem_free(rollout);
    return rc;
}

static int count_rewards(const struct stats_options *o, struct stats *s)
{
    double low = s->reward.min, width = (s->reward.max - low) / STATS_BINS;
    int rc = 0;
    for (int64_t k = 0; k < s->n && rc == 0 && s->reward.n > 0; k++) {
        char **name, *dir = sub_path(o->dir, "reward", s->iteration[k].iteration);
        const int64_t any = -1;
        int64_t files = 0, dim[SHARD_MAX_ND];
        rc = file_list(dir, "s", ".h5", &name, &files);
        for (int64_t i = 0; i < files && rc == 0; i++) {
            char *path = rundir_path(dir, name[i]);
            struct shard *f = shard_open(path, SHARD_REWARD);
            double *v =
                f == NULL ? NULL : shard_get(f, "reward", COLUMN_F64, 1, &any, dim);
            rc = v == NULL ? -1 : 0;
            for (int64_t j = 0; rc == 0 && j < dim[0]; j++) {
                double bin = width > 0 ? floor((v[j] - low) / width) : 0;
                if (isfinite(v[j]))
                    s->count[bin < 0            ? 0
                             : bin < STATS_BINS ? (int)bin
                                                : STATS_BINS - 1]++;
            }
            mem_free(v);
            shard_close(f);
            mem_free(path);
        }
        file_list_free(name, files);
        mem_free(dir);
    }
    return rc;
}

/* Iterations with a folder of rewards, in [first, last], ascending. */
static int list_iterations(const struct stats_options *o, struct stats *s)
{
    char **name, *dir = rundir_path(o->dir, "reward"), digits[24];
    int64_t n, number;
    int rc = file_list(dir, "i", "", &name, &n);
    s->iteration = mem_alloc(n, sizeof *s->iteration);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        snprintf(digits, sizeof digits, "%s", name[i] + 1);
        if (text_to_i64(digits, &number) && number >= o->first && number <= o->last)
            s->iteration[s->n++].iteration = number;
    }
    if (rc == 0 && s->n == 0)
        rc = err_set(
            ERR_INPUT,
            "%s: holds no reward shards of these iterations; is it a run directory, "
            "and did run.keep_shards keep them?",
            o->dir);
    file_list_free(name, n);
    mem_free(dir);
    return rc;
}

static int read_metrics(const struct stats_options *o, struct stats *s)
{
    struct metrics_log m;
    char *path = rundir_path(o->dir, "metrics.jsonl");
    int rc = metrics_log_read(&m, path);
    for (int64_t i = 0; i < s->n && rc == 0; i++) {
        struct stats_iteration *it = &s->iteration[i];
        int64_t row = metrics_log_row(&m, it->iteration);
        it->approx_kl = metrics_log_value(&m, row, "approx_kl");
        it->clip_fraction = metrics_log_value(&m, row, "clip_fraction");
        it->ratio_absdev_max = metrics_log_value(&m, row, "ratio_absdev_max");
    }
    metrics_log_free(&m);
    mem_free(path);
    return rc;
}

int stats_read(const struct stats_options *o, struct stats *s)
{
    struct stats_policy *other = NULL;
    *s = (struct stats){.frechet = NAN};
    int rc = list_iterations(o, s);
    if (rc == 0 && o->policy != NULL)
        rc = (other = stats_policy_open(o->dir, o->policy)) == NULL ? -1 : 0;
    for (int64_t i = 0; i < s->n && rc == 0; i++)
        rc = read_iteration(o, s, &s->iteration[i], other);
    stats_policy_close(other);
    if (rc == 0)
        rc = read_metrics(o, s);
    if (rc == 0)
        rc = count_rewards(o, s);
    if (rc == 0)
        rc = stats_apart(o, s);
    if (rc == 0)
        rc = stats_decode(o, s);
    if (rc == 0)
        stats_watch(s);
    else
        stats_free(s);
    return rc;
}

void stats_free(struct stats *s)
{
    for (int64_t k = 0; k < s->parts; k++)
        mem_free(s->part[k]);
    mem_free(s->iteration);
    mem_free(s->step);
    mem_free(s->prompt);
    *s = (struct stats){0};
}
