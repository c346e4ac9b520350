/* The report's page: header, headline numbers, curves, samples, accounting, tables. */
#include "pipeline/report/report.h"

#include "io/json_lines.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/report/report_parts.h"
#include "pipeline/schema.h"
#include "pipeline/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* All that a page needs. */
struct page {
    const char *dir;
    struct report_metrics metrics;
    struct config *config; /* NULL: absent or unreadable */
    struct json *provenance, *accounting, *status;
};

static struct json *read_json(const char *dir, const char *name)
{
    char *path = rundir_path(dir, name);
    struct json *j = file_exists(path) ? json_read(path, 1 << 20) : NULL;
    mem_free(path);
    err_clear();
    return j;
}

static void chip(struct text *out, const char *label, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    text_add(out, "<span>%s <b>", label);
    report_escape(out, value);
    text_add(out, "</b></span>");
}

static void add_header(struct text *out, const struct page *p)
{
    static const char *const keys[][2] = {{"Run", "run_id"}, {"Started", "started"}};
    char version[128], now[32];
    const char *name = strrchr(p->dir, '/');
    name = name != NULL && name[1] != '\0' ? name + 1 : p->dir;
    text_add(out, "<title>");
    report_escape(out, name);
    text_add(out, " — Sluice report</title>\n%s%s</head><body><main>\n<header><h1>",
             report_style, report_style_pictures);
    report_escape(out, name);
    text_add(out, "</h1><div class=\"chips\">");
    if (p->config != NULL) {
        chip(out, "Model", config_text(p->config, "model.path"));
        chip(out, "Reward", config_text(p->config, "reward.name"));
        chip(out, "Method", config_text(p->config, "algorithm.name"));
        chip(out, "Seed", config_text(p->config, "run.seed"));
    }
    for (size_t i = 0; p->provenance != NULL && i < sizeof keys / sizeof *keys; i++)
        chip(out, keys[i][0], json_text(json_get(p->provenance, keys[i][1])));
    if (p->status != NULL)
        chip(out, "Ended:", json_text(json_get(p->status, "message")));
    snprintf(version, sizeof version, "%s (%.40s)", version_number(), version_commit());
    chip(out, "Report by Sluice", version);
    chip(out, "at", log_now(now));
    text_add(out, "</div></header>\n");
}

static void open_card(struct text *out, const char *label, bool large)
{
    text_add(out, "<div class=\"card%s\"><small>%s</small><strong>",
             large ? " main" : "", label);
}

static void close_card(struct text *out, const char *note)
{
    text_add(out, "</strong><small>%s</small></div>\n", note);
}

static void reward_card(struct text *out, const struct report_metrics *m)
{
    int64_t a = report_metrics_find(m, M_REWARD_MEAN, false);
    int64_t b = report_metrics_find(m, M_REWARD_MEAN, true);
    if (a < 0)
        return;
    double from = m->row[a][M_REWARD_MEAN], to = m->row[b][M_REWARD_MEAN];
    char note[160];
    open_card(out, "Mean reward, first → last iteration", true);
    report_number(out, from);
    text_add(out, " → ");
    report_number(out, to);
    text_add(out, " <span class=\"%s\">%+.3g</span>", to < from ? "down" : "up",
             to - from);
    int len = snprintf(note, sizeof note, "best %.4g", report_largest(m, M_REWARD_MEAN));
    if (isfinite(m->row[a][M_REWARD_STD]) && m->row[a][M_REWARD_STD] > 0)
        snprintf(note + len, sizeof note - (size_t)len,
                 "; the change is %+.2f standard deviations of the first samples",
                 (to - from) / m->row[a][M_REWARD_STD]);
    close_card(out, note);
}

static void add_cards(struct text *out, const struct page *p)
{
    const struct report_metrics *m = &p->metrics;
    char note[96];
    if (m->n == 0)
        return;
    text_add(out, "<div class=\"cards\">\n");
    reward_card(out, m);
    open_card(out, "Iterations", false);
    text_add(out, "%lld", (long long)m->n);
    snprintf(note, sizeof note, "up to policy version %.15g",
             report_largest(m, M_POLICY_VERSION));
    close_card(out, isfinite(report_largest(m, M_POLICY_VERSION)) ? note : "");
    double failed = report_sum(m, M_FAILED), samples = report_sum(m, M_SAMPLES);
    open_card(out, "Samples", false);
    text_add(out, "%.15g", samples);
    snprintf(note, sizeof note,
             failed > 0 ? "<span class=\"down\">%.15g not scored (%.2g %%)"
                          "</span>"
                        : "all scored",
             failed, samples > 0 ? 100 * failed / samples : 0);
    close_card(out, note);
    double ratio = report_largest(m, M_RATIO_ABSDEV_MAX);
    open_card(out, "max |ratio − 1| before the first step", false);
    report_number(out, ratio);
    close_card(out, ratio == 0 ? "recomputed bit for bit" : "");
    double seconds = report_sum(m, M_T_ITERATION);
    open_card(out, "Time in iterations", false);
    report_seconds(out, seconds);
    snprintf(note, sizeof note, "%.3g samples per second",
             seconds > 0 ? samples / seconds : 0);
    close_card(out, note);
    open_card(out, "Peak memory of a rank", false);
    double rss = report_largest(m, M_RSS);
    if (isfinite(rss))
        text_add(out, "%.15g MiB", round(rss / 1048576));
    else
        report_number(out, rss);
    close_card(out, "");
    text_add(out, "</div>\n");
}

static void add_curves(struct text *out, const struct report_metrics *m, bool *drawn)
{
    *drawn = false;
    text_add(out, "<section><h2>Curves</h2>\n");
    if (m->n == 0)
        text_add(out, "<p class=\"note\">No iteration has finished yet.</p>\n");
    else if (!(*drawn = report_plots(out, m, m->parts == 0)))
        text_add(out, "<p class=\"note\">Plots need gnuplot, which is not here (or "
                      "failed); the numbers are in the table below.</p>\n");
    if (m->unreadable > 0)
        text_add(out,
                 "<p class=\"note\">%lld unreadable line(s) of metrics.jsonl were left "
                 "out.</p>\n",
                 (long long)m->unreadable);
    text_add(out, "</section>\n");
}

static void add_file(struct text *out, const char *dir, const char *name,
                     const char *title)
{
    char *path = rundir_path(dir, name), *data = NULL;
    int64_t len = 0;
    if (file_read(path, 1 << 20, &data, &len) == 0) {
        text_add(out, "<details><summary>%s</summary>\n<pre>", title);
        report_escape(out, data);
        text_add(out, "</pre></details>\n");
    }
    err_clear();
    mem_free(data);
    mem_free(path);
}

static void add_page(struct text *out, const struct page *p)
{
    bool drawn;
    text_add(out, "%s", report_head);
    add_header(out, p);
    add_cards(out, p);
    report_changes(out, p->dir, &p->metrics, p->config, p->accounting);
    add_curves(out, &p->metrics, &drawn);
    report_rewards(out, p->dir, &p->metrics, p->config);
    report_heat(out, p->dir);
    report_samples(out, p->dir, &p->metrics);
    report_timeline(out, p->dir);
    report_times(out, &p->metrics);
    report_accounting(out, p->accounting);
    report_iterations(out, &p->metrics, !drawn);
    report_events(out, &p->metrics);
    add_file(out, p->dir, "config.yaml", "Configuration");
    if (p->provenance != NULL) {
        text_add(out, "<details><summary>Provenance</summary>\n<table>");
        report_leaves(out, p->provenance, "");
        text_add(out, "</table></details>\n");
    }
    text_add(out,
             "<footer>Written by <b>sluice report</b>. This file holds everything it "
             "shows and loads nothing.</footer>\n</main></body></html>\n");
}

int report_write(const char *rundir, const char *out)
{
    char *metrics = rundir_path(rundir, "metrics.jsonl");
    char *config = rundir_path(rundir, "config.yaml");
    char *own = rundir_path(rundir, "report.html");
    char *dir = mem_text(rundir);
    struct page p = {.dir = dir};
    struct text html = {0};
    int rc = -1;
    for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = '\0';
    if (!file_exists(metrics) && !file_exists(config)) {
        err_set(ERR_INPUT,
                "%s: is no run directory (neither metrics.jsonl nor "
                "config.yaml is there)",
                rundir);
        goto done;
    }
    if (file_exists(metrics)) { /* else the page would say that there is no iteration */
        struct json_lines *lines = json_lines_open(metrics);
        if (lines == NULL)
            goto done;
        json_lines_close(lines);
    }
    report_metrics_read(&p.metrics, metrics);
    p.config = config_create(schema);
    if (config_read(p.config, config) != 0) {
        config_destroy(p.config);
        p.config = NULL;
        err_clear();
    }
    p.provenance = read_json(rundir, "provenance.json");
    p.status = read_json(rundir, "status.json");
    p.accounting = read_json(rundir, "accounting.json");
    add_page(&html, &p);
    rc = file_write(out == NULL ? own : out, html.s, html.len);
done:
    text_free(&html);
    json_free(p.provenance);
    json_free(p.status);
    json_free(p.accounting);
    config_destroy(p.config);
    report_metrics_free(&p.metrics);
    mem_free(dir);
    mem_free(own);
    mem_free(config);
    mem_free(metrics);
    return rc;
}
