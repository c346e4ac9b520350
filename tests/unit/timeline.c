/* The time line against waits worked out by hand; its file: whole lines after a cut one,
 * bounded in length; read again by the report, also where it is damaged. */
#include "pipeline/run/timeline.h"

#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/report/report_time.h"
#include "tests/tap.h"

#include <unistd.h>

static const double tol = 1e-9;
static char dir[64];

static void begin(void)
{
    snprintf(dir, sizeof dir, "/tmp/sluice-timeline.XXXXXX");
    if (mkdtemp(dir) == NULL)
        abort();
    char *log = rundir_path(dir, "log");
    file_make_dirs(log);
    mem_free(log);
}

static void drop(const char *name)
{
    char *path = rundir_path(dir, name);
    unlink(path);
    rmdir(path);
    mem_free(path);
}

static void end(void)
{
    drop("log/timeline.jsonl");
    drop("log/timeline.old.jsonl");
    drop("log");
    rmdir(dir);
}

static int64_t size_of(const char *name)
{
    char *path = rundir_path(dir, name);
    int64_t n = file_size(path);
    mem_free(path);
    return n;
}

/* A group to a rank. */
static struct layout layout(void)
{
    const int want[GROUPS] = {1, 1, 1, 1};
    struct layout l;
    if (layout_make(&l, want, true, 4) != 0)
        abort();
    return l;
}

static void work(struct timeline *t, enum group g, int64_t iteration, int64_t shard,
                 double from, double to)
{
    const struct lease l = {.group = g, .iteration = iteration, .shard = shard};
    const struct record_account a = {.working_s = to - from};
    struct timeline_lease w = {.from_s = from, .to_s = to};
    w.spans.n = 1;
    w.spans.span[0].kind = TIME_IO;
    w.spans.span[0].from = to - 0.1;
    w.spans.span[0].to = to;
    timeline_lease(t, (int)g, &l, &a, &w);
    timeline_sealed(t, &l, to + 0.1);
}

/* Two shards, sealed 0.1 after they are done; each lease comes 0.1 later. */
static void one_iteration(struct timeline *t, int64_t i, double at)
{
    work(t, GROUP_ROLLOUT, i, 0, at, at + 1);
    work(t, GROUP_REWARD, i, 0, at + 1.2, at + 1.5);
    work(t, GROUP_ROLLOUT, i, 1, at + 1, at + 2);
    work(t, GROUP_REWARD, i, 1, at + 2.2, at + 2.5);
    work(t, GROUP_ADVANTAGE, i, -1, at + 2.7, at + 3);
    work(t, GROUP_UPDATE, i, -1, at + 3.2, at + 5);
}

static void near_all(const struct record_waits *w, const double want[RECORD_WAITS],
                     const char *name)
{
    double worst = 0;
    for (int k = 0; k < RECORD_WAITS; k++)
        worst = fmax(worst, fabs(w->on_s[k] - want[k]));
    tap_near(worst, 0, tol, name);
}

static struct timeline *create(const struct layout *l, int64_t staleness)
{
    return timeline_create(&(struct timeline_options){
        .dir = dir, .layout = l, .shards = 2, .max_staleness = staleness});
}

static void test_waits(void)
{
    struct layout l = layout();
    struct record_waits w[GROUPS], all[GROUPS];
    struct timeline *t = create(&l, 0);
    double sum = 0;
    one_iteration(t, 0, 0);
    timeline_iteration(t, 0, 5.1, w);
    near_all(&w[GROUP_ROLLOUT], (double[]){0, 0, 0, 0, 0}, "rollouts begin at once");
    near_all(&w[GROUP_REWARD], (double[]){1.1 + 0.6, 0, 0, 0, 0.2},
             "each score waits for its own rollout");
    near_all(&w[GROUP_ADVANTAGE], (double[]){2.1, 0.5, 0, 0, 0.1},
             "advantages for all rollouts, then for the last scores");
    near_all(&w[GROUP_UPDATE], (double[]){2.1, 0.5, 0.5, 0, 0.1}, "the update for all three");
    one_iteration(t, 1, 5.2);
    timeline_iteration(t, 1, 10.3, w);
    near_all(&w[GROUP_ROLLOUT], (double[]){0.1, 0.5, 0.5, 2, 0.1},
             "a rollout for all that its policy needs, in turn");
    near_all(&w[GROUP_UPDATE], (double[]){2.1 + 0.1, 0.5, 0.5, 0.1, 0.1},
             "the update first for its own end");
    timeline_finish(t, 11, all);
    for (int g = 0; g < GROUPS; g++)
        for (int k = 0; k < RECORD_WAITS; k++)
            sum += all[g].on_s[k];
    tap_near(sum + 2 * (2 + 0.6 + 0.3 + 1.8), 4 * 11, tol,
             "work and waits of four ranks fill the session");
    timeline_destroy(t);
}

/* With a staleness the rollouts of iteration 1 need no update. */
static void test_stale(void)
{
    struct layout l = layout();
    struct record_waits w[GROUPS];
    struct timeline *t = create(&l, 1);
    work(t, GROUP_ROLLOUT, 0, 0, 0, 1);
    work(t, GROUP_ROLLOUT, 0, 1, 1, 2);
    work(t, GROUP_ROLLOUT, 1, 0, 2.5, 3);
    timeline_finish(t, 3, w);
    near_all(&w[GROUP_ROLLOUT], (double[]){0, 0, 0, 0, 0.5}, "it has its policy already");
    timeline_destroy(t);
}

static void test_aside(void)
{
    struct layout l = layout();
    const struct lease reward = {.group = GROUP_REWARD, .iteration = 0, .shard = 0};
    const struct record_account a = {.working_s = 0.25};
    struct record_waits w[GROUPS];
    struct timeline *t = create(&l, 0);
    work(t, GROUP_ROLLOUT, 0, 0, 0, 1);
    timeline_lease(t, 0, &reward, &a,
                   &(struct timeline_lease){.from_s = 0.5, .to_s = 1.75, .aside = 1});
    work(t, GROUP_ROLLOUT, 0, 1, 1.5, 2);
    timeline_finish(t, 2, w);
    near_all(&w[GROUP_ROLLOUT], (double[]){0, 0, 0, 0, 0.5},
             "what runs aside is no work of the rank");
    timeline_destroy(t);
}

static void put(const char *text, bool append)
{
    char *path = rundir_path(dir, "log/timeline.jsonl");
    if (append)
        file_append(path, text, (int64_t)strlen(text));
    else
        file_write(path, text, (int64_t)strlen(text));
    mem_free(path);
}

static void test_read(void)
{
    struct layout l = layout();
    struct record_waits w[GROUPS];
    struct report_line r;
    drop("log/timeline.jsonl");
    put("{\"iteration\": 0, \"session\": \"other\", \"le", false);
    struct timeline *t = create(&l, 0);
    one_iteration(t, 7, 0);
    timeline_iteration(t, 7, 5.1, w);
    work(t, GROUP_ROLLOUT, 8, 0, 5.2, 6);
    timeline_finish(t, 6.5, w);
    timeline_destroy(t);
    report_line_read(&r, dir, 4);
    tap_ok(r.extents == 2 && r.extent[0].iteration == 7 && r.extent[0].complete &&
               r.extent[1].iteration == 8 && !r.extent[1].complete,
           "two iterations behind a cut line");
    tap_ok(r.leases == 7 + 4 && r.ranks[GROUP_UPDATE] == 1 && r.first[GROUP_UPDATE] == 3,
           "all leases and the groups' ranks");
    tap_ok(!report_line_overlaps(&r), "no rank has two roles");
    const struct report_lease *last = &r.lease[r.leases - 2];
    tap_ok(last[1].rest && last[1].rank == 3 && last[1].waits == 2 &&
               last[1].wait[0].kind == GROUP_ROLLOUT && fabs(last[1].wait[1].to - 6.5) < 1e-6,
           "and what each rank waited for at the end");
    tap_ok(last->rank == 3 && last->waits == 4 && last->wait[2].kind == GROUP_ADVANTAGE &&
               fabs(last->wait[2].from - 2.6) < 1e-6 && fabs(last->wait[2].to - 3.1) < 1e-6,
           "with their waits");
    tap_ok(last->spans == 1 && last->span[0].kind == TIME_IO &&
               fabs(last->span[0].to - 5) < 1e-6,
           "and their files");
    report_line_free(&r);
    put("no json\n[1]\n{\"iteration\": 9}\n{\"iteration\": 9, \"session\": \"s\", \"leases\": 5, "
        "\"groups\": {\"rollout\": {\"first\": -1, \"ranks\": 1e99}}, \"from_us\": 0, "
        "\"to_us\": 1}\n{\"iteration\": 9, \"session\": \"s\", \"leases\": [], \"groups\": "
        "{\"rollout\": {\"first\": 9223372036854775807, \"ranks\": 9223372036854775807, "
        "\"working_us\": 1}}, \"from_us\": 0, \"to_us\": 1}\n{\"iteration\": 9, \"sess",
        true);
    report_line_read(&r, dir, 1);
    tap_ok(r.extents == 1 && r.extent[0].iteration == 8, "foreign lines are passed over");
    report_line_free(&r);
}

static void test_bounds(void)
{
    struct layout l = layout();
    struct record_waits w[GROUPS];
    struct report_line r;
    struct timeline *t = create(&l, 0);
    for (int64_t i = 0; i < 6000; i++) {
        one_iteration(t, i, 6 * (double)i);
        timeline_iteration(t, i, 6 * (double)i + 5.9, w);
    }
    timeline_finish(t, 36001, w);
    timeline_destroy(t);
    int64_t now = size_of("log/timeline.jsonl"), old = size_of("log/timeline.old.jsonl");
    tap_ok(now > 0 && now < 3 << 20 && old > 0 && old < 3 << 20,
           "a long run has two bounded files (%lld and %lld bytes)", (long long)now,
           (long long)old);
    report_line_read(&r, dir, 4);
    tap_ok(r.extents == 4 && r.extent[3].iteration == 5999, "that end with its last iteration");
    report_line_free(&r);
    drop("log/timeline.jsonl");
    drop("log/timeline.old.jsonl");
    report_line_read(&r, dir, 4);
    tap_ok(r.extents == 0 && r.leases == 0, "no file, no picture");
    report_line_free(&r);
}

int main(void)
{
    begin();
    test_waits();
    test_stale();
    test_aside();
    test_read();
    test_bounds();
    end();
    return tap_done();
}
