/* Scoring after the fact. Ranks take units (shards, or blocks of given samples) in
 * turn; a unit's file depends on its samples alone, so neither the number of ranks nor
 * a restart shows. A file that is there is taken if it is of the same samples and
 * settings. */
#include "pipeline/measure/score.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/given.h"
#include "pipeline/measure/score_units.h"
#include "pipeline/source.h"
#include "pipeline/verify.h"
#include "pipeline/run/worker.h"
#include "stages/reward/scorer.h"
#include "stages/task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct algo no_algo = {.name = "score", .pairs = PAIRS_NOISED};

struct job {
    const struct score_options *o;
    const struct comm *all;
    bool run;           /* the source is a run directory */
    struct given given; /* else */
    struct coding coding;
    struct task task; /* as much of it as scoring needs */
    char *out, identity[DIGEST_HEX];
    struct score_unit *unit;
    int64_t units, first_open; /* first_open: units before it have their file */
    int64_t scored;
    double told; /* when progress was last told */
    double leave; /* worker_leave */
};

static double leave(void *ctx)
{
    struct job *j = ctx;
    return worker_leave(&j->leave, config_real(j->o->config, "reward.grace"));
}

static int look_for_signal(void)
{
    return worker_signal_caught()
               ? err_set(ERR_STOPPED, "stopped by a signal; the same command goes on")
               : 0;
}

/* Shape and coding of a run's samples: those of its network. */
static int open_network(struct job *j)
{
    struct source s;
    int64_t dim[3];
    if (source_open(&s, j->o->source, -1, false) != 0)
        return -1;
    model_sample_shape(s.model, dim);
    j->task.channels = dim[0];
    j->task.height = dim[1];
    j->task.width = dim[2];
    j->task.n_classes = model_classes(s.model);
    j->coding = *model_coding(s.model);
    source_close(&s);
    return 0;
}

static int open_given(struct job *j)
{
    struct given *g = &j->given;
    if (j->o->out == NULL)
        return err_set(ERR_USAGE, "--out: name the folder for the scores");
    if (given_open(g, j->o->source, j->o->labels, j->o->config) != 0)
        return -1;
    j->task.channels = g->channels;
    j->task.height = g->height;
    j->task.width = g->width;
    j->task.n_classes = g->labelled ? g->classes : 0;
    j->coding = g->coding;
    return 0;
}

static int open_reward(struct job *j)
{
    struct task *t = &j->task;
    const struct config *c = j->o->config;
    const char *cache = config_text(c, "reward.cache");
    char *memory = cache[0] != '\0'
                       ? mem_text(cache)
                       : text_new("%s/scores", j->run ? j->o->source : j->out);
    const struct reward_scene scene = {
        .channels = t->channels,
        .height = t->height,
        .width = t->width,
        .classes = t->n_classes,
        .coding = &j->coding,
        .config = c,
        .name = j->o->reward,
        .seed = t->seed,
        .scorers = j->all->size,
        .leave = leave,
        .idle_ctx = j,
        .memory = memory,
    };
    int rc = t->reward->open(&scene, &t->reward_ctx);
    mem_free(memory);
    if (rc == 0)
        scorer_identity(t->reward_ctx, j->identity);
    return rc;
}

static int open_job(struct job *j)
{
    struct task *t = &j->task;
    const struct config *c = j->o->config;
    *t = (struct task){.algo = &no_algo, .seed = (uint64_t)config_int(c, "run.seed")};
    config_digest(c, t->config_digest);
    if (j->o->reward == NULL && strcmp(config_origin(c, "reward.name"), "default") == 0)
        return err_set(ERR_USAGE, "which reward? Set --reward or reward.name");
    if (scorer_describe(c, j->o->reward, &t->own_reward) != 0)
        return -1;
    t->reward = &t->own_reward;
    j->run = verify_is_run(j->o->source);
    if (j->run && j->o->labels != NULL)
        return err_set(ERR_USAGE, "--labels: a run's samples have theirs");
    if ((j->run ? open_network(j) : open_given(j)) != 0)
        return -1;
    t->d = t->channels * t->height * t->width;
    j->out = j->o->out != NULL ? mem_text(j->o->out)
                               : text_new("%s/score/%s", j->o->source, t->reward->name);
    t->dir = j->out;
    if (strlen(j->out) > 3900)
        return err_set(ERR_USAGE, "--out: the path is too long");
    if (open_reward(j) != 0)
        return -1;
    return j->run
               ? score_units_of_run(j->o->source, &j->unit, &j->units)
               : score_units_of_given(&j->given, config_int(c, "rollout.shard_samples"),
                                      &j->unit, &j->units);
}

/* Says how far all ranks are, on rank 0 and not more than once in two seconds. */
static void tell(struct job *j, bool last)
{
    char path[4096];
    int64_t done = 0;
    if (j->all->rank != 0 || (!last && clock_s() < j->told + 2))
        return;
    for (int64_t i = 0; i < j->units; i++)
        done += file_exists(task_path(&j->task, j->unit[i].file, path));
    fprintf(stderr, "sluice score: %lld of %lld shards\n", (long long)done,
            (long long)j->units);
    j->told = clock_s();
}

static int score_units(struct job *j)
{
    const struct score_place place = {.source = j->o->source,
                                      .given = j->run ? NULL : &j->given,
                                      .identity = j->identity,
                                      .retry = j->o->retry};
    j->told = clock_s();
    for (int64_t i = j->all->rank; i < j->units; i += j->all->size) {
        if (look_for_signal() != 0)
            return -1;
        int done = score_unit(&j->task, &place, &j->unit[i]);
        if (done < 0)
            return -1;
        j->scored += done;
        tell(j, false);
    }
    return 0;
}

/* On rank 0: scores and statuses of all files, in order. */
static int gather(struct job *j, struct score_result *r)
{
    struct score_column all = {0};
    struct task *t = &j->task;
    int rc = 0;
    t->appear_s = 60;
    snprintf(r->reward, sizeof r->reward, "%s", t->reward->name);
    snprintf(r->units, sizeof r->units, "%s", t->reward->units);
    snprintf(r->out, sizeof r->out, "%s", j->out);
    for (int64_t i = 0; i < j->units && rc == 0; i++)
        rc = score_unit_read(t, &j->unit[i], &all);
    double *ok = mem_alloc(all.n, sizeof *ok);
    int64_t good = 0;
    for (int64_t i = 0; i < all.n; i++) {
        r->status[all.status[i] <= REWARD_NOT_ASKED ? all.status[i] : REWARD_FAILED]++;
        if (all.status[i] == REWARD_OK)
            ok[good++] = all.score[i];
    }
    r->shards = j->units;
    r->samples = all.n;
    r->summary = summary_of(ok, good);
    if (rc == 0 && j->o->csv != NULL)
        rc = score_units_csv(j->o->csv, j->unit, j->units, &all,
                             j->run ? NULL : (const char *const *)j->given.name);
    mem_free(ok);
    score_column_free(&all);
    return rc;
}

/* What the run's policy says of so many failures; a sample that is no valid object
 * counts as in a run. */
static int judge(const struct config *c, const struct score_result *r)
{
    const int64_t lost =
        r->samples - r->status[REWARD_OK] - r->status[REWARD_NOT_ASKED];
    const double most = config_real(c, "reward.max_failed_fraction");
    if (lost > 0 && config_is(c, "reward.on_failure", "stop"))
        return err_set(ERR_REWARD,
                       "%lld of %lld samples have no score (reward.on_failure)",
                       (long long)lost, (long long)r->samples);
    if ((double)lost > most * (double)r->samples)
        return err_set(ERR_REWARD,
                       "%lld of %lld samples have no score, more than "
                       "reward.max_failed_fraction = %g allows",
                       (long long)lost, (long long)r->samples, most);
    return 0;
}

static void close_job(struct job *j)
{
    struct task *t = &j->task;
    if (t->reward != NULL && t->reward_ctx != NULL)
        t->reward->close(t->reward_ctx);
    given_close(&j->given);
    mem_free(j->unit);
    mem_free(j->out);
}

int score_run(const struct score_options *o, const struct comm *all,
              struct score_result *r)
{
    struct job j = {.o = o, .all = all};
    *r = (struct score_result){0};
    int rc = comm_agree(all, open_job(&j));
    if (rc == 0)
        rc = comm_agree(all, score_units(&j));
    if (rc == 0)
        rc = comm_sum_i64(all, &j.scored, 1);
    if (rc == 0) {
        r->scored = j.scored;
        tell(&j, j.scored > 0);
        rc = comm_agree(all, all->rank == 0 ? gather(&j, r) : 0);
    }
    if (rc == 0)
        rc = comm_agree(all, all->rank == 0 ? judge(o->config, r) : 0);
    close_job(&j);
    return rc;
}
