/* reward: scores the final samples of one rollout shard and seals scores and statuses. What
 * asks another program can run in a thread of its own, as it waits most of the time: that
 * thread has the scorers and the arrays of its batch, and touches nothing else that
 * changes. HDF5 and MPI stay with the rank's thread. */
#include "stages/task.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/queries.h"
#include "stages/reward/learned.h"
#include "stages/reward/scorer.h"
#include "stages/search/search.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define STATUS_WORDS \
    "0 ok, 1 failed, 2 timed out, 3 infeasible, 4 non-finite, 5 not asked"

struct scores {
    int64_t n;
    float *sample;
    int64_t *label, *index;
    double *score, *guard; /* guard: NULL without one */
    uint8_t *status;
    float *gradient; /* [n, d], where the method needs it */
    struct reward_part *part; /* of the components; NULL where nothing was asked */
    double *mean, *bonus; /* [n] parts of the score, where it is the learned reward's */
    struct shard_parent parent[2]; /* rollout, and the learned reward's file */
    int64_t parents;
    int64_t version, iteration, number, first; /* its policy; number of sample 0 */
    const char *source, *source_content; /* where there is no rollout file, or NULL */
    const char *identity;                /* of the scorer, or NULL */
    char trouble[REWARD_TROUBLE];
};

/* Takes over the shard's rollout; NULL: an error is pending. */
static int load(struct task *t, int64_t iteration, int64_t shard, struct shard *in,
                struct scores *s)
{
    int64_t n = task_shard_size(t, shard);
    int rc = -1;
    if (in == NULL)
        return -1;
    rundir_rollout(s->parent[0].path, iteration, shard);
    s->n = n;
    s->iteration = iteration;
    s->number = shard;
    s->first = shard * t->shard_samples;
    s->version = shard_head(in)->policy_version;
    snprintf(s->parent[0].content, DIGEST_HEX, "%s", shard_content(in));
    s->parents = 1;
    s->sample = shard_get(in, "final_sample", COLUMN_F32, 4,
                          (int64_t[]){n, t->channels, t->height, t->width}, NULL);
    s->label = shard_get(in, "prompt_id", COLUMN_I64, 1, (int64_t[]){n}, NULL);
    s->index = shard_get(in, "sample_index", COLUMN_I64, 1, (int64_t[]){n}, NULL);
    if (s->sample != NULL && s->label != NULL && s->index != NULL)
        rc = 0;
    shard_close(in);
    if (rc == 0 && t->learned != NULL && !learned_asks(t->learned, iteration)) {
        s->mean = mem_alloc(n, sizeof *s->mean);
        s->bonus = mem_alloc(n, sizeof *s->bonus);
        rc = queries_load(t, iteration - 1, &s->parent[s->parents++]);
    }
    return rc;
}

/* aside: in a thread (reward_begin). */
static int score(struct task *t, struct scores *s, bool aside)
{
    s->score = mem_alloc(s->n, sizeof *s->score);
    s->status = mem_alloc(s->n, sizeof *s->status);
    if ((algo_needs(t->algo, &t->algo_options) & NEEDS_REWARD_GRADIENT) != 0 &&
        t->learned == NULL) /* whose gradients the update takes itself */
        s->gradient = mem_alloc(s->n * t->d, sizeof *s->gradient);
    for (int64_t i = 0; i < s->n; i++)
        s->score[i] = NAN;
    struct reward_batch b = {
        .n = s->n,
        .channels = t->channels,
        .height = t->height,
        .width = t->width,
        .sample = s->sample,
        .label = t->n_classes > 0 ? s->label : NULL,
        .iteration = s->iteration,
        .first = s->first,
        .aside = aside,
        .trouble = s->trouble,
        .score = s->score,
        .status = s->status,
        .gradient = s->gradient,
    };
    int rc = 0;
    if (s->mean == NULL)
        b.part = s->part = scorer_parts_create(t->reward_ctx, s->n);
    if (t->learned == NULL)
        rc = t->reward->score(t->reward_ctx, &b);
    else if (s->mean == NULL)
        rc = queries_ask(t, &b);
    else
        queries_score(t, &b, s->mean, s->bonus);
    for (int64_t i = 0; i < s->n && rc == 0; i++) {
        if (s->status[i] == REWARD_OK && !isfinite(s->score[i]))
            s->status[i] = REWARD_NON_FINITE;
        if (s->status[i] != REWARD_OK)
            s->score[i] = NAN; /* a failed score is a status, never a number */
    }
    return rc;
}

/* The guard scores the same samples; what it cannot score is NaN and concerns nobody
 * else. */
static int score_guard(struct task *t, struct scores *s, bool aside)
{
    if (t->guard == NULL)
        return 0;
    uint8_t *status = mem_alloc(s->n, 1);
    s->guard = mem_alloc(s->n, sizeof *s->guard);
    const struct reward_batch b = {
        .n = s->n,
        .channels = t->channels,
        .height = t->height,
        .width = t->width,
        .sample = s->sample,
        .label = t->n_classes > 0 ? s->label : NULL,
        .iteration = s->iteration,
        .first = s->first,
        .aside = aside,
        .score = s->guard,
        .status = status,
    };
    int rc = t->guard->score(t->guard_ctx, &b);
    mem_free(status);
    return rc == 0 ? 0 : err_add("reward.guard");
}

/* The columns of one component: its score and, in a mixture, its status. */
static int put_part(const struct task *t, struct shard_writer *w, const struct scores *s,
                    int64_t k)
{
    const struct scorer_part *p = scorer_part(t->reward_ctx, k);
    char score[40], status[40];
    snprintf(score, sizeof score, "reward_%s", p->name);
    snprintf(status, sizeof status, "status_%s", p->name);
    const struct column col[] = {
        {.name = score, .type = COLUMN_F64, .nd = 1, .dim = {s->n}, .axis = {"sample"},
         .units = p->reward->units, .long_name = p->reward->help,
         .data = s->part[k].score},
        {.name = status, .type = COLUMN_U8, .nd = 1, .dim = {s->n}, .axis = {"sample"},
         .units = "1", .long_name = STATUS_WORDS, .data = s->part[k].status},
    };
    int rc = shard_put(w, &col[0]);
    return rc == 0 && scorer_mixes(t->reward_ctx) ? shard_put(w, &col[1]) : rc;
}

static int put_parts(const struct task *t, struct shard_writer *w, const struct scores *s)
{
    int rc = 0;
    for (int64_t k = 0; s->part != NULL && k < scorer_parts(t->reward_ctx) && rc == 0; k++)
        rc = put_part(t, w, s, k);
    return rc;
}

static int put_source(struct shard_writer *w, const struct scores *s)
{
    if (s->identity != NULL && s->identity[0] != '\0' &&
        shard_note(w, "scorer", s->identity) != 0)
        return -1;
    if (s->source == NULL)
        return 0;
    int rc = shard_note(w, "source", s->source);
    return rc == 0 ? shard_note(w, "source_content", s->source_content) : rc;
}

/* Trouble that another try has healed is none. */
static void tell_trouble(struct task *t, const struct scores *s)
{
    int64_t lost = 0;
    for (int64_t i = 0; i < s->n; i++)
        lost += s->status[i] == REWARD_FAILED || s->status[i] == REWARD_TIMED_OUT;
    snprintf(t->trouble, sizeof t->trouble, "%s", lost > 0 ? s->trouble : "");
}

static int seal(struct task *t, struct scores *s, const char *path)
{
    tell_trouble(t, s);
    struct shard_head head =
        task_head(t, SHARD_REWARD, s->iteration, s->number, s->version);
    head.parent = s->parent;
    head.parents = s->parents;
    const struct column col[] = {
        {.name = "reward", .type = COLUMN_F64, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = t->reward->units, .data = s->score,
         .long_name = "total reward (NaN where the status is not ok)"},
        {.name = "surrogate_mean", .type = COLUMN_F64, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = t->reward->units, .data = s->mean,
         .long_name = "learned reward without its bonus"},
        {.name = "surrogate_bonus", .type = COLUMN_F64, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = t->reward->units, .data = s->bonus,
         .long_name = "what its uncertainty adds"},
        {.name = "status", .type = COLUMN_U8, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = "1", .data = s->status,
         .long_name = STATUS_WORDS},
        {.name = "sample_index", .type = COLUMN_I64, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = "1", .data = s->index,
         .long_name = "number of the sample in its iteration"},
        {.name = "reward_guard", .type = COLUMN_F64, .nd = 1, .dim = {s->n},
         .axis = {"sample"}, .units = t->guard != NULL ? t->guard->units : "1",
         .data = s->guard,
         .long_name = "the guard's score, which enters no loss (NaN where it has none)"},
        {.name = "reward_gradient", .type = COLUMN_F32, .nd = 4,
         .dim = {s->n, t->channels, t->height, t->width},
         .axis = {"sample", "channel", "height", "width"}, .units = t->reward->units,
         .long_name = "d reward / d final sample (0 where the status is not ok)",
         .data = s->gradient, .chunk_first = true},
    };
    struct shard_writer *w = shard_create(path, &head);
    if (w == NULL)
        return -1;
    int rc = shard_note(w, "reward_name", t->reward->name);
    if (rc == 0)
        rc = put_source(w, s);
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++)
        if (col[i].data != NULL)
            rc = shard_put(w, &col[i]);
    if (rc == 0)
        rc = put_parts(t, w, s);
    if (rc != 0) {
        shard_abort(w);
        return -1;
    }
    return task_seal(t, w);
}

static void free_scores(const struct task *t, struct scores *s)
{
    mem_free(s->score);
    mem_free(s->guard);
    mem_free(s->status);
    mem_free(s->gradient);
    scorer_parts_free(s->part, t->reward_ctx);
    mem_free(s->mean);
    mem_free(s->bonus);
}

/* And what was read. */
static void free_all(const struct task *t, struct scores *s)
{
    mem_free(s->sample);
    mem_free(s->label);
    mem_free(s->index);
    free_scores(t, s);
}

int reward_rows(struct task *t, const struct reward_rows *r, const char *path)
{
    struct scores s = {
        .n = r->n,
        .sample = r->sample,
        .label = r->label,
        .index = r->index,
        .parents = r->parent != NULL,
        .version = r->version,
        .iteration = r->iteration,
        .number = r->number,
        .identity = r->identity,
        .first = r->n > 0 ? r->index[0] : 0,
        .source = r->source,
        .source_content = r->source_content,
    };
    if (r->parent != NULL)
        s.parent[0] = *r->parent;
    int rc = score(t, &s, false);
    if (rc == 0)
        rc = seal(t, &s, path);
    free_scores(t, &s);
    return rc;
}

int reward_shard(struct task *t, int64_t iteration, int64_t shard)
{
    char rel[96], path[4096];
    struct scores s = {0};
    int rc = task_progress(t, "reward iteration %lld shard %lld", (long long)iteration,
                           (long long)shard);
    double start = task_now(t);
    if (rc == 0)
        rc = load(t, iteration, shard,
                  task_open(t, rundir_rollout(rel, iteration, shard), SHARD_ROLLOUT), &s);
    task_spend(t, TIME_IO, start);
    if (rc == 0)
        rc = score(t, &s, false);
    if (rc == 0)
        rc = score_guard(t, &s, false);
    start = task_now(t);
    if (rc == 0)
        rc = seal(t, &s, task_path(t, rundir_reward(rel, iteration, shard), path));
    task_spend(t, TIME_IO, start);
    free_all(t, &s);
    return rc;
}

int64_t reward_unanswered(struct shard *s)
{
    int64_t dim[SHARD_MAX_ND], failed = 0;
    uint8_t *status = shard_get(s, "status", COLUMN_U8, 1, NULL, dim);
    for (int64_t i = 0; status != NULL && i < dim[0]; i++)
        failed += status[i] == REWARD_FAILED || status[i] == REWARD_TIMED_OUT;
    mem_free(status);
    return status != NULL ? failed : -1;
}

struct scoring {
    struct task *task;
    int64_t iteration, shard;
    struct scores scores;
    pthread_t thread;
    bool threaded;
    atomic_bool over;
    enum err_code code;
    char text[1024];
};

bool reward_aside(const struct task *t)
{
    const struct reward *r = t->reward, *g = t->guard;
    return r != NULL && (r->remote || (g != NULL && g->remote)) &&
           !(r->remote && r->own_thread) && !(g != NULL && g->remote && g->own_thread) &&
           t->learned == NULL && !search_acts(&t->search);
}

bool reward_visible(const struct task *t, int64_t iteration, int64_t shard)
{
    char rel[96], path[4096];
    return file_exists(task_path(t, rundir_rollout(rel, iteration, shard), path));
}

/* What asks another program; the rest the rank's own thread has scored. */
static void *run(void *ctx)
{
    struct scoring *g = ctx;
    struct task *t = g->task;
    int rc = t->reward->remote ? score(t, &g->scores, g->threaded) : 0;
    if (rc == 0 && t->guard != NULL && t->guard->remote)
        rc = score_guard(t, &g->scores, g->threaded);
    if (rc != 0) {
        g->code = err_code();
        snprintf(g->text, sizeof g->text, "%s", err_text());
        err_clear();
    }
    atomic_store(&g->over, true);
    return NULL;
}

/* Signals are left to the rank's first thread. */
static void start_thread(struct scoring *g)
{
    sigset_t all, before;
    sigfillset(&all);
    g->threaded = true;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&g->thread, NULL, run, g) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        return;
    g->threaded = false;
    run(g);
}

struct scoring *reward_begin(struct task *t, int64_t iteration, int64_t shard)
{
    struct scoring *g = mem_alloc(1, sizeof *g);
    char rel[96], path[4096];
    double start = task_now(t);
    g->task = t;
    g->iteration = iteration;
    g->shard = shard;
    atomic_init(&g->over, false);
    task_path(t, rundir_rollout(rel, iteration, shard), path);
    int rc = load(t, iteration, shard, shard_open(path, SHARD_ROLLOUT), &g->scores);
    task_spend(t, TIME_IO, start);
    if (rc == 0 && !t->reward->remote)
        rc = score(t, &g->scores, false);
    if (rc == 0 && t->guard != NULL && !t->guard->remote)
        rc = score_guard(t, &g->scores, false);
    if (rc == 0) {
        start_thread(g);
        return g;
    }
    free_all(t, &g->scores);
    mem_free(g);
    return NULL;
}

bool reward_over(const struct scoring *s)
{
    return atomic_load(&s->over);
}

int reward_end(struct scoring *s)
{
    char rel[96], path[4096];
    if (s->threaded)
        pthread_join(s->thread, NULL);
    int rc = s->code == ERR_NONE ? 0 : err_set(s->code, "%s", s->text);
    double start = task_now(s->task);
    if (rc == 0)
        rc = seal(s->task, &s->scores,
                  task_path(s->task, rundir_reward(rel, s->iteration, s->shard), path));
    task_spend(s->task, TIME_IO, start);
    free_all(s->task, &s->scores);
    mem_free(s);
    return rc;
}
