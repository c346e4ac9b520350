/* sluice pretrain: denoising training on a data set. Its checkpoints are policy files in
 * run.dir (version = number of saves), its product is a model folder. */
#include "io/dataset.h"
#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/compute.h"
#include "pipeline/job.h"
#include "pipeline/placement.h"
#include "pipeline/run/prepare.h"
#include "pipeline/pretrain_data.h"
#include "pipeline/settings.h"
#include "pipeline/run/worker.h"
#include "stages/policy.h"
#include "stages/pretrain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "usage: sluice pretrain CONFIG [section.key=value ...] [--max-walltime TIME]\n"
    "       [--quiet]\n"
    "       mpirun -np N sluice pretrain ...\n\n"
    "Trains the network of pretrain.network (or goes on from model.path) on pretrain.data\n"
    "by denoising, with all ranks, and writes the averaged weights as a diffusers folder\n"
    "to pretrain.output. Checkpoints go to run.dir; the same command resumes, with any\n"
    "number of ranks and the same bits. `sluice config` explains the keys.\n";

struct job {
    const struct config *c;
    struct comm comm;
    struct task task;
    struct dataset data;
    struct pretrain_options options;
    double started, limit; /* clock; seconds of this job, 0 none */
    double longest;        /* step, or step and save, so far */
};

static void read_options(struct job *j)
{
    const struct config *c = j->c;
    j->options = (struct pretrain_options){
        .batch = config_int(c, "pretrain.batch"),
        .warmup = config_int(c, "pretrain.warmup"),
        .steps = config_int(c, "pretrain.steps"),
        .trainer = {.adamw = {.lr = config_real(c, "pretrain.lr"),
                              .beta1 = config_real(c, "update.beta1"),
                              .beta2 = config_real(c, "update.beta2"),
                              .eps = config_real(c, "update.eps"),
                              .weight_decay = config_real(c, "pretrain.weight_decay")},
                    .max_grad_norm = config_real(c, "pretrain.max_grad_norm")},
        .ema_decay = config_real(c, "pretrain.ema_decay"),
        .flip = config_bool(c, "pretrain.flip"),
        .label_dropout = config_real(c, "pretrain.label_dropout"),
    };
    j->limit = config_real(c, "run.max_walltime");
    const char *end = getenv("SLURM_JOB_END_TIME");
    double when;
    if (end != NULL && text_to_f64(end, &when) && when > (double)time(NULL)) {
        double left = when - (double)time(NULL) - 30;
        j->limit = j->limit > 0 ? fmin(j->limit, left) : fmax(left, 1);
    }
}

/* The network, and the data coded as it says; a new one learns their coding. */
static int open_model(struct job *j, const char *from, const char *network)
{
    struct task *t = &j->task;
    struct coding coding = {0};
    char *text = NULL;
    int rc = 0;
    if (network[0] != '\0') {
        text = pretrain_data_network(network, &coding);
        rc = text != NULL ? 0 : -1;
    } else {
        t->model = model_open(from, -1, true);
        rc = t->model != NULL ? 0 : -1;
        if (rc == 0)
            coding = *model_coding(t->model);
    }
    const bool known = coding.kind != CODING_NONE;
    if (rc == 0)
        rc = pretrain_data_read(j->c, "pretrain", &j->data, &coding);
    if (rc == 0 && config_bool(j->c, "pretrain.flip") &&
        (config_is(j->c, "pretrain.format", "text") || coding.kind != CODING_NONE))
        rc = err_set(ERR_USAGE,
                     "pretrain.flip: series and text are not mirrored; set false");
    if (rc == 0 && !known && coding.kind != CODING_NONE) {
        if (text == NULL) {
            rc = err_set(ERR_USAGE, "%s: its config.json has no \"data\", so these data "
                                    "cannot be coded for it",
                         from);
        } else {
            char *coded = coding_insert(&coding, text);
            mem_free(text);
            text = coded;
        }
    }
    if (rc == 0 && text != NULL) {
        t->model = model_new_text(text, network, t->seed);
        rc = t->model != NULL ? 0 : -1;
    }
    mem_free(text);
    return rc;
}

static int open_network(struct job *j)
{
    struct task *t = &j->task;
    const char *from = config_text(j->c, "model.path");
    const char *network = config_text(j->c, "pretrain.network");
    const char *scheduler = config_text(j->c, "pretrain.scheduler");
    char *beside = NULL;
    int64_t dim[3];
    if (from[0] == '\0' && network[0] == '\0')
        return err_set(ERR_USAGE, "set pretrain.network (a config.json) or model.path");
    if (open_model(j, from, network) != 0)
        return -1;
    if (scheduler[0] == '\0' && network[0] == '\0')
        scheduler = beside = model_scheduler_path(from);
    int rc = schedule_read(&t->schedule, scheduler[0] != '\0' ? scheduler : NULL);
    mem_free(beside);
    if (rc != 0 || pretrain_check(t->model, &j->data, &j->options) != 0)
        return -1;
    model_sample_shape(t->model, dim);
    t->channels = dim[0];
    t->height = dim[1];
    t->width = dim[2];
    t->d = dim[0] * dim[1] * dim[2];
    const struct compute o = compute_of(j->c);
    t->tape = compute_open(&o, &t->backend);
    return t->tape != NULL ? 0 : -1;
}

/* Where an earlier job stopped: *step optimizer steps are done. Collective in effect: all
 * ranks read the same files. */
static int restore(struct job *j, int64_t *step, int64_t *saves)
{
    struct task *t = &j->task;
    char rel[96], path[4096];
    int64_t *version, n, at, len;
    *step = *saves = 0;
    if (rundir_policies(t->dir, &version, &n) != 0)
        return -1;
    int64_t newest = n > 0 ? version[n - 1] : -1;
    mem_free(version);
    trainer_slice(t->trainer, &at, &len);
    if (newest < 0) {
        memcpy(trainer_ema(t->trainer), param_values(model_params(t->model)) + at,
               (size_t)len * sizeof(float));
        return 0;
    }
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, newest), path));
    int rc = p == NULL ? -1 : 0;
    if (rc == 0 && strcmp(policy_head(p)->config_digest, t->config_digest) != 0)
        rc = err_set(ERR_USAGE,
                     "%s: was made with another configuration; choose another run.dir",
                     path);
    if (rc == 0)
        rc = policy_weights(p, t->model, POLICY_WEIGHTS);
    if (rc == 0)
        rc = policy_counters(p, &t->counters);
    if (rc == 0)
        rc = policy_slice(p, POLICY_ADAM_M, at, len, trainer_m(t->trainer));
    if (rc == 0)
        rc = policy_slice(p, POLICY_ADAM_V, at, len, trainer_v(t->trainer));
    if (rc == 0)
        rc = policy_slice(p, POLICY_EMA, at, len, trainer_ema(t->trainer));
    if (rc == 0) {
        snprintf(t->run_id, sizeof t->run_id, "%s", policy_head(p)->run_id);
        *step = t->counters.optimizer_step;
        *saves = newest;
    }
    policy_close(p);
    return rc;
}

/* Seals a checkpoint and drops the one before the previous. Collective. */
static int save(struct job *j, int64_t step, int64_t save_number, float **ema_out)
{
    struct task *t = &j->task;
    int64_t n = param_total(model_params(t->model));
    float *whole = mem_alloc(3 * n, sizeof *whole);
    char rel[96], path[4096];
    int rc = trainer_whole(t->trainer, trainer_m(t->trainer), whole);
    if (rc == 0)
        rc = trainer_whole(t->trainer, trainer_v(t->trainer), whole + n);
    if (rc == 0)
        rc = trainer_whole(t->trainer, trainer_ema(t->trainer), whole + 2 * n);
    if (rc == 0 && j->comm.rank == 0) {
        struct policy_content p = {
            .vector = {param_values(model_params(t->model)), whole, whole + n,
                       whole + 2 * n},
            .counters = {.version = save_number, .optimizer_step = step,
                         .samples_total = step * j->options.batch, .ema_updates = step,
                         .best_version = -1},
        };
        for (int i = 0; i < METRICS; i++)
            p.metric[i] = NAN;
        rc = policy_write(t, &p, NULL);
        if (rc == 0 && save_number > 2)
            remove(task_path(t, rundir_policy(rel, save_number - 2), path));
    }
    rc = comm_agree(&j->comm, rc);
    if (rc == 0 && ema_out != NULL) {
        *ema_out = mem_alloc(n, sizeof **ema_out);
        memcpy(*ema_out, whole + 2 * n, (size_t)n * sizeof **ema_out);
    }
    mem_free(whole);
    return rc;
}

static int report_step(struct job *j, int64_t step, double loss, double norm)
{
    char now[32], path[4096];
    double s = clock_s() - j->started;
    if (j->comm.rank != 0)
        return 0;
    if (!config_bool(j->c, "run.quiet"))
        printf("step %lld/%lld  loss %.5f  |g| %.3f  %.0f s\n", (long long)step,
           (long long)j->options.steps, loss, norm, s);
    fflush(stdout);
    struct json_out *o = json_out_create();
    json_out_i64(o, "step", step);
    json_out_f64(o, "loss", loss);
    json_out_f64(o, "grad_norm", norm);
    json_out_f64(o, "session_s", s);
    json_out_text(o, "time", log_now(now));
    return json_out_append(o, task_path(&j->task, "metrics.jsonl", path));
}

/* Does any rank want to stop? Collective. */
static int stop_wanted(struct job *j, bool *yes)
{
    double margin = fmin(2 * j->longest + 1, j->limit / 2);
    bool late = j->limit > 0 && clock_s() - j->started > j->limit - margin;
    double v = worker_signal_caught() || late || rundir_flag(j->task.dir, "STOP");
    int rc = comm_max_f64(&j->comm, &v, 1);
    *yes = v > 0;
    if (rc == 0 && *yes && j->comm.rank == 0)
        rundir_clear_flag(j->task.dir, "STOP");
    return rc;
}

static int train(struct job *j)
{
    const struct config *c = j->c;
    int64_t step, saves, every = config_int(c, "pretrain.save_every");
    int64_t say = config_int(c, "pretrain.log_every"), since = 0;
    double loss, norm, sum = 0;
    float *ema = NULL;
    bool stop = false;
    if (comm_agree(&j->comm, restore(j, &step, &saves)) != 0)
        return -1;
    if (j->comm.rank == 0)
        printf("pretrain: %lld samples, %lld parameters, step %lld of %lld, %d ranks\n",
               (long long)j->data.n, (long long)param_total(model_params(j->task.model)),
               (long long)step, (long long)j->options.steps, j->comm.size);
    bool trained = step < j->options.steps;
    while (step < j->options.steps && !stop) {
        double began = clock_s();
        if (pretrain_step(&j->task, &j->comm, &j->data, &j->options, ++step, &loss,
                          &norm) != 0)
            return -1;
        sum += loss;
        since++;
        if (step % say == 0 || step == j->options.steps) {
            if (comm_agree(&j->comm, report_step(j, step, sum / (double)since, norm)) != 0)
                return -1;
            sum = 0;
            since = 0;
        }
        if (stop_wanted(j, &stop) != 0 ||
            ((step % every == 0 || stop) && step < j->options.steps &&
             save(j, step, ++saves, NULL) != 0))
            return -1;
        j->longest = fmax(j->longest, clock_s() - began);
    }
    if (step < j->options.steps)
        return err_set(ERR_STOPPED, "stopped early at step %lld; the same command resumes",
                       (long long)step);
    int rc;
    if (trained) {
        rc = save(j, step, saves + 1, &ema);
    } else { /* an earlier job finished: only the folder is written again */
        ema = mem_alloc(param_total(model_params(j->task.model)), sizeof *ema);
        rc = trainer_whole(j->task.trainer, trainer_ema(j->task.trainer), ema);
    }
    if (rc == 0 && j->comm.rank == 0)
        rc = model_export(j->task.model, ema, j->task.schedule.json,
                          config_text(c, "pretrain.output"));
    mem_free(ema);
    return comm_agree(&j->comm, rc);
}

static int set_up(struct job *j)
{
    struct task *t = &j->task;
    *t = (struct task){.dir = config_text(j->c, "run.dir"),
                       .seed = (uint64_t)config_int(j->c, "run.seed"),
                       .micro_batch = config_int(j->c, "model.micro_batch"),
                       .loaded_version = -1,
                       .counters = {.version = -1}};
    config_digest(j->c, t->config_digest);
    snprintf(t->run_id, sizeof t->run_id, "pretrain-%.16s", t->config_digest);
    read_options(j);
    if (t->dir[0] == '\0' || config_text(j->c, "pretrain.output")[0] == '\0')
        return err_set(ERR_USAGE, "set run.dir and pretrain.output");
    if (open_network(j) != 0)
        return -1;
    static const bool all[GROUPS] = {true, true, true, true};
    bool resumed;
    return j->comm.rank == 0 ? prepare_directory(t->dir, j->c, all, &resumed) : 0;
}

static int work(void *ctx, const struct comm *all)
{
    struct job *j = ctx;
    j->comm = *all;
    int rc = comm_agree(all, set_up(j));
    if (rc == 0) {
        j->task.trainer = trainer_create(&j->comm, model_params(j->task.model), true);
        rc = train(j);
    }
    if (rc == 0 && all->rank == 0)
        printf("model: %s\n", config_text(j->c, "pretrain.output"));
    dataset_free(&j->data);
    settings_close(&j->task);
    return rc;
}

int cmd_pretrain(int argc, char **argv)
{
    int code;
    struct config *c = arguments_job("pretrain", help, argc, argv, &code);
    if (c == NULL)
        return code;
    placement_quiet_threads(c, argv - 1);
    struct job j = {.c = c, .started = clock_s()};
    worker_catch_signals();
    code = job_run("pretrain", c, work, &j);
    config_destroy(c);
    return code;
}
