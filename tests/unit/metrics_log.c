/* Foreign numbers in metrics.jsonl and sweep.json: the last line of an iteration counts in
 * whatever order they come, what cannot be an iteration is left out, and a sweep's names
 * are those that its writer knows. */
#include "pipeline/metrics_log.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/report/report.h"
#include "pipeline/report/report_parts.h"
#include "pipeline/sweep/sweep.h"
#include "tests/tap.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[64], metrics[96], sweep[96];

static void put(const char *path, const char *text)
{
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        printf("# %s\n", err_text());
}

static void test_order(void)
{
    struct metrics_log m;
    struct report_metrics r;
    put(metrics, "{\"iteration\": 2, \"reward_mean\": 1}\n"
                 "{\"iteration\": 0, \"reward_mean\": 2, \"late\": 5}\n"
                 "{\"iteration\": 9223372036854775807, \"reward_mean\": 9}\n"
                 "{\"iteration\": -1, \"reward_mean\": 9}\n"
                 "{\"iteration\": 2, \"reward_mean\": 3}\n"
                 "{\"iteration\": 1, \"reward_mean\": 4}\n");
    tap_ok(metrics_log_read(&m, metrics) == 0 && m.rows == 3 && m.unreadable == 2 &&
               m.iteration[0] == 0 && m.iteration[1] == 1 && m.iteration[2] == 2,
           "lines in any order; those of no iteration are left out");
    tap_ok(metrics_log_value(&m, 0, "reward_mean") == 2 &&
               metrics_log_value(&m, 1, "reward_mean") == 4 &&
               metrics_log_value(&m, 2, "reward_mean") == 3,
           "the last line of an iteration counts");
    tap_ok(metrics_log_value(&m, 0, "late") == 5 && isnan(metrics_log_value(&m, 2, "late")),
           "a column that a row does not have");
    metrics_log_free(&m);
    report_metrics_read(&r, metrics);
    tap_ok(r.n == 3 && r.unreadable == 2 && r.row[2][M_ITERATION] == 2 &&
               r.row[0][M_REWARD_MEAN] == 2 && r.row[2][M_REWARD_MEAN] == 3,
           "the report reads the same");
    report_metrics_free(&r);
}

static void test_numbers(void)
{
    const double v[] = {1e308, -1e308, 3725};
    const char *want[] = {"1e+308 s", "-1e+308 s", "1 h 02 min"};
    for (int i = 0; i < 3; i++) {
        struct text t = {0};
        report_seconds(&t, v[i]);
        tap_ok(strcmp(t.s, want[i]) == 0, "%g seconds: %s", v[i], t.s);
        text_free(&t);
    }
}

static bool loads(const char *metric, const char *key)
{
    char *text = text_new("{\"format\": \"sluice sweep 1\", \"config\": \"a\", \"metric\": "
                          "\"%s\", \"keys\": [\"%s\"], \"rungs\": [], \"members\": []}",
                          metric, key);
    put(sweep, text);
    struct sweep *s = sweep_load(dir);
    mem_free(text);
    sweep_destroy(s);
    err_clear();
    return s != NULL;
}

static void test_sweep(void)
{
    tap_ok(loads("guard_mean", "run.seed"), "a sweep's folder");
    tap_ok(!loads("<script>x()</script>", "run.seed"), "a metric that is none");
    tap_ok(!loads("guard_mean", "<b>"), "a key that is none");
    tap_ok(!loads("guard_mean", ""), "an empty key");
}

static void test_unreadable(void)
{
    unlink(metrics);
    file_make_dirs(metrics);
    tap_ok(report_write(dir, NULL) != 0 && strstr(err_text(), "metrics.jsonl") != NULL,
           "a report of metrics that cannot be read is refused: %s", err_text());
    err_clear();
    rmdir(metrics);
}

int main(void)
{
    snprintf(dir, sizeof dir, "/tmp/sluice-metrics-log.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", dir);
    snprintf(sweep, sizeof sweep, "%s/sweep.json", dir);
    test_order();
    test_numbers();
    test_sweep();
    test_unreadable();
    unlink(sweep);
    rmdir(dir);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}
