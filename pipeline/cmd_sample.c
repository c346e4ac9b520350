/* sluice sample: draws samples from a model folder or a policy, without MPI.
 *
 * Noise is keyed as in the rollout stage (iteration 0), and the network's result for
 * one item depends on that item alone: so the samples depend neither on --batch nor on
 * --threads, and the first ones stay the same when --n grows. */
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"

#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "pipeline/sample_files.h"
#include "pipeline/source.h"
#include "pipeline/compute.h"
#include "stages/diffusion/sampler.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "usage: sluice sample SOURCE --out OUT [OPTIONS]\n\n"
    "Draws samples. SOURCE is a diffusers model folder, a policy file of a run\n"
    "(policy/vNNNNNN.h5), or a run directory (its newest policy). OUT by its "
    "suffix:\n\n"
    "  FILE.png          all samples in one grid\n"
    "  FILE.svg          curves in one grid (a network of series)\n"
    "  FILE.npy          float32 array [N, channels, height, width]\n"
    "  FILE.csv          the same numbers, a line per sample\n"
    "  FILE.txt          the texts, one per line (a network of text)\n"
    "  FILE.safetensors  the array as tensor \"sample\"\n"
    "  DIR               sample_00000.png ..., grid.png (the first 256), "
    "samples.npy\n\n"
    "A series is in the units of its data; --raw true leaves the network's numbers.\n"
    "The same call gives the same bits, whatever --batch and --threads.\n\n";

static const char codes[] =
    "\nexit codes: 0 done, 2 usage, 3 bad input, 5 I/O, 6 samples not finite\n";

/* clang-format off */
static const struct config_key options[] = {
    {"out", CONFIG_TEXT, "", 0, 0, NULL, true, "file or folder to write"},
    {"n", CONFIG_INT, "16", 1, 1e6, NULL, true, "number of samples"},
    {"seed", CONFIG_INT, "0", 0, 9007199254740992.0, NULL, true, "key of the noise"},
    {"class", CONFIG_INT, "all", 0, 1e6, "all", true,
     "class label of all samples; all: the network's labels in turn"},
    {"guidance", CONFIG_REAL, "1", 0, 100, NULL, true,
     "classifier-free guidance towards the class; 1: none"},
    {"raw", CONFIG_BOOL, "false", 0, 0, NULL, true,
     "the network's numbers, not turned back into values of a series"},
    {"sampler", CONFIG_CHOICE, "ddim", 0, 0, "ddim|ddpm", true, "sampler"},
    {"steps", CONFIG_INT, "50", 1, 1000, NULL, true, "denoising steps"},
    {"eta", CONFIG_REAL, "1", 0, 1, NULL, true, "noise of ddim: 0 none .. 1 full"},
    {"spacing", CONFIG_CHOICE, "model", 0, 0, "model|leading|trailing|linspace", true,
     "where the steps lie in training time"},
    {"clip", CONFIG_CHOICE, "model", 0, 0, "model|true|false", true,
     "clip the predicted clean sample"},
    {"clamp-last", CONFIG_BOOL, "true", 0, 0, NULL, true,
     "the last step lands on training time 0, as in rollouts; false: as diffusers"},
    {"init", CONFIG_CHOICE, "normal", 0, 0, "normal", true, "where the chain starts"},
    {"height", CONFIG_INT, "model", 1, 8192, "model", true, "height of a sample"},
    {"width", CONFIG_INT, "model", 1, 8192, "model", true, "width of a sample"},
    {"ema", CONFIG_BOOL, "false", 0, 0, NULL, true,
     "a policy's running average of the weights instead of the weights"},
    {"version", CONFIG_INT, "newest", 0, 1e9, "newest", true,
     "which of a run directory's policies"},
    {"batch", CONFIG_INT, "16", 1, 4096, NULL, false,
     "samples per evaluation of the network; memory grows with it"},
    {"dtype", CONFIG_CHOICE, "f32", 0, 0, COMPUTE_DTYPES, true,
     "activations of the network; bf16: where the processor has it, else f32"},
    {"threads", CONFIG_INT, "auto", 1, 4096, "auto", false,
     "threads; auto: the cores of this process"},
    {"columns", CONFIG_INT, "auto", 1, 1e6, "auto", true, "columns of the grid; auto: square"},
    {"zoom", CONFIG_INT, "auto", 1, 1024, "auto", true,
     "enlargement in the grid; auto: to 64 pixels and more"},
    {.key = NULL},
};
/* clang-format on */

struct sampling {
    const struct config *c;
    struct source source;
    struct schedule schedule;
    struct sampler sampler;
    struct tape *tape;
    uint64_t seed;
    int64_t n, batch, d, classes, one_class; /* one_class: -1 all in turn */
    struct samples shape;                    /* columns and zoom too */
    float *x;                  /* [n, d]: the states, at the end the samples */
    float *mu, *z, *timesteps; /* [d], [d], [batch] */
    int64_t *labels;           /* [batch] */
};

static int read_options(struct config *c, int argc, char **argv, const char **source)
{
    char **word = mem_alloc(argc, sizeof *word);
    int n, rc = arguments_words(c, options, argc, argv, word, &n);
    if (rc == 0 && n > 1)
        rc = err_set(ERR_USAGE, "one SOURCE is wanted, '%.100s' is a second", word[1]);
    *source = n > 0 ? word[0] : NULL;
    mem_free(word);
    if (rc != 0)
        return -1;
    if (*source == NULL || config_text(c, "out")[0] == '\0')
        return err_set(ERR_USAGE, "SOURCE and --out are needed; see --help");
    return 0;
}

/* A number, or `other` where the option's word stands. */
static int64_t int_or(const struct config *c, const char *key, const char *word,
                      int64_t other)
{
    return config_is(c, key, word) ? other : config_int(c, key);
}

static int open_sampler(struct sampling *s)
{
    const struct config *c = s->c;
    const struct source *from = &s->source;
    const struct sampler_options o = {
        .kind = config_is(c, "sampler", "ddpm") ? SAMPLER_DDPM : SAMPLER_DDIM,
        .steps = config_int(c, "steps"),
        .eta = config_real(c, "eta"),
        .clamp_last = config_bool(c, "clamp-last"),
        .spacing = (int)config_choice(c, "spacing") - 1, /* model is -1 */
        .clip_sample =
            config_is(c, "clip", "model") ? -1 : config_is(c, "clip", "true"),
    };
    int rc = from->scheduler == NULL
                 ? schedule_read(&s->schedule, NULL)
                 : schedule_parse(&s->schedule, from->scheduler, from->path);
    return rc != 0 ? err_add("scheduler configuration")
                   : sampler_init(&s->sampler, &s->schedule, &o);
}

/* Size and labels, by the options and the network. */
static int settle_shape(struct sampling *s)
{
    int64_t dim[3];
    const struct config *c = s->c;
    const char *path = s->source.path;
    model_sample_shape(s->source.model, dim);
    s->n = config_int(c, "n");
    s->classes = model_classes(s->source.model);
    s->one_class = int_or(c, "class", "all", -1);
    s->shape = (struct samples){
        .n = s->n,
        .channels = dim[0],
        .height = int_or(c, "height", "model", dim[1]),
        .width = int_or(c, "width", "model", dim[2]),
        .columns = int_or(c, "columns", "auto", 0),
        .zoom = int_or(c, "zoom", "auto", 0),
        .coding = *model_coding(s->source.model),
    };
    if (config_bool(c, "raw"))
        s->shape.coding = (struct coding){0};
    s->d = dim[0] * s->shape.height * s->shape.width;
    if (s->d < 1)
        return err_set(ERR_USAGE,
                       "%s: its config.json names no sample_size: give %s%s%s", path,
                       s->shape.height < 1 ? "--height" : "",
                       s->shape.height < 1 && s->shape.width < 1 ? " and " : "",
                       s->shape.width < 1 ? "--width" : "");
    if (s->one_class >= 0 && s->classes == 0)
        return err_set(ERR_USAGE, "--class: %s is unconditional; leave --class out",
                       path);
    if (s->one_class >= 0 && s->one_class >= s->classes)
        return err_set(ERR_USAGE, "--class: %lld is no class of %s (0 to %lld)",
                       (long long)s->one_class, path, (long long)s->classes - 1);
    return 0;
}

static int prepare(struct sampling *s, const char *source)
{
    const struct config *c = s->c;
    if (source_open(&s->source, source, int_or(c, "version", "newest", -1),
                    config_bool(c, "ema")) != 0 ||
        settle_shape(s) != 0 || open_sampler(s) != 0 ||
        model_set_guidance(s->source.model, config_real(c, "guidance")) != 0 ||
        sample_files_check(&s->shape, config_text(c, "out")) != 0)
        return -1;
    const struct compute o = {
        .backend = "onednn",
        .dtype = config_text(c, "dtype"),
        .threads = (int)int_or(c, "threads", "auto", omp_get_num_procs())};
    s->tape = compute_open(&o, NULL);
    if (s->tape == NULL)
        return -1;
    s->seed = (uint64_t)config_int(c, "seed");
    s->batch = config_int(c, "batch");
    s->x = mem_alloc(s->n * s->d, sizeof *s->x);
    s->mu = mem_alloc(s->d, sizeof *s->mu);
    s->z = mem_alloc(s->d, sizeof *s->z);
    s->timesteps = mem_alloc(s->batch, sizeof *s->timesteps);
    s->labels = mem_alloc(s->batch, sizeof *s->labels);
    return 0;
}

static int64_t label_of(const struct sampling *s, int64_t i)
{
    if (s->classes == 0)
        return 0;
    return s->one_class >= 0 ? s->one_class : i % s->classes;
}

/* Step 0 is the start of the chain. */
static void noise(const struct sampling *s, int64_t i, int64_t step, float *out)
{
    int64_t copy = s->classes > 0 && s->one_class < 0 ? i / s->classes : i;
    rng_normal(rng_key(s->seed, RNG_NOISE, 0, label_of(s, i), copy, step), out, s->d);
}

/* Step k of samples [at, at + m), in place. */
static int step(struct sampling *s, int64_t at, int64_t m, int64_t k)
{
    for (int64_t b = 0; b < m; b++) {
        s->timesteps[b] = (float)s->sampler.step[k].t;
        s->labels[b] = label_of(s, at + b);
    }
    const struct model_input in = {
        .batch = m,
        .height = s->shape.height,
        .width = s->shape.width,
        .x = s->x + at * s->d,
        .timesteps = s->timesteps,
        .labels = s->classes > 0 ? s->labels : NULL,
    };
    tape_begin(s->tape, false);
    const struct tensor *out = model_forward(s->source.model, s->tape, &in, NULL);
    if (out == NULL)
        return err_add("%s", s->source.path);
    const float *predicted = out->data;
    for (int64_t b = 0; b < m; b++) {
        float *x = s->x + (at + b) * s->d;
        sampler_mean(&s->sampler, k, s->d, x, predicted + b * s->d, s->mu, NULL);
        noise(s, at + b, k + 1, s->z);
        sampler_advance(&s->sampler, k, s->d, s->mu, s->z, x);
    }
    return 0;
}

static int check_finite(const struct sampling *s)
{
    for (int64_t j = 0; j < s->n * s->d; j++)
        if (!isfinite(s->x[j]))
            return err_set(
                ERR_NUMERIC,
                "%s: sample %lld is not finite; try --clip true, and check the "
                "weights",
                s->source.path, (long long)(j / s->d));
    return 0;
}

static int draw(struct sampling *s)
{
    bool show = isatty(STDERR_FILENO) != 0;
    int rc = 0;
    for (int64_t at = 0; at < s->n && rc == 0; at += s->batch) {
        int64_t m = s->n - at < s->batch ? s->n - at : s->batch;
        for (int64_t b = 0; b < m; b++)
            noise(s, at + b, 0, s->x + (at + b) * s->d);
        for (int64_t k = 0; k < s->sampler.steps && rc == 0; k++) {
            if (show)
                fprintf(stderr, "\rsamples %lld to %lld of %lld, step %lld of %lld ",
                        (long long)at + 1, (long long)(at + m), (long long)s->n,
                        (long long)k + 1, (long long)s->sampler.steps);
            rc = step(s, at, m, k);
        }
    }
    if (show)
        fputc('\n', stderr);
    return rc != 0 ? -1 : check_finite(s);
}

static void finish(struct sampling *s)
{
    void *const all[] = {s->x, s->mu, s->z, s->timesteps, s->labels};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    tape_destroy(s->tape);
    sampler_free(&s->sampler);
    schedule_free(&s->schedule);
    source_close(&s->source);
}

int cmd_sample(int argc, char **argv)
{
    const char *source;
    int rc = -1;
    if (arguments_help(argc, argv, usage, options, codes))
        return 0;
    struct config *c = config_create(options);
    struct sampling s = {.c = c};
    if (read_options(c, argc, argv, &source) != 0 || prepare(&s, source) != 0 ||
        draw(&s) != 0)
        goto done;
    if (s.shape.coding.kind == CODING_SERIES)
        coding_decode(&s.shape.coding, s.x, s.n * s.d);
    s.shape.data = s.x;
    rc = sample_files_write(&s.shape, config_text(c, "out"));
    if (rc == 0)
        printf("%s\n", config_text(c, "out"));
done:
    finish(&s);
    config_destroy(c);
    return rc == 0 ? 0 : cmd_fail("sample");
}
