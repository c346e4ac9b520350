/* `sluice watch`: what is read of a run's files, and what is drawn of it. Numbers are
 * compared with closed forms; pictures by what a terminal would make of their bytes. */
#include "io/sys/clock.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/watch/watch_frame.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

static char dir[256];

static char *at(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const char *text)
{
    file_write(at(name), text, (int64_t)strlen(text));
}

static void append(const char *text)
{
    file_append(at("metrics.jsonl"), text, (int64_t)strlen(text));
}

/* Terminal sequences, controls, bad UTF-8 (cut, overlong, a surrogate, beyond the
 * last), C1 controls, direction marks, combining characters. */
#define HOSTILE                  \
    "a\x1b[31mb\x07\x08\r\t\x7f" \
    "c\x9b"                      \
    "1m\xc2\x9b"                 \
    "2J\xe2\x80\xae"             \
    "d\xff\xc0\xaf\xed\xa0\x80"  \
    "\xf4\x90\x80\x80"           \
    "e\xcc\x81\xe2\x82 \xf0\x9f\x98"

/* How many columns the widest line has; -1 where a byte must not reach a terminal.
 * Sequences of the canvas's own, ESC [ digits m, are let through where colours are on.
 */
static int widest(const char *s, bool utf8, bool colour, int *lines)
{
    int most = 0, used = 0;
    *lines = 0;
    for (; *s != '\0';) {
        wchar_t w;
        mbstate_t state = {0};
        if (*s == '\n') {
            used = 0;
            ++*lines;
            s++;
            continue;
        }
        if (colour && s[0] == '\x1b' && s[1] == '[') {
            s += 2;
            s += strspn(s, "0123456789");
            if (*s++ != 'm')
                return -1;
            continue;
        }
        if (!utf8 && (*s < 0x20 || *s > 0x7e))
            return -1;
        const size_t n = mbrtowc(&w, s, 8, &state);
        if (n == 0 || n > 4 || wcwidth(w) < 1)
            return -1;
        used += wcwidth(w);
        most = used > most ? used : most;
        s += n;
    }
    return most;
}

static void test_canvas(void)
{
    for (int utf8 = 0; utf8 < 2; utf8++) {
        struct watch_canvas c = {.columns = 60, .utf8 = utf8};
        int lines;
        watch_canvas_put(&c, WATCH_BAD, "%s", HOSTILE);
        watch_canvas_line(&c);
        tap_ok(widest(c.out.s, utf8, false, &lines) > 0 && lines == 1,
               "hostile text is harmless, utf8 %d", utf8);
        tap_ok(strncmp(c.out.s, "a?[31mb?????c?1m", 16) == 0, "and stays readable");
        text_free(&c.out);
    }
    struct watch_canvas c = {.columns = 7, .rows = 2};
    watch_canvas_put(&c, WATCH_PLAIN, "0123456789");
    watch_canvas_line(&c);
    watch_canvas_bar(&c, 4, 0.5);
    watch_canvas_put(&c, WATCH_PLAIN, "   ");
    watch_canvas_line(&c);
    watch_canvas_put(&c, WATCH_PLAIN, "below");
    watch_canvas_line(&c);
    tap_ok(strcmp(c.out.s, "0123456\n##..\n") == 0,
           "lines are cut, those below left out");
    text_free(&c.out);
    c = (struct watch_canvas){.columns = 20, .utf8 = true};
    watch_canvas_curve(&c, (double[]){0, 1, NAN, 2, 3, 4, 5, 6, 7}, 9);
    watch_canvas_tab(&c, 10);
    watch_canvas_bar(&c, 2, 0.75);
    watch_canvas_line(&c);
    tap_ok(strcmp(c.out.s, "▁▂ ▃▄▅▆▇█ █▌\n") == 0, "a curve and half a block");
    text_free(&c.out);
    c = (struct watch_canvas){.columns = 10, .utf8 = true};
    watch_canvas_put(&c, WATCH_PLAIN, "日本語日本語");
    tap_ok(c.used == 10 && strcmp(c.out.s, "日本語日本") == 0,
           "wide characters count two");
    text_free(&c.out);
    c = (struct watch_canvas){.columns = 20, .indent = 2};
    watch_canvas_item(&c, WATCH_PLAIN, "one two");
    watch_canvas_item(&c, WATCH_PLAIN, "three");
    watch_canvas_item(&c, WATCH_PLAIN, "four five");
    watch_canvas_line(&c);
    tap_ok(strcmp(c.out.s, "one two  three\n  four five\n") == 0, "items wrap whole");
    text_free(&c.out);
}

static void iteration(struct text *t, int64_t i, double reward)
{
    text_add(t,
             "{\"iteration\": %lld, \"policy_version\": %lld, \"reward_mean\": %.17g, "
             "\"reward_std\": 0.25, \"approx_kl\": 1e-4, \"clip_fraction\": 0.125, "
             "\"ratio_absdev_max\": 0.0, \"samples\": 64, \"failed\": 0, "
             "\"t_iteration_s\": 2.0, \"rss_bytes\": 104857600, \"kl_path\": null, "
             "\"time\": \"2026-01-01T00:00:00Z\"}\n",
             (long long)i, (long long)i, reward);
}

static void test_metrics(void)
{
    struct watch_metrics m;
    struct text t = {0};
    double v[300];
    watch_metrics_clear(&m);
    tap_ok(!watch_metrics_read(&m, at("metrics.jsonl")) && m.iteration == -1,
           "no file yet");
    for (int64_t i = 0; i < 1000; i++)
        iteration(&t, i, (double)i);
    append(t.s);
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == 999 && m.value[WATCH_REWARD] == 999 && m.unreadable == 0,
           "the newest of 1000 lines");
    int64_t n = watch_metrics_history(&m, v, 300);
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(v[i] - (4 * (double)i + 1.5)));
    tap_ok(n == 250 && worst < 1e-9, "250 buckets of 4 with their means");
    n = watch_metrics_history(&m, v, 10);
    worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(v[i] - (100 * (double)i + 49.5)));
    tap_ok(n == 10 && worst < 1e-9, "the same in ten columns");

    append("{\"iteration\": 1000, \"reward_mean\": 5");
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == 999 && m.unreadable == 0, "half a line is not read yet");
    append(".5, \"t_iteration_s\": 4}\nrubbish\n[1]\n\n{\"iteration\": \"x\"}\n"
           "{\"step\": 3}\n{\"event\": \"stopped\", \"detail\": \"why\", \"time\": "
           "\"T\"}\n");
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == 1000 && m.value[WATCH_REWARD] == 5.5, "and then it is");
    tap_ok(isnan(m.value[WATCH_KL]), "what a line lacks is absent");
    tap_ok(m.unreadable == 3 && m.events == 1 && strcmp(m.event[0].detail, "why") == 0,
           "rubbish is counted, an event kept");
    t.len = 0;
    iteration(&t, 500, -1);
    append(t.s);
    watch_metrics_read(&m, at("metrics.jsonl"));
    n = watch_metrics_history(&m, v, 300);
    tap_ok(m.iteration == 500 && n == 126 && fabs(v[124] - 497.5) < 1e-9,
           "a run that went back");
    put("metrics.jsonl", "{\"iteration\": 0, \"reward_mean\": 1}\n");
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == 0 && m.unreadable == 0,
           "a file that became shorter is read anew");
    char *line = mem_alloc(900000, 1);
    memset(line, 'x', 899998);
    line[899998] = '\n';
    append(line);
    append("{\"iteration\": 1, \"reward_mean\": 2}\n");
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == 1 && m.unreadable == 1,
           "a line beyond all bounds is skipped");
    mem_free(line);
    unlink(at("metrics.jsonl"));
    mkfifo(at("metrics.jsonl"), 0600);
    tap_ok(!watch_metrics_read(&m, at("metrics.jsonl")),
           "a pipe in its place holds nobody up");
    unlink(at("metrics.jsonl"));
    text_free(&t);
}

/* Bytes that this process has asked the system for. */
static int64_t bytes_read(void)
{
    char *s = NULL, *rchar;
    int64_t len, n = -1;
    if (file_read("/proc/self/io", 4096, &s, &len) == 0 &&
        (rchar = strstr(s, "rchar: ")))
        n = strtoll(rchar + 7, NULL, 10);
    mem_free(s);
    return n;
}

static void test_large(void)
{
    enum { LINES = 100000, MB = 1 << 20 };
    struct watch_metrics m;
    struct text t = {0};
    double v[64], worst = 0;
    for (int64_t i = 0; i < LINES; i++) {
        iteration(&t, i, (double)i);
        if (i % 1000 == 999) {
            FILE *f = fopen(at("metrics.jsonl"), "a");
            fwrite(t.s, 1, (size_t)t.len, f);
            fclose(f);
            t.len = 0;
        }
    }
    watch_metrics_clear(&m);
    const int64_t live = mem_live(), rss = mem_peak_rss(), before = bytes_read();
    watch_metrics_read(&m, at("metrics.jsonl"));
    const int64_t read = bytes_read() - before;
    tap_ok(file_size(at("metrics.jsonl")) > 20 * MB && m.iteration == LINES - 1 &&
               m.unreadable == 0,
           "the newest of 100,000 lines");
    tap_ok(before < 0 || read < 4 * MB, "read: %lld bytes", (long long)read);
#ifdef __SANITIZE_ADDRESS__ /* it keeps what was freed */
    const int64_t more = 0 * rss;
#else
    const int64_t more = mem_peak_rss() - rss;
#endif
    tap_ok(more < 4 * MB && mem_live() == live, "memory: %lld bytes more",
           (long long)more);
    const int64_t n = watch_metrics_history(&m, v, 64);
    for (int64_t i = 0; i < n; i++) /* each column stands for 1/n of the run */
        worst = fmax(worst, fabs(v[i] / LINES - ((double)i + 0.5) / (double)n));
    tap_ok(n > 32 && worst < 1.0 / 64, "the history within %.3f of the line it is",
           worst);
    iteration(&t, LINES, 7);
    append(t.s);
    const int64_t then = bytes_read();
    watch_metrics_read(&m, at("metrics.jsonl"));
    tap_ok(m.iteration == LINES && (then < 0 || bytes_read() - then < 4096),
           "one line more costs one line");
    unlink(at("metrics.jsonl"));
    text_free(&t);
}

static void make_run(void)
{
    mkdir(at("log"), 0777);
    mkdir(at("rollout"), 0777);
    mkdir(at("rollout/i000007"), 0777);
    mkdir(at("reward"), 0777);
    mkdir(at("reward/i000007"), 0777);
    put("rollout/i000007/s00000.h5", "");
    put("rollout/i000007/s00001.h5", "");
    put("rollout/i000007/s00002.h5.tmp.host.1", "");
    put("reward/i000007/s00000.h5", "");
    put("config.yaml", "rollout: {samples: 10, shard_samples: 4}\n"
                       "algorithm: {name: ppo}\n");
    put("status.json",
        "{\"state\": \"running\", \"exit_code\": 0, \"message\": \"\", "
        "\"policy_version\": 7, \"iterations\": 50, \"session_s\": 7504, "
        "\"phase\": \"update \\u001b[31m\\u202e micro-batch 3 of 8\"}");
    put("metrics.jsonl",
        "{\"event\": \"started\", \"detail\": \"a\\u001b]0;x\\u0007,b\", \"time\": "
        "\"2026-01-01T00:00:00Z\"}\n"
        "{\"iteration\": 5, \"reward_mean\": -1.5, \"t_iteration_s\": 10}\n"
        "{\"iteration\": 6, \"reward_mean\": -0.5, \"reward_std\": 0.25, "
        "\"approx_kl\": 1e-4, "
        "\"clip_fraction\": 0.125, \"ratio_absdev_max\": 0, \"samples\": 10, "
        "\"failed\": 3, "
        "\"status\": {\"ok\": 7, \"time\\u001bout\": 3}, \"guard_mean\": 0.75, "
        "\"guard_error\": 0.125, \"components\": {\"size\": {\"mean\": -2}, "
        "\"t\\u009ba\": {\"mean\": 1.5}}, \"t_iteration_s\": 20, \"rss_bytes\": "
        "104857600, "
        "\"rank_time\": {\"rollout\": {\"working_s\": 10, \"network_s\": 8}, "
        "\"reward\": "
        "{\"working_s\": 4, \"network_s\": 0}, \"advantage\": {\"working_s\": 2, "
        "\"network_s\": 0}, \"update\": {\"working_s\": 16, \"network_s\": 12}}, "
        "\"pipeline_overhead\": 0.5}\n");
    put("log/rank00000.log",
        "2025-01-01T00:00:00Z rollout/0 h warning: of the job before\n"
        "2026-01-01T00:00:09Z rollout/0 h warning: slow \x1b[2J disk\n"
        "2026-01-01T00:00:10Z rollout/0 h nothing\n");
}

static bool has(const struct watch_canvas *c, const char *word)
{
    return strstr(c->out.s, word) != NULL;
}

static void test_widths(const struct watch_run *r, struct watch_clocks t)
{
    static const int widths[] = {20, 39, 40, 79, 80, 200};
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++)
        for (int form = 0; form < 4; form++) {
            const bool utf8 = form & 1, colour = form & 2;
            struct watch_canvas c = {
                .columns = widths[k], .utf8 = utf8, .colour = colour};
            int lines;
            watch_frame_run(&c, r, t);
            const int most = widest(c.out.s, utf8, colour, &lines);
            tap_ok(most > 0 && most <= widths[k] && lines == c.lines,
                   "%d columns, utf8 %d, colour %d: %d columns in %d lines", widths[k],
                   utf8, colour, most, lines);
            text_free(&c.out);
        }
}

static void test_frame(void)
{
    const double now = clock_s();
    struct watch_run *r = watch_run_create(dir, NULL);
    watch_run_look(r, now);
    tap_ok(r->state == WATCH_ABSENT, "nothing there yet");
    make_run();
    watch_run_look(r, now);
    tap_ok(r->state == WATCH_RUNNING && r->shards == 3 && r->rolled_out == 2 &&
               r->scored == 1,
           "it came later: shards by their final names");
    tap_near(r->metrics.recent_s, 0.7 * 10 + 0.3 * 20, 1e-12,
             "seconds of an iteration");
    tap_near(watch_run_eta(r), 13 * 43, 1e-9, "time to go");
    tap_near(r->metrics.share[GROUP_UPDATE], 16.0 / 40, 1e-12,
             "update's part of the time");
    const struct watch_clocks t = {now + 3.5, 0};
    test_widths(r, t);
    struct watch_canvas c = {.columns = 80};
    watch_frame_run(&c, r, t);
    tap_ok(has(&c, "running  for 2 h 05 min  last sign 3 s ago  ppo on jpeg") &&
               has(&c, "iteration 7/50") && has(&c, " 14 %") && has(&c, "13 s each") &&
               has(&c, "0.5 samples/s") && has(&c, "eta 0:09:19") && has(&c, "100 MB"),
           "state and pace");
    tap_ok(has(&c, "reward    -0.5 +- 0.25  ") && has(&c, "guard     0.75 +- 0.12") &&
               has(&c, "size -2  t?a 1.5") && has(&c, "3 of 10  time?out 3") &&
               has(&c, "kl 0.0001  clip 0.125  |ratio-1| 0"),
           "reward, guard, mixture, what has no score, KL");
    tap_ok(has(&c, "rolled out 2/3 ######....  scored 1/3 ###.......") &&
               has(&c, "update ?[31m? micro-batch 3 of 8"),
           "where the iteration is");
    tap_ok(
        has(&c, "rollout 25 %  reward 10 %  advantage 5 %  update 40 %  waiting 20 %"),
        "parts of the time");
    tap_ok(has(&c, "slow ?[2J disk") && !has(&c, "job before") && has(&c, "a?]0;x?,b"),
           "this job's warning, and the event");
    text_free(&c.out);
    c = (struct watch_canvas){.columns = 80, .rows = 3};
    watch_frame_run(&c, r, (struct watch_clocks){now + 720.5, 0});
    int lines;
    widest(c.out.s, false, false, &lines);
    tap_ok(lines == 3 && has(&c, "no sign for 12 min 00 s"),
           "silence; no more rows than there are");
    text_free(&c.out);
    watch_run_destroy(r);
}

/* Of the run that test_frame made. */
static void test_signs(void)
{
    const double now = clock_s();
    const time_t wall = time(NULL);
    static const char *const files[] = {
        "status.json",     "config.yaml",    "metrics.jsonl",    "log",
        "rollout/i000007", "reward/i000007", "log/rank00000.log"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        utimensat(AT_FDCWD, at(files[k]),
                  (struct timespec[]){{.tv_sec = wall - 300}, {.tv_sec = wall - 300}},
                  0);
    struct watch_run *r = watch_run_create(dir, NULL);
    watch_run_look(r, now);
    tap_near(watch_run_age(r, now + 1, (double)wall), 300, 1e-6,
             "a sign before we looked");
    tap_near(watch_run_age(r, now + 1, (double)wall - 400), 0, 1e-6,
             "another machine's clock");
    put("reward/i000007/s00001.h5", "");
    watch_run_look(r, now + 5);
    tap_near(watch_run_age(r, now + 7, (double)wall + 1e6), 2, 1e-9,
             "a sign that we saw");
    tap_ok(r->scored == 2, "a shard more");
    put("status.json",
        "{\"state\": \"failed\", \"exit_code\": 8, \"message\": \"stall\"}");
    watch_run_look(r, now + 6);
    tap_ok(watch_run_over(r) && r->code == 8, "it failed");
    put("status.json", "{\"state\": \"fini");
    watch_run_look(r, now + 6);
    tap_ok(r->state == WATCH_FAILED && strncmp(r->trouble, "status.json", 11) == 0,
           "a broken status changes nothing and is told");
    put("status.json", "{\"state\": 7, \"policy_version\": -4, \"iterations\": 1e99}");
    put("config.yaml", "rollout: [");
    watch_run_look(r, now + 6);
    struct watch_canvas c = {.columns = 40};
    int lines;
    watch_frame_run(&c, r, (struct watch_clocks){now + 3.5, 0});
    tap_ok(widest(c.out.s, false, false, &lines) <= 40 && has(&c, "starting"),
           "odd values");
    text_free(&c.out);
    watch_run_destroy(r);
}

static void test_table(void)
{
    enum { RUNS = 30 };
    struct watch_run *run[RUNS];
    for (int i = 0; i < RUNS; i++) {
        char name[64];
        snprintf(name, sizeof name, i == 3 ? HOSTILE : "run %d", i);
        run[i] = watch_run_create("/nowhere", name);
        run[i]->state = i == 20   ? WATCH_RUNNING
                        : i == 25 ? WATCH_FAILED
                                  : WATCH_FINISHED;
        run[i]->version = run[i]->iterations = INT64_MAX;
        run[i]->metrics.value[WATCH_REWARD] = 1e300;
    }
    static const int widths[] = {20, 40, 80, 200};
    for (int k = 0; k < 4; k++)
        for (int utf8 = 0; utf8 < 2; utf8++) {
            struct watch_canvas c = {.columns = widths[k], .utf8 = utf8};
            int lines;
            watch_frame_runs(&c, run, RUNS, (struct watch_clocks){0, 0});
            const int most = widest(c.out.s, utf8, false, &lines);
            tap_ok(most > 0 && most <= widths[k] && lines >= RUNS + 2 &&
                       lines == c.lines,
                   "%d runs in %d columns: %d", RUNS, widths[k], most);
            text_free(&c.out);
        }
    struct watch_canvas c = {.columns = 80, .rows = 6};
    int lines;
    watch_frame_runs(&c, run, RUNS, (struct watch_clocks){0, 0});
    widest(c.out.s, false, false, &lines);
    const char *first = strstr(c.out.s, "run 20"), *second = strstr(c.out.s, "run 25");
    tap_ok(lines == 6 && first != NULL && second > first && has(&c, "run 0") &&
               has(&c, "and 27 more") &&
               has(&c, "30 runs  1 running  1 failed  28 finished"),
           "six rows: what is at work and what failed first");
    text_free(&c.out);
    for (int i = 0; i < RUNS; i++)
        watch_run_destroy(run[i]);
}

static void test_span(void)
{
    static const struct {
        double s;
        const char *text;
    } span[] = {{0, "0 s"},           {59.9, "59 s"},       {250, "4 min 10 s"},
                {7504, "2 h 05 min"}, {273600, "3 d 04 h"}, {NAN, "-"},
                {-5, "0 s"},          {INFINITY, "-"}};
    char buf[32];
    bool good = true;
    for (size_t i = 0; i < sizeof span / sizeof *span; i++)
        good &= strcmp(watch_frame_span(buf, span[i].s), span[i].text) == 0;
    tap_ok(good, "spans of time");
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/sluice-watch.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
        return tap_skip_all("no locale C.UTF-8");
    if (mkdtemp(dir) == NULL)
        return 1;
    test_canvas();
    test_span();
    test_metrics();
    test_large();
    test_frame();
    test_signs();
    test_table();
    static const char *const files[] = {"rollout/i000007/s00000.h5",
                                        "rollout/i000007/s00001.h5",
                                        "rollout/i000007/s00002.h5.tmp.host.1",
                                        "rollout/i000007",
                                        "rollout",
                                        "reward/i000007/s00000.h5",
                                        "reward/i000007/s00001.h5",
                                        "reward/i000007",
                                        "reward",
                                        "log/rank00000.log",
                                        "log",
                                        "config.yaml",
                                        "status.json",
                                        "metrics.jsonl"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        remove(at(files[i]));
    tap_ok(rmdir(dir) == 0, "nothing else was written");
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}
