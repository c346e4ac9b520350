/* The report: complete, escaped, self-contained; with restarted and cut metrics, with
 * and without gnuplot, with and without samples. */
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/report/report.h"
#include "tests/tap.h"

#include <unistd.h>

static char dir[64];

static void put(const char *name, const char *text)
{
    char *path = rundir_path(dir, name);
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        printf("# %s\n", err_text());
    mem_free(path);
}

static int64_t count(const char *s, const char *word)
{
    int64_t n = 0;
    for (; (s = strstr(s, word)) != NULL; s++)
        n++;
    return n;
}

/* Writes the report and returns its text. */
static char *report(void)
{
    char *path = rundir_path(dir, "report.html"), *text = NULL;
    int64_t len = 0;
    if (!tap_ok(report_write(dir, NULL) == 0, "written: %s", err_text()) ||
        file_read(path, 64 << 20, &text, &len) != 0)
        text = mem_text("");
    mem_free(path);
    return text;
}

/* Four samples of [channels, height, width]; the third one failed. */
static void put_shards(int64_t iteration, int64_t channels, int64_t height)
{
    float sample[4 * 3 * 2 * 8];
    const double reward[4] = {0.25, 0.75, NAN, 0.5};
    const uint8_t status[4] = {0, 0, 1, 0};
    char rel[96];
    struct shard_head head = {.kind = SHARD_ROLLOUT,
                              .iteration = iteration,
                              .policy_version = iteration,
                              .run_id = "r"};
    for (int i = 0; i < 4 * 3 * 2 * 8; i++)
        sample[i] = (float)(i % 16) / 8 - 1;
    memset(head.config_digest, '0', DIGEST_HEX - 1);
    struct column x = {.name = "final_sample",
                       .type = COLUMN_F32,
                       .nd = 4,
                       .dim = {4, channels, height, 8},
                       .axis = {"item", "channel", "row", "col"},
                       .units = "1",
                       .long_name = "final sample",
                       .data = sample};
    struct column r = {.name = "reward",
                       .type = COLUMN_F64,
                       .nd = 1,
                       .dim = {4},
                       .axis = {"item"},
                       .units = "1",
                       .long_name = "reward",
                       .data = reward};
    struct column s = {.name = "status",
                       .type = COLUMN_U8,
                       .nd = 1,
                       .dim = {4},
                       .axis = {"item"},
                       .units = "1",
                       .long_name = "status",
                       .data = status};
    for (int kind = 0; kind < 2; kind++) {
        head.kind = kind == 0 ? SHARD_ROLLOUT : SHARD_REWARD;
        char *path = rundir_path(dir, kind == 0 ? rundir_rollout(rel, iteration, 0)
                                                : rundir_reward(rel, iteration, 0));
        char *slash = strrchr(path, '/');
        *slash = '\0';
        file_make_dirs(path);
        *slash = '/';
        struct shard_writer *w = shard_create(path, &head);
        if (w == NULL || shard_put(w, kind == 0 ? &x : &r) != 0 ||
            (kind == 1 && shard_put(w, &s) != 0) || shard_seal(w, NULL) != 0)
            printf("# %s\n", err_text());
        mem_free(path);
    }
}

static const char lines[] =
    "{\"event\": \"start <b>\", \"time\": \"2026-01-31T12:00:00Z\"}\n"
    "{\"iteration\": 0, \"reward_mean\": 1.5, \"reward_std\": 0.5, \"samples\": 4, "
    "\"failed\": 1, \"t_iteration_s\": 2, \"t_rollout_s\": 1, \"ratio_absdev_max\": "
    "0}\n"
    "{\"iteration\": 1, \"reward_mean\": 7777, \"approx_kl\": null}\n"
    "not json\n"
    "{\"iteration\": 2, \"reward_mean\": 2.5}\n"
    "{\"event\": \"resume\"}\n"
    "{\"iteration\": 1, \"reward_mean\": 2.25, \"approx_kl\": 1e-5}\n"
    "{\"iteration\": 3, \"rew";

static void test_full(void)
{
    put("metrics.jsonl", lines);
    put("config.yaml", "model:\n  path: \"a<b>&c\"\n");
    put("provenance.json", "{\"run_id\": \"run-7\", \"argv\": [\"a\", \"<script>\"]}");
    put("accounting.json", "{\"groups\": [{\"name\": \"rollout\", \"ranks\": 2, "
                           "\"working_s\": 90, \"waiting_s\": 10, \"io_s\": 0, "
                           "\"working_max_s\": 50, \"working_min_s\": 40}], "
                           "\"wall_s\": 60}");
    put_shards(0, 3, 2);
    put_shards(2, 3, 2);
    char *t = report();
    tap_ok(strstr(t, "1.5 → 2.5") != NULL, "first and last reward");
    tap_ok(strstr(t, "7777") == NULL && strstr(t, "2.25") != NULL,
           "of an iteration that ran twice the last line counts");
    tap_ok(strstr(t, "2 unreadable line") != NULL, "unreadable lines are said");
    tap_ok(strstr(t, "a&lt;b&gt;&amp;c") != NULL && strstr(t, "<script") == NULL,
           "text is escaped");
    tap_ok(strstr(t, "src=\"http") == NULL && strstr(t, "href=") == NULL &&
               count(t, "src=\"data:") == count(t, "src="),
           "nothing is loaded");
    tap_ok(count(t, "data:image/png;base64,") == 8 && strstr(t, "failed</em>") != NULL,
           "eight samples, the failed ones named");
    const char *best = strstr(t, ">0.75<"), *worst = strstr(t, ">0.25<");
    tap_ok(best != NULL && worst != NULL && worst < best, "the lowest first");
    tap_ok(strstr(t, "100 %, highest") != NULL && strstr(t, "no reward</h4>") != NULL,
           "quantiles, and a place for what has no reward");
    tap_ok(strstr(t, "1.25</td></tr>") != NULL, "max / min over the ranks");
    if (count(t, "data:image/svg") > 0)
        tap_ok(count(t, "data:image/svg") == 3, "three curves have data");
    else
        tap_skip("curves", "gnuplot is not here");
    mem_free(t);
}

static void test_poor(void)
{
    char *path = mem_text(getenv("PATH") == NULL ? "/usr/bin:/bin" : getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    put("accounting.json", "{\"groups\": 5");
    put("provenance.json", "[1, {\"x\": null}]");
    put_shards(0, 1, 1);
    char *t = report();
    tap_ok(strstr(t, "Plots need gnuplot") != NULL &&
               strstr(t, "<details open>") != NULL,
           "without gnuplot the table is shown");
    tap_ok(count(t, "<polyline") == 4, "samples without height are curves");
    mem_free(t);
    setenv("PATH", path, 1);
    mem_free(path);
    put("metrics.jsonl", "");
    put("config.yaml", "nonsense: [\n");
    t = report();
    tap_ok(strstr(t, "No iteration has finished yet") != NULL, "a run that just began");
    mem_free(t);
}

/* A first policy that says how samples are coded. */
static void put_policy(const char *config)
{
    struct shard_head head = {.kind = SHARD_POLICY, .run_id = "r"};
    char *path = rundir_path(dir, "policy/v000000.h5");
    memset(head.config_digest, '0', DIGEST_HEX - 1);
    const struct column x = {.name = "model_config", .type = COLUMN_TEXT, .nd = 1,
                             .dim = {1}, .axis = {"one"},
                             .text_len = (int64_t)strlen(config) + 1, .units = "1", .long_name = "config.json", .data = config};
    unlink(path);
    struct shard_writer *w = shard_create(path, &head);
    if (w == NULL || shard_put(w, &x) != 0 || shard_seal(w, NULL) != 0)
        printf("# %s\n", err_text());
    mem_free(path);
}

static void test_coded(void)
{
    put_shards(0, 1, 1);
    put_policy("{\"data\": {\"kind\": \"series\", \"mean\": 10, \"std\": 2}}");
    char *t = report();
    tap_ok(count(t, "<polyline") == 4 && strstr(t, "from 8 to 11.75") != NULL,
           "series are drawn in their units, on one scale");
    mem_free(t);
    put_shards(0, 3, 1);
    put_policy("{\"data\": {\"kind\": \"text\", \"alphabet\": \" <A\"}}");
    t = report();
    tap_ok(count(t, "<polyline") == 0 && count(t, "<code>") == 4 &&
               strstr(t, "&lt;") != NULL && strstr(t, "failed</em>") != NULL,
           "texts are letters");
    const char *best = strstr(t, ">0.75<"), *worst = strstr(t, ">0.25<");
    tap_ok(best != NULL && worst != NULL && worst < best, "the lowest first, each once");
    mem_free(t);
}

/* One column of numbers into w. */
static int put_column(struct shard_writer *w, const char *name, const char *units,
                      enum column_type type, int64_t n, const void *data)
{
    return shard_put(w, &(struct column){.name = name, .type = type, .nd = 1, .dim = {n},
                                         .axis = {"item"}, .units = units,
                                         .long_name = name, .data = data});
}

/* A reward shard of a mixture: left rises with i, right falls, flat stays. */
static void put_mixture(int64_t iteration)
{
    enum { N = 8 };
    double left[N], right[N], flat[N], sum[N];
    uint8_t status[N] = {0};
    char rel[96];
    struct shard_head head = {.kind = SHARD_REWARD, .iteration = iteration, .run_id = "r"};
    memset(head.config_digest, '0', DIGEST_HEX - 1);
    for (int i = 0; i < N; i++) {
        left[i] = i;
        right[i] = -2 * i;
        flat[i] = 5;
        sum[i] = left[i] + 0.25 * right[i] + flat[i];
    }
    char *path = rundir_path(dir, rundir_reward(rel, iteration, 0));
    *strrchr(path, '/') = '\0';
    file_make_dirs(path);
    mem_free(path);
    path = rundir_path(dir, rel);
    unlink(path);
    struct shard_writer *w = shard_create(path, &head);
    const char *hostile = "k'W\n<b>&`id`\"";
    if (w == NULL || put_column(w, "reward_left", hostile, COLUMN_F64, N, left) != 0 ||
        put_column(w, "reward_right", "1", COLUMN_F64, N, right) != 0 ||
        put_column(w, "reward_flat", "1", COLUMN_F64, N, flat) != 0 ||
        put_column(w, "reward", "1", COLUMN_F64, N, sum) != 0 ||
        put_column(w, "status", "1", COLUMN_U8, N, status) != 0 ||
        put_column(w, "status_left", "1", COLUMN_U8, N, status) != 0 ||
        put_column(w, "status_right", "1", COLUMN_U8, N, status) != 0 ||
        put_column(w, "status_flat", "1", COLUMN_U8, N, status) != 0 ||
        shard_seal(w, NULL) != 0)
        printf("# %s\n", err_text());
    mem_free(path);
}

static const char mixture_lines[] =
    "{\"iteration\": 0, \"reward_mean\": 1, \"samples\": 8, \"status\": {\"ok\": 7, "
    "\"failed\": 1}, \"components\": {\"left\": {\"mean\": 1, \"std\": 2, \"scored\": "
    "8}, \"right\": {\"mean\": 3, \"std\": 1, \"scored\": 7}, \"flat\": {\"mean\": 5, "
    "\"std\": 0, \"scored\": 8}}}\n"
    "{\"iteration\": 1, \"reward_mean\": 2, \"samples\": 8, \"components\": {\"left\": "
    "{\"mean\": 4, \"std\": 1, \"scored\": 8}, \"right\": {\"mean\": null}, \"flat\": 7}}\n";

static const char mixture_config[] =
    "reward: {name: mixture}\n"
    "components:\n"
    "  left: {name: brightness, weight: 1}\n"
    "  right: {name: brightness, weight: 0.25}\n"
    "  flat: {name: brightness, weight: 1}\n";

static void test_mixture(void)
{
    put("metrics.jsonl", mixture_lines);
    put("config.yaml", mixture_config);
    put_mixture(0);
    put_mixture(1);
    char *t = report();
    /* The sum is left - left / 2 + 5: var 1/4 of left's, covariance with left 1/2. */
    tap_ok(strstr(t, "disagree: correlation -1.00; the sum follows") != NULL &&
               strstr(t, "which makes 200 % of its variance") != NULL &&
               strstr(t, "takes 100 % off") != NULL,
           "what disagrees and what the sum follows");
    tap_ok(strstr(t, "rose by 1.50") != NULL, "changes in deviations");
    tap_ok(strstr(t, "<td class=\"none\">—</td>") != NULL, "a constant has no correlation");
    tap_ok(strstr(t, "<b>&`") == NULL && strstr(t, "k&#39;W") != NULL, "units are escaped");
    tap_ok(strstr(t, "7 of 8") != NULL && strstr(t, "<h2>Statuses</h2>") != NULL,
           "statuses, and who scored how many");
    tap_ok(strstr(t, "samples cannot be shown") != NULL, "samples of other files are gone");
    if (count(t, "data:image/svg") > 0)
        tap_ok(strstr(t, "The two that agree least") != NULL,
               "gnuplot takes any text for a label");
    else
        tap_skip("labels", "gnuplot is not here");
    mem_free(t);
    put("config.yaml", "reward: {name: mixture}\n");
    put("metrics.jsonl", "{\"iteration\": 0, \"components\": {\"<i>'x\": {\"mean\": 1, "
                         "\"std\": 1}, \"y\": []}}\n");
    t = report();
    tap_ok(strstr(t, "<i>'x") == NULL && strstr(t, "&lt;i&gt;&#39;x") != NULL &&
               strstr(t, "does not tell the components' weights") != NULL &&
               strstr(t, "No reward shard can be read") != NULL,
           "names are escaped; shards without such columns are none");
    mem_free(t);
}

/* 30,000 iterations: plots of a size that a browser takes. */
static void test_long(void)
{
    struct text t = {0};
    for (int i = 0; i < 30000; i++)
        text_add(&t,
                 "{\"iteration\": %d, \"reward_mean\": %d, \"components\": {\"a\": "
                 "{\"mean\": %d, \"std\": 1}}}\n",
                 i, i % 7, i % 5);
    put("metrics.jsonl", t.s);
    text_free(&t);
    char *page = report();
    tap_ok(strlen(page) < 2000000, "a long run's page has %zu bytes", strlen(page));
    mem_free(page);
}

static void clean(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        printf("# cannot remove %s\n", dir);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/sluice_report_%ld", (long)getpid());
    tap_ok(report_write(dir, NULL) == -1 && err_code() == ERR_INPUT,
           "no run directory: %s", err_text());
    if (rundir_create(dir) != 0)
        return tap_skip_all("the run directory cannot be created");
    test_full();
    test_poor();
    test_coded();
    test_mixture();
    test_long();
    char *out = rundir_path(dir, "other.html");
    tap_ok(report_write(dir, out) == 0 && file_size(out) > 1000, "--out");
    mem_free(out);
    clean();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}
