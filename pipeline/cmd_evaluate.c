/* sluice evaluate: draws samples, or takes given ones, and measures them. */
#include "io/spawn.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/measure/evaluate.h"
#include "pipeline/job.h"
#include "pipeline/placement.h"
#include "pipeline/sample_files.h"
#include "pipeline/schema.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: sluice evaluate SOURCE [CONFIG.yaml] [section.key=value ...] [OPTIONS]\n"
    "       mpirun -np N sluice evaluate ...\n\n"
    "Measures a model folder, a policy file, a run directory (its newest policy) or given\n"
    "samples (FILE.npy, as `sluice sample` writes it). Samples are drawn as the rollouts of\n"
    "the configuration are; a policy's own run is the default configuration. Prints what\n"
    "applies and, with --out, writes it as JSON:\n\n"
    "  reward     of each reward: mean and its standard error, deviation, quantiles, and\n"
    "             statuses (a policy is scored without reward.noise and reward.budget);\n"
    "             rewards NAME_hard beside NAME; constraints_met: the share of\n"
    "             samples that meets all NAME_hard\n"
    "  path_kl    KL of the sampling chain to the run's policy 0, nats (a policy of a run)\n"
    "  search_cost  how far search.kind went from the policy's own samples, nats\n"
    "  diversity  mean distance of two samples (of the first 2048); distinct strings\n"
    "  reference  against --reference: the Frechet distance of the numbers (up to 1024 of\n"
    "             them) taken as Gaussians; per coordinate, averaged, the gaps of mean and\n"
    "             deviation and the 1-Wasserstein distance; lag-1 autocorrelations\n"
    "  training   distance to the nearest sample of --training; near_share: below --near;\n"
    "             copied_share: nearer than a third of the distance to the second nearest\n"
    "  molecules  of SMILES strings: valid of all, unique of the valid, novel (not in\n"
    "             --training) of the unique\n\n"
    "Distances are roots of mean squares over a sample's numbers, as the network has them\n"
    "(a series by its coding's mean and deviation). Data files are read as the keys of\n"
    "section pretrain say. Any number of ranks gives the same bits.\n\n";

static const char codes[] = "\nexit codes: 0 done, 2 usage, 3 bad input, 5 I/O, 6 not finite,\n"
                            "75 ended by a signal while samples were drawn or another program scored\n";

/* clang-format off */
static const struct config_key options[] = {
    {"n", CONFIG_INT, "256", 1, 1e6, NULL, true, "samples to draw, or to take of FILE.npy"},
    {"seed", CONFIG_INT, "0", 0, 9007199254740992.0, NULL, true, "key of the noise"},
    {"class", CONFIG_INT, "all", 0, 1e6, "all", true,
     "class label of all samples; all: drawn from rollout.classes"},
    {"guidance", CONFIG_REAL, "config", 0, 100, "config", true,
     "classifier-free guidance; config: sampler.guidance"},
    {"version", CONFIG_INT, "newest", 0, 1e9, "newest", true,
     "which of a run directory's policies"},
    {"ema", CONFIG_BOOL, "false", 0, 0, NULL, true, "a policy's running average"},
    {"rewards", CONFIG_TEXT, "", 0, 0, NULL, true,
     "rewards, with commas between; empty: reward.name where it was set, and reward.guard"},
    {"reference", CONFIG_TEXT, "", 0, 0, NULL, true, "held-out data file"},
    {"reference-rows", CONFIG_TEXT, "", 0, 0, NULL, true, "FIRST:LAST, without LAST; empty: all"},
    {"training", CONFIG_TEXT, "", 0, 0, NULL, true, "training data file"},
    {"training-rows", CONFIG_TEXT, "", 0, 0, NULL, true, "FIRST:LAST, without LAST; empty: all"},
    {"near", CONFIG_REAL, "0", 0, 1e9, NULL, true,
     "distance below which a sample counts as near to training data; 0: not counted"},
    {"out", CONFIG_TEXT, "", 0, 0, NULL, true, "JSON file to write"},
    {"save-samples", CONFIG_TEXT, "", 0, 0, NULL, true,
     "file for the samples, as --out of `sluice sample`"},
    {.key = NULL},
};
/* clang-format on */

struct words {
    struct config *options;
    char **word; /* the source, and what the configuration is from */
    int n;
};

static struct config *load_config(const struct words *w)
{
    struct config *c = arguments_source(w->word[0], w->n - 1, w->word + 1);
    if (c == NULL || config_is(w->options, "class", "all"))
        return c;
    char *a = text_new("rollout.classes=[%s]", config_text(w->options, "class"));
    int rc = config_override(c, a);
    mem_free(a);
    if (rc == 0)
        return c;
    config_destroy(c);
    return NULL;
}

/* "FIRST:LAST", "FIRST:", ":LAST". */
static int rows_of(const struct config *o, const char *key, int64_t rows[2])
{
    const char *text = config_text(o, key), *colon = strchr(text, ':');
    rows[0] = 0;
    rows[1] = -1;
    if (text[0] == '\0')
        return 0;
    char *first = text_new("%.*s", (int)(colon == NULL ? 0 : colon - text), text);
    bool good = colon != NULL && (first[0] == '\0' || text_to_i64(first, &rows[0])) &&
                (colon[1] == '\0' || text_to_i64(colon + 1, &rows[1]));
    mem_free(first);
    return good ? 0 : err_set(ERR_USAGE, "--%s: '%s' is no FIRST:LAST", key, text);
}

static int settle(const struct words *w, struct config *c, struct evaluate_options *e)
{
    const struct config *o = w->options;
    *e = (struct evaluate_options){
        .source = w->word[0],
        .config = c,
        .n = config_int(o, "n"),
        .version = config_is(o, "version", "newest") ? -1 : config_int(o, "version"),
        .ema = config_bool(o, "ema"),
        .rewards = arguments_text(o, "rewards"),
        .reference = arguments_text(o, "reference"),
        .training = arguments_text(o, "training"),
        .near = config_real(o, "near"),
    };
    char *seed = text_new("run.seed=%s", config_text(o, "seed"));
    int rc = config_override(c, seed);
    mem_free(seed);
    if (rc == 0 && !config_is(o, "guidance", "config")) {
        char *g = text_new("sampler.guidance=%s", config_text(o, "guidance"));
        rc = config_override(c, g);
        mem_free(g);
    }
    if (rc == 0)
        rc = rows_of(o, "reference-rows", e->reference_rows);
    return rc == 0 ? rows_of(o, "training-rows", e->training_rows) : -1;
}

static bool is_file(const char *source)
{
    size_t n = strlen(source);
    return n > 4 && strcmp(source + n - 4, ".npy") == 0;
}

/* The leaves of the result, one a line: "reward.brightness.mean  0.5". */
static void print_leaves(const struct json *v, const char *name)
{
    double real;
    for (int64_t i = 0; i < json_count(v); i++) {
        const char *key;
        const struct json *child = json_entry(v, i, &key);
        char *path = text_new("%s%s%s", name, name[0] != '\0' ? "." : "", key);
        if (json_kind(child) == JSON_MAP_T)
            print_leaves(child, path);
        else if (json_to_f64(child, &real))
            printf("%-44s %.6g\n", path, real);
        else if (json_text(child) != NULL)
            printf("%-44s %s\n", path, json_text(child));
        mem_free(path);
    }
}

static int save_samples(const struct evaluation *e, const char *path)
{
    const struct evaluate_set *set = &e->set;
    float *copy = mem_alloc(set->n * set->d, sizeof *copy);
    memcpy(copy, set->x, (size_t)(set->n * set->d) * sizeof *copy);
    const struct samples s = {.n = set->n,
                              .channels = set->channels,
                              .height = set->height,
                              .width = set->width,
                              .data = copy,
                              .coding = set->coding};
    if (set->coding.kind == CODING_SERIES)
        coding_decode(&set->coding, copy, set->n * set->d);
    int rc = sample_files_check(&s, path) != 0 ? -1 : sample_files_write(&s, path);
    mem_free(copy);
    return rc;
}

/* On rank 0. */
static int publish(const struct evaluation *e, const struct config *o, struct json_out *out)
{
    struct text text = {0};
    int rc = 0;
    const char *file = config_text(o, "out"), *samples = config_text(o, "save-samples");
    json_out_finish(out, 2, &text);
    struct json *j = json_parse(text.s, text.len, "the result");
    text_add(&text, "\n");
    if (j != NULL)
        print_leaves(j, "");
    json_free(j);
    if (file[0] != '\0')
        rc = file_write(file, text.s, text.len);
    if (rc == 0 && samples[0] != '\0')
        rc = save_samples(e, samples);
    text_free(&text);
    return rc;
}

static int evaluate(struct evaluation *e, const struct config *o)
{
    const bool given = is_file(e->o.source), here = e->comm.rank == 0;
    if (given && strcmp(config_origin(o, "n"), "default") == 0)
        e->o.n = 0; /* all of them */
    if ((given ? evaluate_read(e) : evaluate_draw(e)) != 0)
        return -1;
    struct json_out *out = here ? json_out_create() : NULL;
    if (here) {
        json_out_text(out, "source", e->o.source);
        if (e->version >= 0)
            json_out_i64(out, "version", e->version);
        json_out_i64(out, "n", e->set.n);
        if (!given)
            json_out_i64(out, "seed", config_int(o, "seed"));
    }
    int rc = evaluate_measure(e, out);
    if (rc == 0 && here) {
        rc = publish(e, o, out);
    } else if (here) {
        struct text none = {0};
        json_out_finish(out, 0, &none);
        text_free(&none);
    }
    return comm_agree(&e->comm, rc);
}

struct asked {
    struct evaluation evaluation;
    const struct config *options;
};

static int work(void *ctx, const struct comm *all)
{
    struct asked *a = ctx;
    a->evaluation.comm = *all;
    int rc = evaluate(&a->evaluation, a->options);
    evaluate_close(&a->evaluation);
    return rc;
}

int cmd_evaluate(int argc, char **argv)
{
    struct words w = {.options = config_create(options),
                      .word = mem_alloc(argc, sizeof *w.word)};
    struct config *c = NULL;
    int code = 0;
    if (arguments_help(argc, argv, usage, options, codes))
        goto done;
    int rc = arguments_words(w.options, options, argc, argv, w.word, &w.n);
    if (rc == 0 && w.n == 0)
        rc = err_set(ERR_USAGE, "name a model, policy, run or FILE.npy; see --help");
    if (rc == 0)
        c = load_config(&w);
    if (c == NULL) {
        code = cmd_fail("evaluate");
        goto done;
    }
    placement_quiet_threads(c, argv - 1);
    struct asked a = {.evaluation = {.version = -1}, .options = w.options};
    code = settle(&w, c, &a.evaluation.o) != 0 ? cmd_fail("evaluate")
                                               : job_run("evaluate", c, work, &a);
done:
    config_destroy(c);
    config_destroy(w.options);
    mem_free(w.word);
    return code;
}
