/* sluice front: reward against fidelity as a curve, from one command. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/measure/front.h"
#include "pipeline/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: sluice front CONFIG.yaml [CONFIG.yaml ...] section.key=V1,V2,... \n"
    "                    [section.key=value ...] [OPTIONS]\n\n"
    "For each value of the key: runs the configuration (run.iterations=0: no training, only\n"
    "sampling, as for a key of section search), evaluates the newest policy, and puts the\n"
    "points together: front.csv with every measure, front.json, front.svg, front.png and a\n"
    "table. Several configurations give several curves. Members that are finished are not\n"
    "run again, so the same command goes on after a stop.\n\n"
    "`sluice evaluate --help` names the measures.\n\n";

/* clang-format off */
static const struct config_key options[] = {
    {"out", CONFIG_TEXT, "front", 0, 0, NULL, true, "folder for members and results"},
    {"launch", CONFIG_TEXT, "", 0, 0, NULL, true,
     "words before `sluice run` and `evaluate`, such as \"mpirun -np 4\""},
    {"x", CONFIG_TEXT, "", 0, 0, NULL, true,
     "measure across; empty: the first there is of reference.frechet, path_kl.mean, "
     "reference.wasserstein, diversity.pairwise_distance"},
    {"y", CONFIG_TEXT, "", 0, 0, NULL, true, "measure upwards; empty: the first reward's mean"},
    {"n", CONFIG_INT, "256", 1, 1e6, NULL, true, "evaluate: samples"},
    {"seed", CONFIG_INT, "0", 0, 9007199254740992.0, NULL, true, "evaluate: key of the noise"},
    {"rewards", CONFIG_TEXT, "", 0, 0, NULL, true, "evaluate: rewards"},
    {"reference", CONFIG_TEXT, "", 0, 0, NULL, true, "evaluate: held-out data"},
    {"reference-rows", CONFIG_TEXT, "", 0, 0, NULL, true, "evaluate: rows of it"},
    {"training", CONFIG_TEXT, "", 0, 0, NULL, true, "evaluate: training data"},
    {"training-rows", CONFIG_TEXT, "", 0, 0, NULL, true, "evaluate: rows of it"},
    {.key = NULL},
};
/* clang-format on */

enum { MOST = 128 };

struct words {
    struct config *options;
    const char *config[MOST], *override[MOST], *value[MOST], *evaluate[MOST];
    int configs, overrides, values, arguments;
    char *key;
};

/* "section.key=1,2,3": a list, unless it is one in brackets. */
static bool is_sweep(const char *word)
{
    const char *eq = strchr(word, '=');
    return eq != NULL && eq[1] != '[' && strchr(eq, ',') != NULL;
}

static int add_values(struct words *w, const char *word)
{
    const char *eq = strchr(word, '=');
    if (w->key != NULL)
        return err_set(ERR_USAGE, "%s: %s has several values already; a front has one key",
                       word, w->key);
    w->key = text_new("%.*s", (int)(eq - word), word);
    for (const char *p = eq + 1; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        int n = (int)strcspn(p, ",");
        if (n == 0)
            continue;
        if (w->values == MOST - 1 || memchr(p, '/', (size_t)n) != NULL)
            return err_set(ERR_USAGE,
                           "%.*s: a front takes at most %d values, and they name its "
                           "folders, so none may hold a '/'",
                           n, p, MOST - 1);
        w->value[w->values++] = text_new("%.*s", n, p);
    }
    return 0;
}

static int sort_words(int argc, char **argv, struct words *w)
{
    int rc = 0;
    for (int i = 1; i < argc && rc == 0; i++) {
        if (w->configs >= MOST - 1 || w->overrides >= MOST - 1)
            return err_set(ERR_USAGE, "too many words");
        if (strncmp(argv[i], "--", 2) == 0)
            rc = arguments_option(w->options, options, argc, argv, &i);
        else if (strchr(argv[i], '=') == NULL || file_exists(argv[i]))
            w->config[w->configs++] = argv[i];
        else if (is_sweep(argv[i]))
            rc = add_values(w, argv[i]);
        else
            w->override[w->overrides++] = argv[i];
    }
    if (rc == 0 && (w->configs == 0 || w->values == 0))
        rc = err_set(ERR_USAGE, "name a configuration file and a key with several values, "
                                "as algorithm.kl_weight=0,0.01,0.1; see --help");
    return rc;
}

/* Every member's configuration is read before the first one runs. */
static int check(const struct words *w)
{
    for (int i = 0; i < w->configs; i++)
        for (int k = 0; k < w->values; k++) {
            char *word[2] = {(char *)(uintptr_t)w->config[i],
                             text_new("%s=%s", w->key, w->value[k])};
            struct config *c = schema_load(2, word);
            int rc = c == NULL ? -1 : 0;
            for (int n = 0; n < w->overrides && rc == 0; n++)
                rc = config_override(c, w->override[n]);
            config_destroy(c);
            mem_free(word[1]);
            if (rc != 0)
                return -1;
        }
    return 0;
}

static void pass_on(struct words *w)
{
    static const char *const names[][2] = {
        {"n", "--n"},
        {"seed", "--seed"},
        {"rewards", "--rewards"},
        {"reference", "--reference"},
        {"reference-rows", "--reference-rows"},
        {"training", "--training"},
        {"training-rows", "--training-rows"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (config_text(w->options, names[i][0])[0] != '\0') {
            w->evaluate[w->arguments++] = names[i][1];
            w->evaluate[w->arguments++] = config_text(w->options, names[i][0]);
        }
}

int cmd_front(int argc, char **argv)
{
    struct words w = {.options = config_create(options)};
    const char *world = getenv("OMPI_COMM_WORLD_SIZE");
    int rc = 0;
    if (arguments_help(argc, argv, usage, options, NULL))
        goto done;
    if (world != NULL && strcmp(world, "1") != 0)
        rc = err_set(ERR_USAGE, "front starts its members itself: give the launcher by "
                                "--launch instead");
    if (rc == 0)
        rc = sort_words(argc, argv, &w);
    if (rc == 0)
        rc = check(&w);
    if (rc == 0) {
        pass_on(&w);
        const struct front_options o = {
            .dir = config_text(w.options, "out"),
            .config = w.config,
            .key = w.key,
            .value = w.value,
            .override = w.override,
            .evaluate = w.evaluate,
            .launch = arguments_text(w.options, "launch"),
            .x = arguments_text(w.options, "x"),
            .y = arguments_text(w.options, "y"),
        };
        rc = front_make(&o);
    }
done:
    for (int i = 0; i < w.values; i++)
        mem_free((char *)(uintptr_t)w.value[i]);
    mem_free(w.key);
    config_destroy(w.options);
    return rc == 0 ? 0 : cmd_fail("front");
}
