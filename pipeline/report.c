/* The report's page: header, headline numbers, curves, samples, accounting, tables. */
#include "pipeline/report.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/report_parts.h"
#include "pipeline/schema.h"
#include "pipeline/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    "img-src "
    "data:; style-src 'unsafe-inline'\">\n";

static const char style[] =
    "<style>\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:#f1f5f9;color:#0f172a;font:15px/1.5 system-ui,'Segoe UI',"
    "Roboto,Helvetica,Arial,sans-serif}\n"
    "main{max-width:1160px;margin:0 auto;padding:28px 20px 60px}\n"
    "header{margin-bottom:22px}\n"
    "h1{font-size:27px;line-height:1.2;margin:0 0 8px;letter-spacing:-.02em}\n"
    "h2{font-size:18px;margin:0 0 14px;letter-spacing:-.01em}\n"
    "h3{font-size:15px;margin:0 0 10px}h3 span{font-weight:400;color:#64748b}\n"
    ".chips{display:flex;flex-wrap:wrap;gap:6px 18px;color:#475569;font-size:14px}\n"
    ".chips b{color:#0f172a;font-weight:600}\n"
    "section{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:20px "
    "22px;margin-bottom:18px;overflow-x:auto}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:"
    "12px;"
    "margin-bottom:18px}\n"
    ".card{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:14px "
    "16px}\n"
    ".card.main{grid-column:span 2;border-color:#bfdbfe;background:#eff6ff}\n"
    ".card small{display:block;color:#64748b;font-size:13px}\n"
    ".card strong{display:block;font-size:21px;font-weight:650;letter-spacing:-.02em;"
    "font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    ".up{color:#15803d}.down{color:#b91c1c}\n"
    ".plots{display:grid;grid-template-columns:1fr 1fr;gap:18px}\n"
    ".plots .wide{grid-column:1/-1}figure{margin:0}\n"
    ".plot figcaption span{color:#64748b;font-size:13px}.plot "
    "img{width:100%;display:block}\n"
    ".albums{display:grid;grid-template-columns:1fr 1fr;gap:26px}\n"
    ".grid{display:grid;grid-template-columns:repeat(8,1fr);gap:"
    "8px}\n"
    ".grid img,.grid "
    "svg{width:100%;display:block;image-rendering:pixelated;border-radius:"
    "4px;background:#f8fafc}\n"
    ".grid "
    "figcaption{font-size:11px;text-align:center;color:#475569;font-variant-numeric:"
    "tabular-nums}.grid em,.texts em{color:#b91c1c;font-style:normal}\n"
    ".texts td,.texts th{padding:2px 8px;text-align:left}.texts .cut td{border-top:2px solid "
    "#94a3b8}.scale{font-size:13px;color:#64748b;margin:0 0 8px}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:"
    "tabular-nums}\n"
    "th,td{padding:6px 10px;text-align:right;border-bottom:1px solid "
    "#e2e8f0;white-space:"
    "nowrap}\n"
    "th{font-weight:600;color:#475569;font-size:13px}th:first-child,td:first-child{"
    "text-align:left}\n"
    "tr:last-child td{border-bottom:0}td.text{text-align:left;white-space:normal;"
    "word-break:break-word}\n"
    "details{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:12px "
    "22px;"
    "margin-bottom:12px;overflow-x:auto}\n"
    "summary{cursor:pointer;font-weight:600}pre{font:13px/1.5 "
    "ui-monospace,Menlo,Consolas,"
    "monospace;overflow-x:auto}\n"
    ".note{color:#92400e;background:#fffbeb;border:1px solid #fde68a;border-radius:8px;"
    "padding:8px 14px;margin:0 0 14px}\n"
    "footer{color:#64748b;font-size:13px;margin-top:24px}\n"
    "@media(max-width:760px){.plots,.albums{grid-template-columns:1fr}.card.main{"
    "grid-column:auto}}\n"
    "@media print{body{background:#fff}section,.card{break-inside:avoid}}\n"
    "</style>\n";

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
    struct json *j = file_exists(path) ? json_read(path, 16 << 20) : NULL;
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
    text_add(out, " — Sluice report</title>\n%s</head><body><main>\n<header><h1>",
             style);
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

static double sum(const struct report_metrics *m, enum report_metric k)
{
    double total = 0;
    for (int64_t i = 0; i < m->n; i++)
        total += isfinite(m->row[i][k]) ? m->row[i][k] : 0;
    return total;
}

static double largest(const struct report_metrics *m, enum report_metric k)
{
    double v = NAN;
    for (int64_t i = 0; i < m->n; i++)
        v = fmax(v, m->row[i][k]); /* fmax ignores NaN */
    return v;
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
    int len = snprintf(note, sizeof note, "best %.4g", largest(m, M_REWARD_MEAN));
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
    snprintf(note, sizeof note, "up to policy version %.0f",
             largest(m, M_POLICY_VERSION));
    close_card(out, isfinite(largest(m, M_POLICY_VERSION)) ? note : "");
    double failed = sum(m, M_FAILED), samples = sum(m, M_SAMPLES);
    open_card(out, "Samples", false);
    text_add(out, "%.0f", samples);
    snprintf(note, sizeof note,
             failed > 0 ? "<span class=\"down\">%.0f not scored (%.2g %%)"
                          "</span>"
                        : "all scored",
             failed, samples > 0 ? 100 * failed / samples : 0);
    close_card(out, note);
    double ratio = largest(m, M_RATIO_ABSDEV_MAX);
    open_card(out, "max |ratio − 1| before the first step", false);
    report_number(out, ratio);
    close_card(out, ratio == 0 ? "recomputed bit for bit" : "");
    double seconds = sum(m, M_T_ITERATION);
    open_card(out, "Time in iterations", false);
    report_seconds(out, seconds);
    snprintf(note, sizeof note, "%.3g samples per second",
             seconds > 0 ? samples / seconds : 0);
    close_card(out, note);
    open_card(out, "Peak memory of a rank", false);
    double rss = largest(m, M_RSS);
    if (isfinite(rss))
        text_add(out, "%.0f MiB", rss / 1048576);
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
    else if (!(*drawn = report_plots(out, m)))
        text_add(out, "<p class=\"note\">Plots need gnuplot, which is not here (or "
                      "failed); the numbers are in the table below.</p>\n");
    if (m->unreadable > 0)
        text_add(out,
                 "<p class=\"note\">%lld unreadable line(s) of metrics.jsonl were left "
                 "out.</p>\n",
                 (long long)m->unreadable);
    text_add(out, "</section>\n");
}

static void add_times(struct text *out, const struct report_metrics *m)
{
    static const struct {
        const char *name;
        enum report_metric k;
    } part[] = {{"rollout", M_T_ROLLOUT},
                {"reward", M_T_REWARD},
                {"advantage", M_T_ADVANTAGE},
                {"update", M_T_UPDATE},
                {"iteration", M_T_ITERATION}};
    double all = sum(m, M_T_ITERATION);
    if (m->n == 0 || all <= 0)
        return;
    text_add(out,
             "<section><h2>Time by group</h2><table><tr><th>group</th><th>total</th>"
             "<th>per iteration</th><th>longest</th><th>share</th></tr>\n");
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        double t = sum(m, part[i].k);
        text_add(out, "<tr><td>%s</td><td>", part[i].name);
        report_seconds(out, t);
        text_add(out, "</td><td>");
        report_seconds(out, t / (double)m->n);
        text_add(out, "</td><td>");
        report_seconds(out, largest(m, part[i].k));
        text_add(out, "</td><td>%.1f %%</td></tr>\n", 100 * t / all);
    }
    text_add(out, "</table><p>A group's time runs from its first lease of an iteration to "
                  "its last file. Groups overlap, so the shares may add up to more than "
                  "100 %%.</p></section>\n");
}

static double field(const struct json *map, const char *key)
{
    double v;
    const struct json *j = json_get(map, key);
    return j != NULL && json_to_f64(j, &v) ? v : NAN;
}

static void add_accounting(struct text *out, const struct json *root)
{
    static const char *const time[] = {"working_s", "waiting_s",       "network_s",
                                       "io_s",      "communication_s", "optimizer_s",
                                       "vote_s",    "other_s"};
    const struct json *groups = root == NULL ? NULL : json_get(root, "groups");
    if (groups == NULL || json_count(groups) == 0)
        return;
    text_add(out,
             "<section><h2>Accounting</h2><table><tr><th>group</th><th>ranks</th><th>"
             "working</th><th>waiting</th><th>network</th><th>I/O</th><th>messages</th>"
             "<th>optimizer</th><th>vote</th><th>other</th><th>busy</th><th>slowest rank"
             "</th><th>fastest rank</th><th>max / min</th></tr>\n");
    for (int64_t i = 0; i < json_count(groups); i++) {
        const struct json *g = json_item(groups, i);
        const char *name = json_text(json_get(g, "name"));
        double high = field(g, "working_max_s"), low = field(g, "working_min_s"),
               total = 0;
        text_add(out, "<tr><td>");
        report_escape(out, name == NULL ? "?" : name);
        text_add(out, "</td><td>");
        report_number(out, field(g, "ranks"));
        for (size_t k = 0; k < sizeof time / sizeof *time; k++) {
            text_add(out, "</td><td>");
            report_seconds(out, field(g, time[k]));
            total += k < 2 ? field(g, time[k]) : 0;
        }
        text_add(out, "</td><td>");
        report_number(out,
                      total > 0 ? round(1000 * field(g, time[0]) / total) / 10 : NAN);
        text_add(out, " %%</td><td>");
        report_seconds(out, high);
        text_add(out, "</td><td>");
        report_seconds(out, low);
        text_add(out, "</td><td>");
        report_number(out, low > 0 ? high / low : NAN);
        text_add(out, "</td></tr>\n");
    }
    text_add(out, "</table>");
    if (isfinite(field(root, "wall_s"))) {
        text_add(out, "<p>Seconds are summed over the ranks of a group. Wall time ");
        report_seconds(out, field(root, "wall_s"));
        text_add(out, ".");
        if (isfinite(field(root, "pipeline_overhead")))
            text_add(out,
                     " Pipeline overhead %.1f %%: what of all ranks' time was no "
                     "arithmetic of the network.",
                     100 * field(root, "pipeline_overhead"));
        text_add(out, "</p>");
    }
    text_add(out, "</section>\n");
}

/* Every iteration, or evenly chosen ones of a long run; always the last. */
static void add_iterations(struct text *out, const struct report_metrics *m, bool open)
{
    enum { ROWS = 400 };
    if (m->n == 0)
        return;
    int64_t step = (m->n + ROWS - 1) / ROWS;
    text_add(out, "<details%s><summary>Iterations</summary>\n<table><tr>",
             open ? " open" : "");
    for (int k = 0; k < M_COUNT; k++)
        if (report_metrics_find(m, (enum report_metric)k, false) >= 0)
            text_add(out, "<th>%s</th>", report_metric_name((enum report_metric)k));
    text_add(out, "</tr>\n");
    for (int64_t i = 0; i < m->n; i++) {
        if (i % step != 0 && i != m->n - 1)
            continue;
        text_add(out, "<tr>");
        for (int k = 0; k < M_COUNT; k++) {
            if (report_metrics_find(m, (enum report_metric)k, false) < 0)
                continue;
            text_add(out, "<td>");
            if (k == M_SAMPLES_TOTAL || k == M_RSS || k == M_ITERATION)
                text_add(out, "%.0f", m->row[i][k]);
            else
                report_number(out, m->row[i][k]);
            text_add(out, "</td>");
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table></details>\n");
}

static void add_events(struct text *out, const struct report_metrics *m)
{
    enum { SHOWN = 500 };
    if (m->events == 0)
        return;
    text_add(out, "<details><summary>Events (%lld)</summary>\n<table>",
             (long long)m->events);
    for (int64_t i = m->events > SHOWN ? m->events - SHOWN : 0; i < m->events; i++) {
        text_add(out, "<tr><td>");
        report_escape(out, m->event[i].time);
        text_add(out, "</td><td class=\"text\">");
        report_escape(out, m->event[i].name);
        text_add(out, "</td></tr>\n");
    }
    text_add(out, "</table></details>\n");
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

/* One row per leaf of a JSON value, its name the path to it. */
static void add_leaves(struct text *out, const struct json *v, const char *name)
{
    int64_t i = 0, whole;
    double real;
    bool yes;
    if (json_kind(v) == JSON_MAP_T || json_kind(v) == JSON_LIST_T) {
        for (; i < json_count(v); i++) {
            const char *key = NULL;
            const struct json *child =
                json_kind(v) == JSON_MAP_T ? json_entry(v, i, &key) : json_item(v, i);
            char *below = key == NULL
                              ? text_new("%s[%lld]", name, (long long)i)
                              : text_new("%s%s%s", name, name[0] ? "." : "", key);
            add_leaves(out, child, below);
            mem_free(below);
        }
        return;
    }
    text_add(out, "<tr><td>");
    report_escape(out, name);
    text_add(out, "</td><td class=\"text\">");
    if (json_text(v) != NULL)
        report_escape(out, json_text(v));
    else if (json_kind(v) == JSON_BOOL_T && json_to_bool(v, &yes))
        text_add(out, yes ? "true" : "false");
    else if (json_kind(v) == JSON_INT_T && json_to_i64(v, &whole))
        text_add(out, "%lld", (long long)whole);
    else if (json_to_f64(v, &real))
        report_number(out, real);
    else
        text_add(out, "—");
    text_add(out, "</td></tr>\n");
}

static void add_page(struct text *out, const struct page *p)
{
    bool drawn;
    text_add(out, "%s", head);
    add_header(out, p);
    add_cards(out, p);
    add_curves(out, &p->metrics, &drawn);
    report_samples(out, p->dir);
    add_times(out, &p->metrics);
    add_accounting(out, p->accounting);
    add_iterations(out, &p->metrics, !drawn);
    add_events(out, &p->metrics);
    add_file(out, p->dir, "config.yaml", "Configuration");
    if (p->provenance != NULL) {
        text_add(out, "<details><summary>Provenance</summary>\n<table>");
        add_leaves(out, p->provenance, "");
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
