/* sluice plan: what a configuration amounts to, before it is queued. Numbers that
 * follow from the configuration and the model are exact; memory, time and rate are
 * estimates, taken from one sample's forward and backward pass at a size that fits the
 * second. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/plan/plan_crowd.h"
#include "pipeline/plan/plan_memory.h"
#include "pipeline/plan/plan_model.h"
#include "pipeline/plan/plan_sizes.h"
#include "pipeline/plan/plan_warn.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice plan CONFIG [section.key=value ...] [--ranks N] [--gflops RATE]\n"
    "         [--from RUNDIR | --calibrate] [--nodes N --ranks-per-node K] [--cores C]\n"
    "         [--scaling strong|weak --ranks N,N,...]\n\n"
    "Derived numbers of a configuration: batches, optimizer steps, clip ranges, "
    "memory,\n"
    "disk, arithmetic and core-hours, and warnings. Needs no MPI.\n"
    "  --ranks N      MPI ranks that will be launched (default 1)\n"
    "  --gflops RATE  1e9 floating-point operations per second and core; without it "
    "the\n"
    "                 rate of one sample's evaluation on this machine\n\n"
    "Seconds of an iteration, waiting of each group, and group sizes that are faster, by a\n"
    "simulated run:\n"
    "  --from RUNDIR  rates from the accounts of an earlier run of the same network\n"
    "  --calibrate    rates of one micro-batch of rollout and update, tried here\n"
    "  --nodes N --ranks-per-node K   instead of --ranks, for node-hours\n"
    "  --cores C      cores of a node; without it every thread has one\n"
    "  --scaling strong|weak   a line for each number of ranks in --ranks 1,2,4,...:\n"
    "                 strong for the same work, weak for samples that grow with them\n";

enum { SIZES = 64 }; /* numbers of ranks in a table */

static void print_work(const struct plan *p)
{
    int64_t evaluations =
        plan_parts(p->shard < p->samples ? p->shard : p->samples, p->micro);
    printf("rollout\n");
    if (p->classes > 0)
        plan_line("samples per iteration", "%lld (%lld classes drawn, %lld copies each)",
             (long long)p->samples, (long long)plan_parts(p->samples, p->copies),
             (long long)p->copies);
    else
        plan_line("samples per iteration", "%lld (unconditional)", (long long)p->samples);
    plan_line("shards per iteration", "%lld of up to %lld samples", (long long)p->shards,
         (long long)p->shard);
    plan_line("sampler steps", "%lld, %lld of them with a likelihood", (long long)p->steps,
         (long long)(p->have_sampler ? p->sampler.live_steps : p->steps));
    plan_line("network evaluations", "%lld micro-batches of up to %lld per shard and step",
         (long long)evaluations, (long long)p->micro);
    printf("update\n");
    plan_line("optimizer steps", "%lld per iteration, %lld in the run",
         (long long)p->optimizer_steps,
         (long long)(p->optimizer_steps * settings_iterations(p->c)));
    plan_line("pairs per optimizer step", "%lld = %lld samples x %lld %s%s",
         (long long)p->pairs, (long long)p->batch, (long long)p->trained,
         algo_walks(p->algo)      ? "chain"
         : algo_on_chain(p->algo) ? "steps"
                                  : "noised copies",
         p->algo->drops_zero ? "; fewer, as samples without a weight are left out" : "");
    plan_line("micro-batches", "%lld per optimizer step (up to %lld pairs each)",
         (long long)plan_parts(p->pairs, p->micro), (long long)p->micro);
}

static void print_clip(const struct plan *p)
{
    double clip = config_real(p->c, "algorithm.clip_range"), d = (double)p->d;
    if (p->d == 0 || !algo_on_chain(p->algo) || algo_walks(p->algo))
        return;
    if (config_is(p->c, "algorithm.logprob", "mean"))
        plan_line("clip range", "%.3g on the mean over %lld elements = %.3g on the sum",
             clip, (long long)p->d, clip * d);
    else
        plan_line("clip range", "%.3g on the sum over %lld elements = %.3g on the mean",
             clip, (long long)p->d, clip / d);
}

static void print_time(const struct plan *p)
{
    int64_t iterations = settings_iterations(p->c);
    double rollout =
        plan_searched(p) * p->flops * (double)p->steps * (double)p->samples;
    double each = (double)(p->trained * plan_walked(p)); /* at most */
    double passes = 3 + plan_companions(p);
    if (config_is(p->c, "update.optimizer", "natural"))
        passes += 3 * 2 * (double)(config_int(p->c, "update.cg_iterations") + 2) *
                  config_real(p->c, "update.fisher_part");
    double update = passes * p->flops * (double)(p->epochs * p->samples) * each;
    double total = (rollout + update) * (double)iterations;
    double cores = (double)(p->ranks * p->threads);
    printf("arithmetic\n");
    plan_line("one evaluation", "%.4g GFLOP per sample forward, %.4g with backward",
         p->flops / 1e9, 3 * p->flops / 1e9);
    plan_line("one iteration", "%.4g TFLOP: rollout %.4g, update %.4g",
         (rollout + update) / 1e12, rollout / 1e12, update / 1e12);
    plan_line("the run", "%.4g TFLOP in %lld iterations", total / 1e12,
         (long long)iterations);
    if (p->rate <= 0) {
        plan_line("core-hours", "give --gflops RATE");
        return;
    }
    if (p->rate_given)
        plan_line("rate", "%.3g GFLOP/s per core, as given", p->rate / 1e9);
    else
        plan_line("rate",
             "%.3g GFLOP/s per core, of one sample of %lld x %lld here: a lower bound, "
             "micro-batches run faster",
             p->rate / 1e9, (long long)p->probe.height, (long long)p->probe.width);
    double seconds = total / p->rate / cores;
    plan_line("core-hours",
         "%.3g; on %lld rank(s) x %lld thread(s) %.3g hours, %.3g s per "
         "iteration, if all cores are busy",
         total / p->rate / 3600, (long long)p->ranks, (long long)p->threads,
         seconds / 3600, seconds / (double)iterations);
}

static int print_plan(const struct plan *p, int64_t nodes, struct plan_memory *memory)
{
    struct layout l;
    if (settings_layout(&l, p->c, (int)p->ranks) != 0)
        return -1;
    if (p->model != NULL) {
        printf("model\n");
        plan_line(model_class_name(p->model),
                  "%.4g million parameters, samples of %lld x %lld x "
                  "%lld = %lld elements, %lld classes",
                  (double)p->parameters / 1e6, (long long)p->dim[0], (long long)p->dim[1],
                  (long long)p->dim[2], (long long)p->d, (long long)p->classes);
    }
    print_work(p);
    print_clip(p);
    if (p->model != NULL) {
        plan_memory(p, &l, nodes, memory);
        plan_memory_print(p, &l, memory);
        plan_disk(p);
        print_time(p);
    }
    return 0;
}

/* The command line. */
struct wish {
    const char *from;
    bool calibrate, scaling, weak;
    int64_t ranks[SIZES], sizes, nodes, ranks_per_node;
    struct plan_machine machine;
    double gflops;
    char **rest; /* [n] */
    int n;
};

/* Rates by the wish; NULL-model plans have none. */
static int find_rates(struct plan_rates *r, const struct plan *p, const struct wish *w)
{
    if (p->model == NULL)
        return err_set(ERR_USAGE, "--from, --calibrate and --scaling need model.path");
    if (w->from == NULL)
        return plan_rates_calibrate(r, p);
    struct text path = {0};
    text_add(&path, "%s/config.yaml", w->from);
    char *argument[] = {path.s};
    struct plan run = {.ranks = 1};
    struct config *c = schema_load(1, argument);
    run.c = c;
    int rc = c == NULL ? -1 : plan_derive_work(&run);
    if (rc == 0 && run.parameters != p->parameters)
        rc = err_set(ERR_USAGE,
                     "%s: a run of another network (%lld parameters, here %lld): its rates "
                     "say nothing here; use --calibrate",
                     w->from, (long long)run.parameters, (long long)p->parameters);
    if (rc == 0)
        rc = plan_rates_read(r, w->from, &run);
    if (rc == 0)
        rc = plan_crowd_remove(r, &run);
    if (rc == 0)
        plan_rates_convert(r, &run, p);
    plan_close(&run);
    config_destroy(c);
    text_free(&path);
    return rc;
}

static int whole(const char *option, const char *text, int64_t most, int64_t *out)
{
    if (text != NULL && text_to_i64(text, out) && *out >= 1 && *out <= most)
        return 0;
    return err_set(ERR_USAGE, "%s takes a whole number from 1 to %lld", option,
                   (long long)most);
}

/* "1,2,4" */
static int read_ranks(struct wish *w, const char *text)
{
    char one[16];
    for (w->sizes = 0; w->sizes < SIZES;) {
        size_t n = text == NULL ? 0 : strcspn(text, ",");
        if (n >= sizeof one)
            n = 0; /* refused */
        snprintf(one, sizeof one, "%.*s", (int)n, n > 0 ? text : "");
        if (whole("--ranks", one, 10000000, &w->ranks[w->sizes++]) != 0)
            return -1;
        if (text[n] == '\0')
            return 0;
        text += n + 1;
    }
    return err_set(ERR_USAGE, "--ranks takes at most %d numbers", SIZES);
}

/* An option with a value at argv[*i]; both are consumed. 1: it is none. */
static int read_option(struct wish *w, int argc, char **argv, int *i)
{
    const char *name = argv[*i], *value = *i + 1 < argc ? argv[*i + 1] : NULL;
    int rc = 0;
    if (strcmp(name, "--calibrate") == 0) {
        w->calibrate = true;
        return 0;
    }
    if (strcmp(name, "--ranks") == 0) {
        rc = read_ranks(w, value);
    } else if (strcmp(name, "--nodes") == 0) {
        rc = whole(name, value, 1000000, &w->nodes);
    } else if (strcmp(name, "--ranks-per-node") == 0) {
        rc = whole(name, value, 100000, &w->ranks_per_node);
    } else if (strcmp(name, "--cores") == 0) {
        rc = whole(name, value, 100000, &w->machine.cores);
    } else if (strcmp(name, "--gflops") == 0) {
        if (value == NULL || !text_to_f64(value, &w->gflops) || w->gflops <= 0)
            rc = err_set(ERR_USAGE, "--gflops takes a number above 0");
    } else if (strcmp(name, "--scaling") == 0) {
        w->scaling = true;
        w->weak = value != NULL && strcmp(value, "weak") == 0;
        if (value == NULL || (!w->weak && strcmp(value, "strong") != 0))
            rc = err_set(ERR_USAGE, "--scaling takes strong or weak");
    } else if (strcmp(name, "--from") == 0) {
        w->from = value;
        rc = value == NULL ? err_set(ERR_USAGE, "--from takes a run directory") : 0;
    } else {
        return 1;
    }
    ++*i;
    return rc;
}

static int read_wish(struct wish *w, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int rc = read_option(w, argc, argv, &i);
        if (rc < 0)
            return -1;
        if (rc > 0)
            w->rest[w->n++] = argv[i];
    }
    if (w->n == 0)
        return err_set(ERR_USAGE, "which configuration? usage: sluice plan CONFIG");
    if (w->from != NULL && w->calibrate)
        return err_set(ERR_USAGE, "--from and --calibrate exclude each other");
    if ((w->nodes > 0) != (w->ranks_per_node > 0) || (w->nodes > 0 && w->sizes > 0))
        return err_set(ERR_USAGE, "give --nodes with --ranks-per-node, and no --ranks");
    if (w->nodes * w->ranks_per_node > 10000000)
        return err_set(ERR_USAGE, "more than 10000000 ranks");
    if (w->sizes > 1 && !w->scaling)
        return err_set(ERR_USAGE, "--ranks takes one number without --scaling");
    if (w->scaling && w->from == NULL && !w->calibrate)
        return err_set(ERR_USAGE, "--scaling needs --from RUNDIR or --calibrate");
    if (w->scaling && (w->machine.cores > 0 || w->nodes > 0))
        return err_set(ERR_USAGE, "--scaling takes --ranks, no --nodes and no --cores");
    if (w->nodes > 0)
        w->ranks[0] = w->nodes * w->ranks_per_node;
    else if (w->sizes == 0)
        w->ranks[0] = 1;
    w->sizes = w->sizes > 0 ? w->sizes : 1;
    w->machine.nodes = w->nodes > 0 ? w->nodes : 1;
    return 0;
}

static int plan(const struct wish *w, const struct config *c)
{
    struct plan p = {.c = c,
                     .ranks = w->scaling ? 1 : w->ranks[0],
                     .rate = w->gflops * 1e9,
                     .rate_given = w->gflops > 0};
    struct plan_rates r;
    struct plan_memory memory = {0};
    int rc = settings_check(c) != 0 ? -1 : w->scaling ? plan_derive_work(&p) : plan_derive(&p);
    if (rc == 0 && (w->from != NULL || w->calibrate))
        rc = find_rates(&r, &p, w);
    if (rc == 0 && w->scaling) {
        rc = plan_scaling(&p, &r, w->weak, w->ranks, w->sizes);
    } else if (rc == 0) {
        rc = print_plan(&p, w->machine.nodes, &memory);
        if (rc == 0 && (w->from != NULL || w->calibrate))
            rc = plan_predict(&p, &r, &w->machine, memory.node);
        plan_warn(&p);
    }
    plan_close(&p);
    return rc;
}

int cmd_plan(int argc, char **argv)
{
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    struct wish w = {.rest = mem_alloc(argc, sizeof *w.rest)};
    struct config *c = NULL;
    int rc = read_wish(&w, argc, argv);
    if (rc == 0) {
        c = schema_load(w.n, w.rest);
        rc = c == NULL ? -1 : plan(&w, c);
    }
    rc = rc == 0 ? 0 : cmd_fail("plan");
    config_destroy(c);
    mem_free(w.rest);
    return rc;
}
