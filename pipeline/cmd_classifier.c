/* sluice classifier: trains p(y | x) on offline data and calibrates it. It takes seconds to
 * minutes and keeps no checkpoint: its product is a folder that is written at the end. */
#include "io/dataset.h"
#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/compute.h"
#include "pipeline/job.h"
#include "pipeline/placement.h"
#include "pipeline/pretrain_data.h"
#include "pipeline/schema.h"
#include "stages/classify.h"
#include "stages/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice classifier CONFIG [section.key=value ...]\n"
    "       mpirun -np N sluice classifier ...\n\n"
    "Trains a classifier p(y | x) on classifier.data and classifier.labels (several labels:\n"
    "one head each), or a corruption detector with classifier.corrupt=true, with all ranks;\n"
    "calibrates a temperature per head on samples set apart, and writes the folder\n"
    "classifier.output, which reward.classifier takes. With model.path the data are coded as\n"
    "that network's. The same bits for any number of ranks. `sluice config` explains the "
    "keys.\n";

struct job {
    const struct config *c;
    struct comm comm;
    struct dataset data;
    struct coding coding;
    struct classifier *net;
    struct tape *tape;
    struct classify *training;
    struct classify_options options;
    struct calibrate_set set[CLASSIFIER_HEADS];
    struct calibrate_quality before[CLASSIFIER_HEADS], after[CLASSIFIER_HEADS];
};

static int64_t int_or(const struct config *c, const char *key, int64_t other)
{
    return config_is(c, key, "auto") ? other : config_int(c, key);
}

/* The data, coded as the network of model.path has them where one is named. */
static int read_data(struct job *j)
{
    const char *path = config_text(j->c, "model.path");
    int64_t dim[3];
    struct model *m = path[0] != '\0' ? model_open(path, -1, false) : NULL;
    if (path[0] != '\0' && m == NULL)
        return err_add("model.path");
    if (m != NULL) {
        j->coding = *model_coding(m);
        model_sample_shape(m, dim);
    }
    int rc = pretrain_data_read(j->c, "classifier", &j->data, &j->coding);
    if (rc == 0 && m != NULL &&
        (dim[0] != j->data.channels || dim[1] != j->data.height || dim[2] != j->data.width))
        rc = err_set(ERR_USAGE,
                     "classifier.data holds samples of %lld x %lld x %lld, the network of "
                     "model.path makes %lld x %lld x %lld (channels x height x width)",
                     (long long)j->data.channels, (long long)j->data.height,
                     (long long)j->data.width, (long long)dim[0], (long long)dim[1],
                     (long long)dim[2]);
    model_destroy(m);
    return rc;
}

static int make_network(struct job *j)
{
    static const int64_t two[1] = {2};
    const struct config *c = j->c;
    const struct dataset *d = &j->data;
    const bool corrupt = config_bool(c, "classifier.corrupt");
    if (!corrupt && d->factors == 0)
        return err_set(ERR_USAGE, "classifier.labels is not set: name labels, or set "
                                  "classifier.corrupt=true");
    if (corrupt && j->coding.kind == CODING_TEXT)
        return err_set(ERR_USAGE, "classifier.corrupt: for pictures and series, not text");
    struct classifier_design design = {
        .convolutional = config_is(c, "classifier.network", "conv") ||
                         (config_is(c, "classifier.network", "auto") && d->height >= 8 &&
                          d->width >= 8),
        .dim = {d->channels, d->height, d->width},
        .heads = corrupt ? 1 : d->factors,
        .classes = corrupt ? two : d->factor,
        .coding = j->coding,
    };
    design.hidden = int_or(c, "classifier.hidden", design.convolutional ? 16 : 128);
    design.layers = int_or(c, "classifier.layers", design.convolutional ? 3 : 2);
    j->net = classifier_new(&design, (uint64_t)config_int(c, "run.seed"));
    return j->net != NULL ? 0 : err_set(ERR_USAGE, "%s", err_text());
}

static int set_up(struct job *j)
{
    const struct config *c = j->c;
    struct compute o = compute_of(c);
    if (config_text(c, "classifier.output")[0] == '\0')
        return err_set(ERR_USAGE, "classifier.output is not set: name a folder");
    if (read_data(j) != 0 || make_network(j) != 0)
        return -1;
    o.dtype = "f32";
    j->options = (struct classify_options){
        .batch = config_int(c, "classifier.batch"),
        .micro_batch = config_int(c, "model.micro_batch"),
        .steps = config_int(c, "classifier.steps"),
        .adamw = {.lr = config_real(c, "classifier.lr"),
                  .beta1 = config_real(c, "update.beta1"),
                  .beta2 = config_real(c, "update.beta2"),
                  .eps = config_real(c, "update.eps"),
                  .weight_decay = config_real(c, "classifier.weight_decay")},
        .noise = config_real(c, "classifier.noise"),
        .corrupt = config_bool(c, "classifier.corrupt"),
        .seed = (uint64_t)config_int(c, "run.seed"),
    };
    j->tape = compute_open(&o, NULL);
    return j->tape != NULL ? 0 : -1;
}

/* Loss of the held-out samples at temperature 1, the sum over heads. Collective. */
static int look(struct job *j, double *nll)
{
    if (classify_evaluate(j->training, j->set) != 0)
        return -1;
    *nll = 0;
    for (int h = 0; h < classifier_heads(j->net); h++) {
        j->before[h] = calibrate_measure(&j->set[h], 1);
        *nll += j->before[h].nll;
    }
    return 0;
}

static void say(const struct job *j, int64_t step, double loss, double nll)
{
    if (j->comm.rank != 0 || config_bool(j->c, "run.quiet"))
        return;
    printf("step %lld/%lld  loss %.5f  held out %.5f  accuracy", (long long)step,
           (long long)j->options.steps, loss, nll);
    for (int h = 0; h < classifier_heads(j->net); h++)
        printf(" %.4f", j->before[h].accuracy);
    putchar('\n');
    fflush(stdout);
}

/* All steps; the weights that did best on the held-out samples stay. Collective. */
static int train(struct job *j)
{
    struct param_set *params = classifier_params(j->net);
    const int64_t every = config_int(j->c, "classifier.evaluate_every");
    const size_t size = (size_t)param_total(params) * sizeof(float);
    double loss, norm, nll, best = INFINITY, sum = 0;
    float *kept = mem_alloc(param_total(params), sizeof *kept);
    int64_t since = 0, steps = j->options.steps;
    int rc = 0;
    for (int64_t step = 1; step <= steps && rc == 0; step++) {
        rc = classify_step(j->training, step, &loss, &norm);
        sum += loss;
        since++;
        if (rc != 0 || (step % every != 0 && step < steps))
            continue;
        rc = look(j, &nll);
        if (rc == 0)
            say(j, step, sum / (double)since, nll);
        if (rc == 0 && nll < best) {
            best = nll;
            memcpy(kept, param_values(params), size);
        }
        sum = 0;
        since = 0;
    }
    if (rc == 0) {
        memcpy(param_values(params), kept, size);
        param_touch(params);
        rc = look(j, &nll);
    }
    mem_free(kept);
    return rc;
}

static int calibrate(struct job *j)
{
    double *temperature = classifier_temperature(j->net);
    for (int h = 0; h < classifier_heads(j->net); h++) {
        if (calibrate_temperature(&j->set[h], &temperature[h]) != 0)
            return -1;
        j->after[h] = calibrate_measure(&j->set[h], temperature[h]);
    }
    return 0;
}

/* metrics.json beside the classifier, and the same for people. */
static int report(const struct job *j)
{
    const char *folder = config_text(j->c, "classifier.output");
    struct json_out *o = json_out_create();
    json_out_i64(o, "samples", j->data.n);
    json_out_i64(o, "held_out", classify_held(j->training));
    json_out_list(o, "heads");
    for (int h = 0; h < classifier_heads(j->net); h++) {
        const struct calibrate_quality *a = &j->before[h], *b = &j->after[h];
        const double temperature = classifier_temperature(j->net)[h];
        printf("label %d: accuracy %.4f  nll %.5f, calibrated %.5f  calibration error %.4f, "
               "calibrated %.4f  temperature %.5g\n",
               h + 1, b->accuracy, a->nll, b->nll, a->error, b->error, temperature);
        json_out_map(o, NULL);
        json_out_i64(o, "classes", classifier_classes(j->net, h));
        json_out_f64(o, "accuracy", b->accuracy);
        json_out_f64(o, "nll_before", a->nll);
        json_out_f64(o, "nll", b->nll);
        json_out_f64(o, "calibration_error_before", a->error);
        json_out_f64(o, "calibration_error", b->error);
        json_out_f64(o, "temperature", temperature);
        json_out_end(o);
    }
    json_out_end(o);
    char *path = text_new("%s/metrics.json", folder);
    int rc = json_out_file(o, path);
    mem_free(path);
    if (rc == 0)
        printf("classifier: %s\n", folder);
    return rc;
}

static int make(struct job *j)
{
    j->training = classify_create(&j->comm, j->net, j->tape, &j->data, &j->options,
                                  config_real(j->c, "classifier.held_out"));
    if (comm_agree(&j->comm, j->training != NULL ? 0 : -1) != 0)
        return -1;
    if (j->comm.rank == 0)
        printf("classifier: %s of %lld parameters, %lld samples, %lld of them held out, %d "
               "ranks\n",
               classifier_kind(j->net),
               (long long)param_total(classifier_params(j->net)), (long long)j->data.n,
               (long long)classify_held(j->training), j->comm.size);
    if (train(j) != 0)
        return -1;
    int rc = calibrate(j);
    if (rc == 0 && j->comm.rank == 0) {
        rc = classifier_save(j->net, config_text(j->c, "classifier.output"));
        if (rc == 0)
            rc = report(j);
    }
    return comm_agree(&j->comm, rc);
}

static int work(void *ctx, const struct comm *all)
{
    struct job *j = ctx;
    j->comm = *all;
    int rc = comm_agree(all, set_up(j));
    if (rc == 0)
        rc = make(j);
    classify_destroy(j->training);
    classifier_destroy(j->net);
    dataset_free(&j->data);
    tape_destroy(j->tape);
    return rc;
}

int cmd_classifier(int argc, char **argv)
{
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    struct config *c = argc < 2 ? NULL : schema_load(argc - 1, argv + 1);
    if (argc < 2)
        err_set(ERR_USAGE, "name a configuration file; see `sluice classifier --help`");
    if (c == NULL)
        return cmd_fail("classifier");
    placement_quiet_threads(c, argv - 1);
    struct job j = {.c = c};
    int code = job_run("classifier", c, work, &j);
    config_destroy(c);
    return code;
}
