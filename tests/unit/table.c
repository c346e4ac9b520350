/* Look-up of texts: small tables, damaged ones, and all 8-mers of the real one. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/lookup.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

#include <unistd.h>

static char path[1100];

static void put(const char *content)
{
    if (file_write(path, content, (int64_t)strlen(content)) != 0)
        ERR_BUG("%s", err_text());
}

static struct lookup *open_with(const char *columns, int64_t n)
{
    char *spec = text_new("%s:%s", path, columns);
    struct lookup *l = lookup_open("reward.table", spec, n);
    mem_free(spec);
    return l;
}

static void small(void)
{
    put("seq,a,b\r\nACGT,0.5,-1\r\nTTTT,1e-3,7\n\nACGT,0.5,-1\nA,3,4");
    struct lookup *l = open_with("seq:b:a", 2);
    if (!tap_ok(l != NULL, "two columns: %s", l == NULL ? err_text() : "opened"))
        return;
    tap_ok(lookup_rows(l) == 4 && lookup_find(l, "ACGT") == 0 && lookup_find(l, "A") == 3 &&
               lookup_find(l, "") == -1 && lookup_find(l, "ACG") == -1,
           "rows are found, others are not");
    const double *v = lookup_values(l, 1);
    tap_ok(v[0] == 7 && v[1] == 1e-3 && strcmp(lookup_text(l, 1), "TTTT") == 0,
           "values in the order asked for");
    lookup_close(l);
}

static void refused(const char *content, const char *columns, int64_t n, const char *said)
{
    put(content);
    struct lookup *l = open_with(columns, n);
    tap_ok(l == NULL && strstr(err_text(), said) != NULL, "refused: %s",
           l == NULL ? err_text() : "(accepted)");
    lookup_close(l);
}

static void many_columns(void)
{
    struct text t = {0};
    text_add(&t, "seq");
    for (int i = 0; i < 300000; i++)
        text_add(&t, ",%d", i);
    text_add(&t, "\nACGT");
    for (int i = 0; i < 300000; i++)
        text_add(&t, ",1");
    text_add(&t, "\n");
    put(t.s);
    text_free(&t);
    struct lookup *l = open_with("seq:299999", 1);
    tap_ok(l != NULL && lookup_find(l, "ACGT") == 0, "the last of 300,000 columns");
    lookup_close(l);
    l = open_with("seq:none", 1);
    tap_ok(l == NULL, "refused: %s", err_text());
    if (file_write(path, "seq,a\nAC\0GT,1\n", 15) != 0)
        ERR_BUG("%s", err_text());
    l = open_with("seq:a", 1);
    tap_ok(l == NULL && strstr(err_text(), "byte 0") != NULL, "refused: %s", err_text());
}

static int open_reward(const struct reward *r, struct config *c, const struct coding *coding,
                       void **ctx)
{
    const struct reward_scene scene = {.channels = 4, .height = 1, .width = 4,
                                       .coding = coding, .config = c, .seed = 3};
    return r->open(&scene, ctx);
}

static void score(const char *set, double v[3], uint8_t status[3], int64_t first)
{
    const struct reward *r = reward_find("table");
    struct coding coding = {0};
    struct config *c = schema_load(0, NULL);
    char *spec = text_new("reward.table=%s:seq:a", path);
    float x[3 * 16];
    void *ctx = NULL;
    coding_set_alphabet(&coding, "ACGT");
    if (config_override(c, spec) != 0 || config_override(c, "rollout.samples=10") != 0 ||
        config_override(c, set) != 0 || open_reward(r, c, &coding, &ctx) != 0 ||
        coding_encode_text(&coding, "TTTT", 4, x) != 0 ||
        coding_encode_text(&coding, "GGGG", 4, x + 16) != 0 ||
        coding_encode_text(&coding, "ACGT", 4, x + 32) != 0)
        ERR_BUG("%s", err_text());
    struct reward_batch b = {.n = 3, .channels = 4, .height = 1, .width = 4, .sample = x,
                             .iteration = 2, .first = first, .score = v, .status = status};
    if (r->score(ctx, &b) != 0)
        ERR_BUG("%s", err_text());
    r->close(ctx);
    config_destroy(c);
    mem_free(spec);
}

static void rewards(void)
{
    double v[3], w[3];
    uint8_t s[3];
    put("seq,a\nACGT,0.5\nTTTT,0.25\n");
    score("reward.noise=0", v, s, 4);
    tap_ok(v[0] == 0.25 && s[0] == REWARD_OK && v[2] == 0.5 && s[2] == REWARD_OK,
           "texts have the table's numbers");
    tap_ok(isnan(v[1]) && s[1] == REWARD_INFEASIBLE, "another text is infeasible");
    score("reward.noise=0.1", v, s, 4);
    score("reward.noise=0.1", w, s, 4);
    tap_ok(v[0] != 0.25 && v[0] == w[0] && v[2] == w[2] && v[0] - 0.25 != v[2] - 0.5,
           "noise belongs to the sample's number");
    score("reward.noise=0.1", w, s, 2);
    tap_near(w[2] - 0.5, v[0] - 0.25, 1e-12, "and not to the shard that holds it");
    struct config *c = schema_load(0, NULL);
    void *ctx;
    tap_ok(open_reward(reward_find("table"), c, NULL, &ctx) == -1 &&
               err_code() == ERR_USAGE,
           "refused: %s", err_text());
    config_destroy(c);
}

static void all_8mers(void)
{
    const char *file = tap_shared("data/tfbind8/tfbind8.csv");
    if (file == NULL) {
        tap_skip("tfbind8.csv", "the data sets are not here");
        return;
    }
    char *spec = text_new("%s:seq:SIX6_REF_R1", file), seq[9] = {0};
    struct lookup *l = lookup_open("reward.table", spec, 1);
    int64_t wrong = 0;
    double sum = 0;
    if (l == NULL)
        ERR_BUG("%s", err_text());
    for (int64_t i = 0; i < 65536; i++) {
        for (int k = 0; k < 8; k++)
            seq[k] = "ACGT"[i >> (14 - 2 * k) & 3];
        wrong += lookup_find(l, seq) != i;
        sum += *lookup_values(l, i);
    }
    tap_ok(lookup_rows(l) == 65536 && wrong == 0, "all 8-mers are found in their rows");
    tap_near(sum / 65536, 0.4595, 0.005, "mean score of SIX6");
    lookup_close(l);
    mem_free(spec);
}

int main(void)
{
    snprintf(path, sizeof path, "%s/table-%d.csv",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    small();
    many_columns();
    refused("seq,a\nA,1\n", "seq:c", 1, "no column");
    refused("seq,a\nA,x\n", "seq:a", 1, "no finite number");
    refused("seq,a\nA,inf\n", "seq:a", 1, "no finite number");
    refused("seq,a\nA\n", "seq:a", 1, "number 2 is needed");
    refused("seq,a\nA,1\nA,2\n", "seq:a", 1, "twice");
    refused("seq,a\n\"A\",1\n", "seq:a", 1, "quotes");
    refused("seq,a\n", "seq:a", 1, "no rows");
    refused("", "seq:a", 1, "no rows");
    refused("seq,a\nA,1\n", "seq:", 1, "must be FILE.csv");
    refused("seq,a\nA,1\n", "seq::a", 1, "must be FILE.csv");
    tap_ok(lookup_open("reward.table", "", 1) == NULL && err_code() == ERR_USAGE,
           "refused: %s", err_text());
    tap_ok(lookup_open("reward.table", "/nowhere.csv:a:b", 1) == NULL, "refused: %s",
           err_text());
    rewards();
    all_8mers();
    unlink(path);
    tap_ok(mem_live() == 0, "all memory is freed");
    return tap_done();
}
