/* The engine's side of the benchmarks: evaluates one network on command and prints what
 * that took. tests/bench/bench.py and peer.py drive it, one process per thread count,
 * because the first backend_get fixes that.
 *
 *   engine_bench CONFIG.json BATCH THREADS DTYPE [COMMAND...]
 *
 * A command is WORK=N: N timed repetitions (after two that are not, where the command
 * before was other work), where WORK is forward, train (forward, mean square of the
 * output, backward into the parameters' gradients), or one of them with "profile-" in
 * front, which adds the time by kind of operation. Without commands in the arguments
 * they are read from standard input, one a line. Each gives one line of JSON, after a
 * first line about network and back end. The weights stay as they are, as they do
 * through a rollout and through one optimizer step's micro-batches. */
#include "io/json.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/compute.h"
#include "stages/model/model.h"
#include "stages/nn/backend.h"
#include "stages/nn/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
    struct model *model;
    struct tape *tape;
    struct model_input in;
    int64_t values;              /* of x, and of the output */
    float *x, *timesteps, *seed; /* seed: d loss / d output */
    int64_t *labels;
    double loss;
    bool warm, trained; /* the work of the last command */
};

static void finish_line(struct json_out *o)
{
    struct text line = {0};
    json_out_finish(o, 0, &line);
    puts(line.s);
    fflush(stdout);
    text_free(&line);
}

static int evaluate(struct bench *b, bool train)
{
    struct param_set *p = model_params(b->model);
    if (train)
        memset(param_grads(p), 0, (size_t)param_total(p) * sizeof(float));
    tape_begin(b->tape, train);
    struct tensor *y = model_forward(b->model, b->tape, &b->in, NULL);
    if (y == NULL || !train)
        return y == NULL ? -1 : 0;
    double sum = 0;
    for (int64_t i = 0; i < b->values; i++) {
        sum += (double)y->data[i] * y->data[i];
        b->seed[i] = 2 * y->data[i] / (float)b->values;
    }
    b->loss = sum / (double)b->values;
    return tape_backward(b->tape, y, b->seed);
}

static void put_profile(struct json_out *o)
{
    struct profile_sums sums;
    profile_read(&sums);
    json_out_map(o, "profile");
    for (int k = 0; k < PROFILE_KINDS; k++) {
        json_out_map(o, profile_name((enum profile_kind)k));
        json_out_i64(o, "calls", sums.kind[k].calls);
        json_out_f64(o, "seconds", sums.kind[k].seconds);
        json_out_f64(o, "flops", sums.kind[k].flops);
        json_out_end(o);
    }
    json_out_end(o);
}

/* One command; the profile covers the timed repetitions. */
static int measure(struct bench *b, const char *command)
{
    static const char prefix[] = "profile-";
    bool profile = strncmp(command, prefix, sizeof prefix - 1) == 0;
    const char *work = command + (profile ? sizeof prefix - 1 : 0);
    const char *equals = strchr(work, '=');
    size_t length = equals == NULL ? strlen(work) : (size_t)(equals - work);
    bool train = length == 5 && strncmp(work, "train", 5) == 0;
    bool forward = length == 7 && strncmp(work, "forward", 7) == 0;
    int64_t repeat = 0;
    if (equals == NULL || !(train || forward) || !text_to_i64(equals + 1, &repeat) ||
        repeat < 1 || repeat > 100000)
        return err_set(ERR_USAGE, "'%s' is no command; see the head of engine_bench.c",
                       command);
    for (int i = 0; i < 2 && !(b->warm && b->trained == train); i++)
        if (evaluate(b, train) != 0)
            return -1;
    b->warm = true;
    b->trained = train;
    struct json_out *o = json_out_create();
    json_out_text(o, "work", train ? "train" : "forward");
    profile_start(profile);
    double begun = clock_s();
    json_out_list(o, "seconds");
    for (int64_t i = 0; i < repeat; i++) {
        double start = clock_s();
        if (evaluate(b, train) != 0)
            ERR_BUG("the same evaluation failed after it went well");
        json_out_f64(o, NULL, clock_s() - start);
    }
    json_out_end(o);
    json_out_f64(o, "total_s", clock_s() - begun);
    if (train)
        json_out_f64(o, "loss", b->loss);
    if (profile)
        put_profile(o);
    profile_start(false);
    json_out_i64(o, "tape_bytes", tape_bytes(b->tape));
    json_out_i64(o, "scratch_bytes", tape_scratch_bytes(b->tape));
    json_out_i64(o, "rss_bytes", mem_peak_rss());
    finish_line(o);
    return 0;
}

static int fill_input(struct bench *b, int64_t batch)
{
    int64_t dim[3];
    model_sample_shape(b->model, dim);
    if (dim[1] < 1 || dim[2] < 1)
        return err_set(ERR_INPUT, "the network's config names no sample_size");
    b->values = batch * dim[0] * dim[1] * dim[2];
    b->x = mem_alloc(b->values, sizeof *b->x);
    b->seed = mem_alloc(b->values, sizeof *b->seed);
    b->timesteps = mem_alloc(batch, sizeof *b->timesteps);
    b->labels = mem_alloc(batch, sizeof *b->labels);
    rng_normal(1, b->x, b->values);
    for (int64_t i = 0; i < batch; i++)
        b->timesteps[i] = (float)(i * 61 % 1000);
    b->in =
        (struct model_input){.batch = batch,
                             .height = dim[1],
                             .width = dim[2],
                             .x = b->x,
                             .timesteps = b->timesteps,
                             .labels = model_classes(b->model) > 0 ? b->labels : NULL};
    return 0;
}

static void describe(struct bench *b, const struct backend *backend, char **argv)
{
    char text[100];
    backend_describe(backend, text, sizeof text);
    struct json_out *o = json_out_create();
    json_out_text(o, "network", argv[1]);
    json_out_i64(o, "batch", b->in.batch);
    json_out_text(o, "threads", argv[3]);
    json_out_text(o, "dtype", argv[4]);
    json_out_text(o, "backend", text);
    json_out_i64(o, "parameters", param_total(model_params(b->model)));
    json_out_f64(o, "flops_per_item", model_flops(b->model));
    finish_line(o);
}

static int run(struct bench *b, int argc, char **argv)
{
    int64_t batch, threads;
    if (argc < 5 || !text_to_i64(argv[2], &batch) || !text_to_i64(argv[3], &threads) ||
        batch < 1 || batch > 4096 || threads < 1 || threads > 4096)
        return err_set(ERR_USAGE, "engine_bench CONFIG.json BATCH THREADS DTYPE "
                                  "[WORK=N ...]");
    const struct backend *backend = NULL;
    const struct compute o = {
        .backend = "onednn", .dtype = argv[4], .threads = (int)threads};
    if (strcmp(argv[4], "f32") != 0 && strcmp(argv[4], "bf16") != 0 &&
        strcmp(argv[4], "bf16-emulated") != 0)
        return err_set(ERR_USAGE, "DTYPE '%s' is not one of %s", argv[4], COMPUTE_DTYPES);
    b->tape = compute_open(&o, &backend);
    b->model = b->tape == NULL ? NULL : model_new(argv[1], 1);
    if (b->model == NULL || fill_input(b, batch) != 0)
        return -1;
    describe(b, backend, argv);
    for (int i = 5; i < argc; i++)
        if (measure(b, argv[i]) != 0)
            return -1;
    char line[100];
    while (argc == 5 && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (measure(b, line) != 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    int rc = run(&b, argc, argv);
    if (rc != 0)
        fprintf(stderr, "%s\n", err_text());
    tape_destroy(b.tape);
    model_destroy(b.model);
    mem_free(b.x);
    mem_free(b.timesteps);
    mem_free(b.labels);
    mem_free(b.seed);
    return rc == 0 ? 0 : err_code();
}
