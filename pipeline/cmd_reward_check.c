/* sluice reward-check: asks every reward of a configuration for a few samples, before a
 * job does. Without MPI. */
#include "io/json.h"
#include "io/spawn.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/measure/evaluate.h"
#include "pipeline/given.h"
#include "pipeline/schema.h"
#include "pipeline/spawner.h"
#include "stages/reward/scorer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: sluice reward-check CONFIG.yaml [section.key=value ...] [OPTIONS]\n\n"
    "Draws samples from model.path by the sampler of the configuration, or takes given "
    "ones,\n"
    "and asks for their scores: of reward.name, of each component, and of "
    "reward.guard, each\n"
    "by itself. Prints for each the statuses, the mean score, the time per sample, the "
    "mean\n"
    "norm of the gradient where there is one, or the error. Kept scores (reward.cache) "
    "are\n"
    "neither used nor added to.\n\n";

static const char codes[] =
    "\nexit codes: 0 all have scores, 2 usage, 3 bad input, 7 a reward failed\n";

/* clang-format off */
static const struct config_key options[] = {
    {"n", CONFIG_INT, "1", 1, 4096, NULL, true, "samples"},
    {"sample", CONFIG_TEXT, "", 0, 0, NULL, true,
     "take them from a file or a folder of pictures, as `sluice score` does"},
    {"labels", CONFIG_TEXT, "", 0, 0, NULL, true, "class labels of those, FILE.csv:COLUMN"},
    {"json", CONFIG_BOOL, "false", 0, 0, NULL, true, "the result as JSON"},
    {.key = NULL},
};
/* clang-format on */

enum { MOST = CONFIG_PARTS_MAX + 2 };

struct set { /* samples to score */
    int64_t n, channels, height, width, classes;
    float *x;       /* [n, channels, height, width] */
    int64_t *label; /* [n] or NULL */
    struct coding coding;
};

struct answer { /* of one reward */
    char name[64], units[32], error[512];
    int64_t status[REWARD_NOT_ASKED + 1];
    double score, time_s, gradient; /* means of the ok, per sample; NaN: none */
};

static int copy_key(struct config *to, const struct config *from, const char *key)
{
    char *a = text_new("%s=%s", key, config_text(from, key));
    int rc = config_override(to, a);
    mem_free(a);
    return rc;
}

/* The network and the sampler of a configuration, without its rewards. */
static struct config *drawing_of(const struct config *c, int64_t n)
{
    static const char *const sections[] = {"model.", "sampler.", "rollout.classes"};
    struct config *own = config_create(schema);
    int rc = copy_key(own, c, "run.seed");
    for (const struct config_key *k = schema; k->key != NULL && rc == 0; k++)
        for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
            if (rc == 0 && strncmp(k->key, sections[i], strlen(sections[i])) == 0)
                rc = copy_key(own, c, k->key);
    char *size = text_new("rollout.shard_samples=%lld", (long long)n);
    if (rc == 0)
        rc = config_override(own, size);
    mem_free(size);
    if (rc == 0)
        return own;
    config_destroy(own);
    return NULL;
}

static int draw(struct set *s, const struct config *c, int64_t n)
{
    const char *model = config_text(c, "model.path");
    if (model[0] == '\0')
        return err_set(ERR_USAGE,
                       "model.path is not set: name a network to draw samples, or "
                       "give them by --sample");
    struct evaluation e = {.comm = comm_self(), .version = -1};
    struct config *own = drawing_of(c, n);
    if (own == NULL)
        return -1;
    e.o = (struct evaluate_options){
        .source = model, .config = own, .n = n, .version = -1};
    int rc = evaluate_draw(&e);
    if (rc == 0) {
        *s = (struct set){.n = n,
                          .channels = e.set.channels,
                          .height = e.set.height,
                          .width = e.set.width,
                          .classes = e.set.labelled ? model_classes(e.task.model) : 0,
                          .x = e.set.x,
                          .label = e.set.labelled ? e.set.label : NULL,
                          .coding = e.set.coding};
        e.set.x = NULL;
        if (e.set.labelled)
            e.set.label = NULL;
    }
    evaluate_close(&e);
    config_destroy(own);
    return rc;
}

static int take(struct set *s, const struct config *c, const char *path,
                const char *labels, int64_t n)
{
    struct given g;
    if (given_open(&g, path, labels[0] != '\0' ? labels : NULL, c) != 0)
        return -1;
    *s = (struct set){.n = n < g.n ? n : g.n,
                      .channels = g.channels,
                      .height = g.height,
                      .width = g.width,
                      .classes = g.labelled ? g.classes : 0,
                      .coding = g.coding};
    s->x = mem_alloc(s->n * g.d, sizeof *s->x);
    if (g.labelled) {
        s->label = mem_alloc(s->n, sizeof *s->label);
        memcpy(s->label, g.dataset.label, (size_t)s->n * sizeof *s->label);
    }
    int rc = s->n > 0 ? given_rows(&g, 0, s->n, s->x)
                      : err_set(ERR_INPUT, "%s: holds no samples", path);
    given_close(&g);
    return rc;
}

/* Scores of an open reward; time and gradient from calls of their own. */
static int ask(const struct reward *r, void *ctx, const struct set *s, struct answer *a)
{
    const int64_t d = s->channels * s->height * s->width;
    double *score = mem_alloc(s->n, sizeof *score), sum = 0, norms = 0;
    uint8_t *status = mem_alloc(s->n, 1);
    float *gradient = r->differentiable ? mem_alloc(s->n * d, sizeof *gradient) : NULL;
    struct reward_batch b = {.n = s->n,
                             .channels = s->channels,
                             .height = s->height,
                             .width = s->width,
                             .sample = s->x,
                             .label = s->label,
                             .score = score,
                             .status = status};
    double start = clock_s();
    int rc = r->score(ctx, &b);
    a->time_s = (clock_s() - start) / (double)s->n;
    for (int64_t i = 0; i < s->n && rc == 0; i++) {
        a->status[status[i] <= REWARD_NOT_ASKED ? status[i] : REWARD_FAILED]++;
        sum += status[i] == REWARD_OK ? score[i] : 0;
    }
    b.gradient = gradient;
    if (rc == 0 && gradient != NULL)
        rc = r->score(ctx, &b);
    for (int64_t i = 0; i < s->n && gradient != NULL && rc == 0; i++) {
        double square = 0;
        for (int64_t j = i * d; j < (i + 1) * d; j++)
            square += (double)gradient[j] * (double)gradient[j];
        norms += sqrt(square);
    }
    const double ok = (double)a->status[REWARD_OK];
    a->score = ok > 0 && rc == 0 ? sum / ok : (double)NAN;
    a->gradient = ok > 0 && rc == 0 && gradient != NULL ? norms / ok : (double)NAN;
    mem_free(score);
    mem_free(status);
    mem_free(gradient);
    return rc;
}

/* What fails is told in a->error, and nothing is pending afterwards. */
static void check(const struct config *c, const struct set *s, const char *name,
                  struct answer *a)
{
    struct reward r = {0};
    void *ctx = NULL;
    const struct reward_scene scene = {
        .channels = s->channels,
        .height = s->height,
        .width = s->width,
        .classes = s->classes,
        .coding = &s->coding,
        .config = c,
        .name = name,
        .seed = (uint64_t)config_int(c, "run.seed"),
        .scorers = 1,
    };
    *a = (struct answer){.score = NAN, .time_s = NAN, .gradient = NAN, .units = "1"};
    snprintf(a->name, sizeof a->name, "%s",
             name != NULL ? name : config_text(c, "reward.name"));
    int rc = scorer_describe(c, name, &r);
    if (rc == 0)
        snprintf(a->units, sizeof a->units, "%s", r.units);
    if (rc == 0)
        rc = r.open(&scene, &ctx);
    if (rc == 0)
        rc = ask(&r, ctx, s, a);
    if (rc != 0) {
        snprintf(a->error, sizeof a->error, "%s", err_text());
        err_clear();
    }
    if (ctx != NULL)
        r.close(ctx);
}

static int check_all(const struct config *c, const struct set *s, struct answer *a)
{
    const char *guard = config_text(c, "reward.guard");
    bool guarded = guard[0] == '\0';
    int n = 0;
    for (int64_t i = 0; i < config_parts(c); i++) {
        const char *part;
        config_part(c, i, &part);
        guarded = guarded || strcmp(part, guard) == 0;
        check(c, s, part, &a[n++]);
    }
    check(c, s, NULL, &a[n++]);
    if (!guarded)
        check(c, s, guard, &a[n++]);
    return n;
}

/* Infeasible samples are no fault of the reward's. */
static bool good(const struct answer *a)
{
    return a->error[0] == '\0' && a->status[REWARD_FAILED] == 0 &&
           a->status[REWARD_TIMED_OUT] == 0 && a->status[REWARD_NON_FINITE] == 0;
}

static void print_text(const struct answer *a)
{
    char statuses[128] = "", number[3][32];
    const double value[] = {a->score, a->time_s * 1e3, a->gradient};
    int at = 0;
    for (int k = 0; k <= REWARD_NOT_ASKED; k++)
        if (a->status[k] > 0)
            at += snprintf(statuses + at, sizeof statuses - (size_t)at, "%s%lld %s",
                           at > 0 ? ", " : "", (long long)a->status[k],
                           reward_status_name((enum reward_status)k));
    for (int k = 0; k < 3; k++)
        snprintf(number[k], sizeof number[k], isfinite(value[k]) ? "%.6g" : "-",
                 value[k]);
    printf("%-24s %-18s %-14s %-12s %s\n", a->name,
           a->error[0] != '\0' ? "error" : statuses, number[0], number[1], number[2]);
    if (a->error[0] != '\0')
        printf("  %s\n", a->error);
}

static void print_json(const struct answer *a, int n)
{
    struct json_out *o = json_out_create();
    json_out_list(o, "rewards");
    for (int i = 0; i < n; i++) {
        json_out_map(o, NULL);
        json_out_text(o, "name", a[i].name);
        json_out_bool(o, "ok", good(&a[i]));
        json_out_text(o, "units", a[i].units);
        json_out_map(o, "status");
        for (int k = 0; k <= REWARD_NOT_ASKED; k++)
            json_out_i64(o, reward_status_name((enum reward_status)k), a[i].status[k]);
        json_out_end(o);
        json_out_f64(o, "score", a[i].score);
        json_out_f64(o, "seconds_per_sample", a[i].time_s);
        json_out_f64(o, "gradient_norm", a[i].gradient);
        if (a[i].error[0] != '\0')
            json_out_text(o, "error", a[i].error);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_print(o);
}

static int run(const struct config *c, const struct config *o)
{
    struct answer *a = mem_alloc(MOST, sizeof *a);
    struct set s = {0};
    const char *path = config_text(o, "sample");
    int n = 0, bad = 0, code = 0;
    int rc = path[0] != '\0'
                 ? take(&s, c, path, config_text(o, "labels"), config_int(o, "n"))
                 : draw(&s, c, config_int(o, "n"));
    if (rc == 0)
        n = check_all(c, &s, a);
    for (int i = 0; i < n; i++)
        bad += !good(&a[i]);
    if (rc != 0)
        code = cmd_fail("reward-check");
    else if (config_bool(o, "json"))
        print_json(a, n);
    else
        printf("%-24s %-18s %-14s %-12s %s\n", "reward", "status", "score", "ms/sample",
               "|gradient|");
    for (int i = 0; i < n && !config_bool(o, "json"); i++)
        print_text(&a[i]);
    mem_free(s.x);
    mem_free(s.label);
    mem_free(a);
    return bad > 0 ? ERR_REWARD : code;
}

int cmd_reward_check(int argc, char **argv)
{
    struct config *o = config_create(options), *c = NULL;
    char **rest = mem_alloc(argc, sizeof *rest);
    int n = 0, rc, code = 0;
    if (arguments_help(argc, argv, usage, options, codes))
        goto done;
    rc = arguments_words(o, options, argc, argv, rest, &n);
    if (rc == 0 && n == 0)
        rc = err_set(ERR_USAGE,
                     "name a configuration file; see `sluice reward-check --help`");
    if (rc == 0)
        c = schema_load(n, rest);
    code = c == NULL || spawner_begin(c) != 0 ? cmd_fail("reward-check") : run(c, o);
    spawn_end();
done:
    config_destroy(c);
    config_destroy(o);
    mem_free(rest);
    return code;
}
