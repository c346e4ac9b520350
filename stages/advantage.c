/* advantage: waits for no one (the ledger grants it only when all reward shards of the
 * iteration are sealed); each rank reads a contiguous part of the shards, all gather, and
 * rank 0 computes the signal and seals it together with the tracker's state. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/mixing.h"
#include "stages/particles.h"
#include "stages/queries.h"
#include "stages/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_LEN = 64 };

/* One sample as it is gathered. */
struct row {
    double reward, bonus; /* bonus: of a learned reward; 0 without one */
    double guard, kl;     /* of the guard, of the chain; NaN: not stored */
    int64_t index, label;
    uint8_t status;
};

static bool knows_kl(const struct task *t)
{
    return (t->algo->needs & NEEDS_REFERENCE_DENSITY) != 0;
}

/* The guard's scores and the chains' KL to policy 0, where they are stored. */
static int read_watched(const struct task *t, struct shard *scores, struct shard *roll,
                        int64_t n, struct row *row)
{
    const int64_t steps = t->sampler.steps;
    double *guard = NULL, *kl = NULL;
    int rc = 0;
    if (t->guard != NULL &&
        (guard = shard_get(scores, "reward_guard", COLUMN_F64, 1, (int64_t[]){n}, NULL)) ==
            NULL)
        rc = -1;
    if (rc == 0 && knows_kl(t) &&
        (kl = shard_get(roll, "kl_reference", COLUMN_F64, 2, (int64_t[]){n, steps}, NULL)) ==
            NULL)
        rc = -1;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        row[i].guard = guard != NULL ? guard[i] : NAN;
        row[i].kl = kl != NULL ? 0 : NAN;
        for (int64_t k = 0; k < steps && kl != NULL; k++)
            row[i].kl += kl[i * steps + k];
    }
    mem_free(guard);
    mem_free(kl);
    return rc;
}

/* score: of the components, mixing_parts(t) of each sample. */
static int read_shard(struct task *t, int64_t iteration, int64_t shard, struct row *row,
                      double *score, struct shard_parent *parent)
{
    char rel[96];
    int64_t n = task_shard_size(t, shard);
    int rc = -1;
    double *reward = NULL, *bonus = NULL;
    int64_t *index = NULL, *label = NULL;
    uint8_t *status = NULL;
    struct shard *roll = NULL;
    rundir_reward(parent->path, iteration, shard);
    struct shard *in = task_open(t, parent->path, SHARD_REWARD);
    if (in == NULL)
        return -1;
    snprintf(parent->content, sizeof parent->content, "%s", shard_content(in));
    reward = shard_get(in, "reward", COLUMN_F64, 1, (int64_t[]){n}, NULL);
    index = shard_get(in, "sample_index", COLUMN_I64, 1, (int64_t[]){n}, NULL);
    status = shard_get(in, "status", COLUMN_U8, 1, (int64_t[]){n}, NULL);
    roll = task_open(t, rundir_rollout(rel, iteration, shard), SHARD_ROLLOUT);
    if (reward == NULL || index == NULL || status == NULL || roll == NULL)
        goto done;
    if (shard_has(in, "surrogate_bonus", NULL, NULL, NULL) &&
        (bonus = shard_get(in, "surrogate_bonus", COLUMN_F64, 1, (int64_t[]){n}, NULL)) ==
            NULL)
        goto done;
    if (shard_head(in)->parents < 1 ||
        strcmp(shard_head(in)->parent[0].content, shard_content(roll)) != 0) {
        err_set(ERR_INPUT,
                "%s: was scored from another rollout shard than the one in this "
                "directory; remove it and run the same command again",
                parent->path);
        goto done;
    }
    label = shard_get(roll, "prompt_id", COLUMN_I64, 1, (int64_t[]){n}, NULL);
    if (label == NULL)
        goto done;
    for (int64_t i = 0; i < n; i++) {
        if (index[i] != shard * t->shard_samples + i) {
            err_set(ERR_INPUT, "%s: sample_index is out of order", parent->path);
            goto done;
        }
        row[i] = (struct row){.reward = reward[i],
                              .bonus = bonus != NULL ? bonus[i] : 0, .index = index[i], .label = label[i],
                              .status = status[i]};
    }
    rc = read_watched(t, in, roll, n, row);
    if (rc == 0)
        rc = mixing_read(t, in, n, score);
done:
    shard_close(in);
    shard_close(roll);
    mem_free(reward);
    mem_free(bonus);
    mem_free(index);
    mem_free(label);
    mem_free(status);
    return rc;
}

static int read_part(struct task *t, int64_t iteration, int64_t first, int64_t last,
                     struct row *row, double *score, struct shard_parent *parent)
{
    for (int64_t s = first; s < last; s++) {
        if (task_progress(t, "advantage iteration %lld reads shard %lld",
                          (long long)iteration, (long long)s) != 0 ||
            read_shard(t, iteration, s, row + (s - first) * t->shard_samples,
                       score + (s - first) * t->shard_samples * mixing_parts(t),
                       parent + (s - first)) != 0)
            return -1;
    }
    return 0;
}

/* The tracker as the previous iteration left it. */
static int load_tracker(struct task *t, int64_t iteration, struct tracker *tracker,
                        struct shard_parent *parent)
{
    int64_t np = 0, stride = 0, dim[SHARD_MAX_ND], nd_values;
    rundir_advantage(parent->path, iteration - 1);
    struct shard *in = task_open(t, parent->path, SHARD_ADVANTAGE);
    if (in == NULL)
        return -1;
    snprintf(parent->content, sizeof parent->content, "%s", shard_content(in));
    char *text = shard_get_text(in, "tracker_key", &np, &stride);
    int64_t *length =
        shard_get(in, "tracker_length", COLUMN_I64, 1, (int64_t[]){np}, NULL);
    double *value = shard_get(in, "tracker_value", COLUMN_F64, 1, (int64_t[]){-1}, dim);
    int rc = -1;
    if (text != NULL && length != NULL && value != NULL) {
        const char **key = mem_alloc(np, sizeof *key);
        for (int64_t i = 0; i < np; i++)
            key[i] = text + i * stride;
        nd_values = dim[0];
        rc = tracker_restore(tracker, np, key, length, value, nd_values);
        mem_free(key);
    }
    shard_close(in);
    mem_free(text);
    mem_free(length);
    mem_free(value);
    return rc;
}

struct signal {
    double *reward, *bonus, *advantage, *guard, *kl;
    double *apart, *total; /* apart: NULL without a bonus; total: reward + apart */
    int64_t *index, *label, *version;
    uint8_t *status, *usable;
    const double *score; /* [samples, components] of a mixture */
    char *key_text;
    const char **key;
};

static void signal_free(struct signal *s)
{
    void *const all[] = {s->reward, s->bonus, s->advantage, s->index,    s->label, s->version,
                         s->status, s->usable, s->key_text, s->key,
                         s->guard,  s->kl,     s->apart,    s->total};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
}

static void signal_init(struct signal *s, const struct task *t, int64_t iteration,
                        const struct row *row)
{
    int64_t n = t->samples;
    s->reward = mem_alloc(n, sizeof *s->reward);
    s->bonus = mem_alloc(n, sizeof *s->bonus);
    s->advantage = mem_alloc(n, sizeof *s->advantage);
    s->guard = mem_alloc(n, sizeof *s->guard);
    s->apart = t->entropy.weight > 0 ? mem_alloc(n, sizeof *s->apart) : NULL;
    s->total = mem_alloc(n, sizeof *s->total);
    s->kl = mem_alloc(n, sizeof *s->kl);
    s->index = mem_alloc(n, sizeof *s->index);
    s->label = mem_alloc(n, sizeof *s->label);
    s->version = mem_alloc(n, sizeof *s->version);
    s->status = mem_alloc(n, 1);
    s->usable = mem_alloc(n, 1);
    s->key_text = mem_alloc(n * KEY_LEN, 1);
    s->key = mem_alloc(n, sizeof *s->key);
    for (int64_t i = 0; i < n; i++) {
        s->reward[i] = row[i].reward;
        s->guard[i] = row[i].guard;
        s->kl[i] = row[i].kl;
        s->bonus[i] = row[i].bonus;
        s->index[i] = row[i].index;
        s->label[i] = row[i].label;
        s->version[i] = task_version(t, iteration);
        s->status[i] = row[i].status;
        snprintf(s->key_text + i * KEY_LEN, KEY_LEN, "%lld", (long long)row[i].label);
        s->key[i] = s->key_text + i * KEY_LEN;
    }
}

/* A sample takes part where it has a reward; with drop_group where all samples of its
 * prompt have one. */
static void choose_usable(const struct task *t, struct signal *s)
{
    for (int64_t i = 0; i < t->samples; i++)
        s->usable[i] = s->status[i] == REWARD_OK;
    if (t->on_failure != FAILURE_DROP_GROUP)
        return;
    int64_t labels = 0;
    for (int64_t i = 0; i < t->samples; i++)
        labels = s->label[i] >= labels ? s->label[i] + 1 : labels;
    uint8_t *broken = mem_alloc(labels, 1);
    for (int64_t i = 0; i < t->samples; i++)
        broken[s->label[i]] |= !s->usable[i];
    for (int64_t i = 0; i < t->samples; i++)
        s->usable[i] = !broken[s->label[i]];
    mem_free(broken);
}

static int check_failures(const struct task *t, const struct signal *s)
{
    int64_t bad = 0, usable = 0, by[5] = {0};
    for (int64_t i = 0; i < t->samples; i++) {
        bad += s->status[i] != REWARD_OK;
        usable += s->usable[i];
        by[s->status[i] < 5 ? s->status[i] : 1]++;
    }
    if (bad == 0 ||
        (t->on_failure != FAILURE_STOP &&
         (double)bad <= t->max_failed_fraction * (double)t->samples && usable > 0))
        return 0;
    return err_set(ERR_REWARD,
                   "%lld of %lld samples have no reward (failed %lld, timed out %lld, "
                   "infeasible %lld, non-finite %lld): more than reward.on_failure and "
                   "reward.max_failed_fraction allow",
                   (long long)bad, (long long)t->samples, (long long)by[1],
                   (long long)by[2], (long long)by[3], (long long)by[4]);
}

static int put_tracker(struct shard_writer *w, const struct tracker *tracker)
{
    const char *const *key;
    const int64_t *length;
    const double *value;
    int64_t np = tracker_state(tracker, &key, &length, &value), total = 0;
    char *text = mem_alloc(np * KEY_LEN, 1);
    for (int64_t i = 0; i < np; i++) {
        snprintf(text + i * KEY_LEN, KEY_LEN, "%s", key[i]);
        total += length[i];
    }
    const struct column col[] = {
        {.name = "tracker_key", .type = COLUMN_TEXT, .nd = 1, .dim = {np},
         .axis = {"tracker_prompt"}, .units = "1", .data = text, .text_len = KEY_LEN,
         .long_name = "prompts of the per-prompt statistics, by first appearance"},
        {.name = "tracker_length", .type = COLUMN_I64, .nd = 1, .dim = {np},
         .axis = {"tracker_prompt"}, .units = "1", .data = length,
         .long_name = "rewards kept for each prompt"},
        {.name = "tracker_value", .type = COLUMN_F64, .nd = 1, .dim = {total},
         .axis = {"tracker_entry"}, .units = "1", .data = value,
         .long_name = "kept rewards, oldest first, prompt after prompt"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++)
        rc = shard_put(w, &col[i]);
    mem_free(text);
    return rc;
}

/* The advantage file's contents. */
struct result {
    const struct signal *signal;
    const struct tracker *tracker;
    const struct value *value; /* NULL: the method has no steps of its own */
    const struct queries *queries; /* NULL: the reward is not learned */
    struct shard_parent *parent;
    int64_t parents;
};

static int seal(struct task *t, int64_t iteration, const struct result *r)
{
    char rel[96], path[4096];
    int64_t n = t->samples;
    struct shard_head head =
        task_head(t, SHARD_ADVANTAGE, iteration, -1, task_version(t, iteration));
    head.parent = r->parent;
    head.parents = r->parents;
    const struct signal *s = r->signal;
    const struct column col[] = {
        {.name = "advantage", .type = COLUMN_F64, .units = "1", .data = s->advantage,
         .long_name = "advantage of the sample (0 where it is not usable)"},
        {.name = "reward", .type = COLUMN_F64, .units = t->reward->units,
         .data = s->reward, .long_name = "total reward"},
        {.name = "status", .type = COLUMN_U8, .units = "1", .data = s->status,
         .long_name = "0 ok, 1 failed, 2 timed out, 3 infeasible, 4 non-finite"},
        {.name = "usable", .type = COLUMN_U8, .units = "1", .data = s->usable,
         .long_name = "1 where the sample takes part in the update"},
        {.name = "prompt_id", .type = COLUMN_I64, .units = "1", .data = s->label,
         .long_name = "class label (0 where unconditional)"},
        {.name = "sample_index", .type = COLUMN_I64, .units = "1", .data = s->index,
         .long_name = "number of the sample in its iteration"},
        {.name = "policy_version", .type = COLUMN_I64, .units = "1", .data = s->version,
         .long_name = "version of the policy that made the sample"},
        {.name = "guard", .type = COLUMN_F64, .units = "1",
         .data = t->guard != NULL ? s->guard : NULL,
         .long_name = "the guard's score (NaN where it has none)"},
        {.name = "entropy_bonus", .type = COLUMN_F64, .units = t->reward->units,
         .data = s->apart,
         .long_name = "what the advantage's reward has more than the reward"},
        {.name = "kl_path", .type = COLUMN_F64, .units = "nat",
         .data = knows_kl(t) ? s->kl : NULL,
         .long_name = "KL of the sample's transitions to those of policy 0, summed"},
        {.name = "surrogate_bonus", .type = COLUMN_F64, .units = t->reward->units,
         .data = r->queries != NULL ? s->bonus : NULL,
         .long_name = "part of the reward that the learned one's uncertainty adds"},
    };
    struct shard_writer *w =
        shard_create(task_path(t, rundir_advantage(rel, iteration), path), &head);
    if (w == NULL)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++) {
        struct column c = col[i];
        c.nd = 1;
        c.dim[0] = n;
        c.axis[0] = "sample";
        if (c.data != NULL)
            rc = shard_put(w, &c);
    }
    if (rc == 0)
        rc = mixing_put(t, s->score, w);
    if (rc == 0)
        rc = put_tracker(w, r->tracker);
    if (rc == 0 && r->value != NULL)
        rc = value_put(r->value, w);
    if (rc == 0 && r->queries != NULL)
        rc = queries_put(r->queries, t, w);
    if (rc != 0) {
        shard_abort(w);
        return -1;
    }
    return shard_seal(w, NULL);
}

/* Rank 0: tracker, signal (unless there is a value) and seal. parent holds the reward
 * shards' digests and one free slot. */
static int finish(struct task *t, int64_t iteration, struct signal *s,
                  const struct value *value, const struct queries *queries,
                  struct shard_parent *parent)
{
    struct tracker *tracker = tracker_create(t->algo_options.tracker_buffer,
                                             t->algo_options.tracker_min_count);
    struct result r = {.signal = s,
                       .tracker = tracker,
                       .value = value,
                       .queries = queries,
                       .parent = parent,
                       .parents = t->shards};
    struct algo_signal a = {.n = t->samples,
                            .reward = s->total,
                            .prompt = s->key,
                            .usable = s->usable,
                            .advantage = s->advantage};
    int rc = 0;
    double start = task_now(t);
    if (iteration > 0)
        rc = load_tracker(t, iteration, tracker, &parent[r.parents++]);
    task_spend(t, TIME_IO, start);
    if (rc == 0 && value == NULL)
        rc = mixing_signal(t, s->score, tracker, &a);
    start = task_now(t);
    if (rc == 0)
        rc = seal(t, iteration, &r);
    task_spend(t, TIME_IO, start);
    tracker_destroy(tracker);
    return rc;
}

/* Everything from the gathered rows on. Collective. */
static int conclude(struct task *t, const struct comm *c, int64_t iteration,
                    const struct row *row, const double *score, struct shard_parent *parent)
{
    struct signal s = {.score = score};
    struct value *value = NULL;
    struct queries *queries = NULL;
    int rc = 0;
    signal_init(&s, t, iteration, row);
    if (t->learned != NULL) {
        const struct queries_samples samples = {s.reward, s.bonus, s.status};
        queries = queries_learn(t, c, iteration, &samples);
        rc = queries != NULL ? 0 : -1;
    }
    choose_usable(t, &s);
    if (rc == 0)
        rc = check_failures(t, &s);
    if (rc == 0 && s.apart != NULL)
        rc = particles_bonus(t, c, iteration, s.label, s.apart);
    memcpy(s.total, s.reward, (size_t)t->samples * sizeof *s.total);
    mixing_total(t, score, s.usable, s.total);
    for (int64_t i = 0; i < t->samples && s.apart != NULL; i++)
        s.total[i] += s.apart[i];
    if (rc == 0 && t->algo->steps != NULL) {
        const struct value_samples samples = {
            .reward = s.total, .prompt = s.key, .usable = s.usable, .label = s.label};
        value = value_estimate(t, c, iteration, &samples, s.advantage);
        rc = value != NULL ? 0 : -1;
    }
    if (rc == 0 && c->rank == 0)
        rc = finish(t, iteration, &s, value, queries, parent);
    double start = task_now(t);
    rc = comm_agree(c, rc);
    task_spend(t, TIME_WAITING, start);
    value_destroy(value);
    queries_destroy(queries);
    signal_free(&s);
    return rc;
}

int advantage_iteration(struct task *t, const struct comm *c, int64_t iteration)
{
    struct row *row = mem_alloc(t->samples, sizeof *row);
    struct shard_parent *parent = mem_alloc(t->shards + 1, sizeof *parent);
    int64_t *rows = mem_alloc(c->size, sizeof *rows);
    int64_t *files = mem_alloc(c->size, sizeof *files);
    int64_t my_first = t->shards * c->rank / c->size;
    int64_t my_last = t->shards * (c->rank + 1) / c->size;
    for (int64_t r = 0; r < c->size; r++) {
        int64_t a = t->shards * r / c->size, b = t->shards * (r + 1) / c->size;
        int64_t from = a * t->shard_samples, to = b * t->shard_samples;
        files[r] = b - a;
        rows[r] = (to < t->samples ? to : t->samples) -
                  (from < t->samples ? from : t->samples);
    }
    const int64_t parts = mixing_parts(t), my_row = my_first * t->shard_samples;
    double *score = mem_alloc(t->samples * parts, sizeof *score);
    double start = task_now(t);
    int rc = read_part(t, iteration, my_first, my_last, row + my_row, score + my_row * parts,
                       parent + my_first);
    start = task_spend(t, TIME_IO, start);
    rc = comm_agree(c, rc);
    start = task_spend(t, TIME_WAITING, start);
    if (rc == 0)
        rc = comm_gather_all(c, row + my_row, rows, sizeof *row, row);
    if (rc == 0 && parts > 0)
        rc = comm_gather_all(c, score + my_row * parts, rows,
                             (size_t)parts * sizeof *score, score);
    if (rc == 0)
        rc = comm_gather_all(c, parent + my_first, files, sizeof *parent, parent);
    task_spend(t, TIME_COMMUNICATION, start);
    if (rc == 0)
        rc = conclude(t, c, iteration, row, score, parent);
    mem_free(row);
    mem_free(score);
    mem_free(parent);
    mem_free(rows);
    mem_free(files);
    return rc;
}
