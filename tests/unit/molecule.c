/* Features, fits and rewards of molecules: an additive property is found again exactly, QED
 * and logP of QM9 in good part; sets know molecules, not strings. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/molecule_set.h"
#include "stages/reward/property.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

#include <unistd.h>

static const char *const few[] = {
    "C",     "CC",    "CCC",   "CCO",    "OCC",      "CO",       "N",      "CN",   "C=C",
    "C#N",   "CC#N",  "C1CC1", "C1CCC1", "CC(C)C",   "CC(C)O",   "OCCO",   "C=O",  "CC=O",
    "NCC=O", "CCF",   "FCF",   "C1CO1",  "C1CCCCC1", "CC1CCCC1", "OC1CC1", "CCN",  "CNC",
    "COC",   "C=CC=C"};
enum { FEW = sizeof few / sizeof *few };

/* 1.5 for each carbon, -2 for each oxygen, 0.25 for each double bond. */
static double additive(const struct molecule *m)
{
    double v = 0;
    for (int a = 0; a < m->atoms; a++) {
        v += m->element[a] == 'C' ? 1.5 : m->element[a] == 'O' ? -2 : 0;
        for (int k = 0; k < m->degree[a]; k++)
            v += m->order[a][k] == 2 ? 0.125 : 0;
    }
    return v;
}

static struct lookup *open_table(const char *path, const char *columns)
{
    char *spec = text_new("%s:%s", path, columns);
    struct lookup *l = lookup_open("reward.table", spec, 1);
    mem_free(spec);
    if (l == NULL)
        ERR_BUG("%s", err_text());
    return l;
}

static void write_few(const char *path)
{
    struct text file = {0};
    text_add(&file, "s,v\n");
    for (int i = 0; i < FEW; i++) {
        struct molecule m;
        if (smiles_parse(few[i], &m) != NULL)
            ERR_BUG("%s", few[i]);
        text_add(&file, "%s,%.17g\n", few[i], additive(&m));
    }
    text_add(&file, "C(C,1000\n");
    if (file_write(path, file.s, file.len) != 0)
        ERR_BUG("%s", err_text());
    text_free(&file);
}

static void features(void)
{
    struct molecule m, n;
    double f[FEATURES], g[FEATURES], paths = 0;
    if (smiles_parse("CC(=O)NC", &m) != NULL || smiles_parse("CNC(C)=O", &n) != NULL)
        ERR_BUG("SMILES");
    molecule_features(&m, f);
    molecule_features(&n, g);
    tap_ok(memcmp(f, g, sizeof f) == 0, "features belong to the molecule, not the string");
    for (int i = FEATURE_COUNTS; i < FEATURES; i++)
        paths += f[i];
    /* 5 atoms, 4 bonds, 4 paths of two bonds, 2 of three. */
    tap_ok(paths == 15 && f[1] == 5 && f[2] == 3 && f[6] == 7 && f[8] == 1 && f[10] == 1,
           "counts and paths of N-methylacetamide");
}

static void fits(const char *path)
{
    struct lookup *l = open_table(path, "s:v");
    struct property *p = property_fit(l, 0);
    struct molecule m;
    double worst = 0;
    for (int i = 0; i < FEW; i++) {
        smiles_parse(few[i], &m);
        worst = fmax(worst, fabs(property_of(p, &m) - additive(&m)));
    }
    struct property_fit_quality q = property_quality(p);
    tap_ok(q.rows == FEW && isnan(q.held_out) && q.fitted > 0.99 && worst < 0.3,
           "an additive property: R2 %.4f, %.2g off at most", q.fitted, worst);
    property_free(p);
    lookup_close(l);
}

static void qm9(void)
{
    const char *file = tap_shared("data/molecules/qm9.csv");
    if (file == NULL) {
        tap_skip("qm9.csv", "the data sets are not here");
        return;
    }
    static const char *const column[] = {"smiles:qed", "smiles:logP", "smiles:sa"};
    static const double least[] = {0.75, 0.9, 0.6};
    for (int k = 0; k < 3; k++) {
        struct lookup *l = open_table(file, column[k]);
        struct property *p = property_fit(l, 5000);
        struct property_fit_quality q = property_quality(p);
        tap_ok(q.held_out > least[k] && q.rows == 5000 && q.held_out_rows == 5000,
               "%s: R2 %.3f, held out %.3f", column[k], q.fitted, q.held_out);
        property_free(p);
        lookup_close(l);
    }
}

static void rewards(const char *path)
{
    struct config *c = schema_load(0, NULL);
    struct coding coding = {0};
    char *set = text_new("reward.table=%s:s:v", path);
    coding_set_alphabet(&coding, " #()12=CFNO");
    const struct reward_scene s = {.channels = 11, .height = 1, .width = 8,
                                   .coding = &coding, .config = c};
    float x[3 * 88];
    double v[3];
    uint8_t status[3];
    struct reward_batch b = {.n = 3, .channels = 11, .height = 1, .width = 8, .sample = x,
                             .score = v, .status = status};
    static const char *const text[] = {"CCO", "C(C", "C1CC1"};
    for (int i = 0; i < 3; i++)
        coding_encode_text(&coding, text[i], 8, x + i * 88);
    void *ctx = NULL;
    const struct reward *r = reward_find("molecule_valid");
    if (config_override(c, set) != 0 || r->open(&s, &ctx) != 0 || r->score(ctx, &b) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(v[0] == 1 && v[1] == 0 && v[2] == 1 && status[1] == REWARD_OK,
           "molecule_valid says which are molecules");
    r->close(ctx);
    r = reward_find("molecule_property");
    if (r->open(&s, &ctx) != 0 || r->score(ctx, &b) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(fabs(v[0] - 1) < 0.3 && isnan(v[1]) && status[1] == REWARD_INFEASIBLE &&
               fabs(v[2] - 4.5) < 0.3,
           "molecule_property: %.3f and %.3f, the broken one is infeasible", v[0], v[2]);
    r->close(ctx);
    const struct reward_scene bad = {.channels = 3, .height = 8, .width = 8, .config = c};
    tap_ok(r->open(&bad, &ctx) == -1 && err_code() == ERR_USAGE, "refused: %s", err_text());
    mem_free(set);
    config_destroy(c);
}

static void sets(void)
{
    static const char *const text[] = {"CCO", "OCC", "C(", "CC", "CC", "CCC"};
    struct molecule_set *known = molecule_set_create();
    tap_ok(molecule_set_add(known, "C(C)C") == 1 && molecule_set_add(known, "CCC") == 0 &&
               molecule_set_add(known, "x") == -1 && molecule_set_count(known) == 1,
           "a set adds a molecule once");
    struct molecule_counts n = molecule_count(text, 6, known);
    tap_ok(n.valid == 5 && n.unique == 3 && n.novel == 2, "6 texts: %lld, %lld, %lld",
           (long long)n.valid, (long long)n.unique, (long long)n.novel);
    struct text chain = {0};
    for (int i = 0; i < 60; i++) {
        text_add(&chain, "C");
        for (int k = 0; k < 40 && i < 50; k++) {
            char *s = text_new("%s%.*s", chain.s, k % 9 + 1, "OCOCNNOFN");
            molecule_set_add(known, s);
            mem_free(s);
        }
    }
    tap_ok(molecule_set_has(known, "COCO") == 1 && molecule_set_has(known, "COCOO") == 0,
           "a set of %lld grows and finds", (long long)molecule_set_count(known));
    text_free(&chain);
    molecule_set_destroy(known);
}

int main(void)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/molecule-%d.csv",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    write_few(path);
    features();
    fits(path);
    rewards(path);
    sets();
    qm9();
    unlink(path);
    tap_ok(mem_live() == 0, "all memory is freed");
    return tap_done();
}
