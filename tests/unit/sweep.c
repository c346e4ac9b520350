/* Sweeps without runs: trees of YAML, members of the axes and their names, rungs, and the
 * effects of keys against numbers worked out by hand. */
#include "io/config_tree.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/sweep/sweep_effect.h"
#include "tests/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static char *put(const char *name, const char *text)
{
    char *path = text_new("%s/%s", dir, name);
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        printf("# %s\n", err_text());
    return path;
}

static void test_tree(void)
{
    char *path = put("tree.yaml", "a: {b: [1, two, [3, 4]], c: ~}\nd: \"~\"\n");
    struct config_node *t = config_tree_read(path);
    const struct config_node *a = t == NULL ? NULL : config_tree_get(t, "a"),
                             *b = a == NULL ? NULL : config_tree_get(a, "b");
    tap_ok(b != NULL && b->kind == CONFIG_NODE_LIST && b->children == 3 && b->line == 1 &&
               strcmp(b->child[1].text, "two") == 0 && b->child[2].children == 2,
           "a tree of maps and lists");
    tap_ok(a != NULL && config_tree_get(a, "c")->text[0] == '\0' &&
               strcmp(config_tree_get(t, "d")->text, "~") == 0,
           "null is empty, a quoted one is not");
    config_tree_destroy(t);
    mem_free(path);
}

static void test_bad_trees(void)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "is empty"},
        {"[1]", "lines expected"},
        {"a: 1\na: 2", ":2: 'a' is given twice"},
        {"a: &x 1\nb: *x", "aliases"},
        {"a: [1", ":"},
        {"a: 1\n---\nb: 1", "second document"},
        {"{[1]: 2}", "plain word"},
        {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]", "levels deep"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *path = put("bad.yaml", bad[i].text);
        struct config_node *t = config_tree_read(path);
        tap_ok(t == NULL && err_code() == ERR_USAGE && strstr(err_text(), bad[i].says),
               "refused: %s", err_text());
        err_clear();
        config_tree_destroy(t);
        mem_free(path);
    }
}

static struct sweep *plan(const char *text, int n, char **words)
{
    char *base = put("base.yaml", "run: {iterations: 27}\n");
    char *full = text_new("sweep: {config: %s, dir: %s/out, %s", base, dir, text);
    char *path = put("sweep.yaml", full);
    struct sweep *s = sweep_plan(path, n, words);
    if (s == NULL)
        printf("# %s\n", err_text());
    mem_free(path);
    mem_free(full);
    mem_free(base);
    return s;
}

static void test_members(void)
{
    char more[] = "update.batch=5";
    char *words[] = {more};
    struct sweep *s = plan("kind: grid}\naxes:\n  update.lr: [1e-4, 0.0001, 1e-3]\n"
                           "  run.seed: [1, 2]\n",
                           0, NULL);
    struct sweep *t = plan("kind: list}\nmembers:\n  - {run.seed: 2, update.lr: 0.001}\n", 1,
                           words);
    tap_ok(s != NULL && s->members == 4 && s->twins == 2,
           "two spellings of a number are one member");
    tap_ok(s != NULL && t != NULL && t->members == 1 &&
               strcmp(s->member[3].id, t->member[0].id) == 0 &&
               strlen(t->member[0].id) == SWEEP_ID,
           "a name depends on the parameters, not on their order or the other members");
    tap_ok(s != NULL && strcmp(s->member[0].id, s->member[1].id) != 0,
           "and on the seed");
    sweep_destroy(s);
    sweep_destroy(t);
}

static void test_rungs(void)
{
    struct sweep *s = plan("kind: halving, samples: 30, eta: 3, min_iterations: 2}\naxes:\n"
                           "  update.lr: {from: 1e-5, to: 1e-1, scale: log}\n"
                           "  update.batch: {from: 1, to: 8}\n",
                           0, NULL);
    double lr, batch;
    bool in = s != NULL;
    for (int64_t i = 0; in && i < s->members; i++)
        in = text_to_f64(s->member[i].value[0], &lr) && lr >= 1e-5 && lr <= 1e-1 &&
             text_to_f64(s->member[i].value[1], &batch) && batch == floor(batch) &&
             batch >= 1 && batch <= 8;
    tap_ok(in, "draws lie in their ranges, whole where the key is");
    tap_ok(s != NULL && s->rungs == 3 && s->count[0] == 30 && s->count[1] == 10 &&
               s->count[2] == 3 && s->iterations[0] == 3 && s->iterations[1] == 9 &&
               s->iterations[2] == 27,
           "rungs: 30, 10, 3 members up to 3, 9, 27 iterations");
    sweep_destroy(s);
}

/* Metric = 10 a + noise-free parity of b; a in 1..3 and b in {x, y}. */
static void test_effects(void)
{
    struct sweep *s = plan("kind: grid}\naxes:\n  reward.offset: [1, 2, 3]\n"
                           "  sampler.kind: [ddim, ddpm]\n  reward.retries: [0, 1]\n",
                           0, NULL);
    struct sweep_effect e[3];
    struct sweep_result r[12] = {{0}};
    if (!tap_ok(s != NULL && s->members == 12, "twelve members"))
        return;
    for (int i = 0; i < 12; i++)
        r[i].last = 10 * (i / 4 + 1) + (i / 2 % 2);
    sweep_effects(s, r, e);
    /* ranks of the metric: 2 members each at 0.5, 2.5, ... 10.5; of the key: 4 each at 1.5,
     * 5.5, 9.5: 128 / sqrt(128 * 140) */
    tap_ok(e[0].key == 0 && fabs(e[0].rank - sqrt(128.0 / 140.0)) < 1e-12,
           "rank correlation with ties");
    tap_ok(fabs(e[0].share - 800.0 / 803.0) < 1e-12 && e[0].levels == 3 &&
               e[0].mean[1] == 20.5 && e[0].count[1] == 4,
           "share of the variance and means by level");
    tap_ok(e[1].key == 1 && isnan(e[1].rank) && fabs(e[1].share - 3.0 / 803.0) < 1e-12,
           "words have a share and no rank correlation");
    tap_ok(e[2].key == 2 && fabs(e[2].rank) < 1e-12 && fabs(e[2].share) < 1e-12,
           "a key without effect comes last");
    r[0].last = NAN;
    sweep_effects(s, r, e);
    tap_ok(e[0].members == 11 && isfinite(e[0].rank), "a member without a number is left out");
    sweep_destroy(s);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/sluice-sweep.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    test_tree();
    test_bad_trees();
    test_members();
    test_rungs();
    test_effects();
    tap_ok(mem_live() == 0, "nothing is left allocated");
    char *names[] = {"tree.yaml", "bad.yaml", "base.yaml", "sweep.yaml"};
    for (int i = 0; i < 4; i++) {
        char *path = text_new("%s/%s", dir, names[i]);
        unlink(path);
        mem_free(path);
    }
    rmdir(dir);
    return tap_done();
}
