/* The report's tables: time by group, accounting, iterations, events, provenance. */
#include "pipeline/report/report_parts.h"

#include "io/sys/mem.h"

#include <math.h>

void report_times(struct text *out, const struct report_metrics *m)
{
    static const struct {
        const char *name;
        enum report_metric k;
    } part[] = {{"rollout", M_T_ROLLOUT},
                {"reward", M_T_REWARD},
                {"advantage", M_T_ADVANTAGE},
                {"update", M_T_UPDATE},
                {"iteration", M_T_ITERATION}};
    double all = report_sum(m, M_T_ITERATION);
    if (m->n == 0 || all <= 0)
        return;
    text_add(out,
             "<section><h2>Time by group</h2><table><tr><th>group</th><th>total</th>"
             "<th>per iteration</th><th>longest</th><th>share</th></tr>\n");
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        double t = report_sum(m, part[i].k);
        text_add(out, "<tr><td>%s</td><td>", part[i].name);
        report_seconds(out, t);
        text_add(out, "</td><td>");
        report_seconds(out, t / (double)m->n);
        text_add(out, "</td><td>");
        report_seconds(out, report_largest(m, part[i].k));
        text_add(out, "</td><td>%.1f %%</td></tr>\n", 100 * t / all);
    }
    text_add(out, "</table><p>A group's time runs from its first lease of an iteration to "
                  "its last file. Groups overlap, so the shares may add up to more than "
                  "100 %%.</p></section>\n");
}

static double field(const struct json *map, const char *key)
{
    return json_number(map, key, NAN);
}

void report_accounting(struct text *out, const struct json *root)
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
void report_iterations(struct text *out, const struct report_metrics *m, bool open)
{
    enum { ROWS = 400 };
    if (m->n == 0)
        return;
    bool there[M_COUNT];
    int64_t step = (m->n + ROWS - 1) / ROWS;
    text_add(out, "<details%s><summary>Iterations</summary>\n<table><tr>",
             open ? " open" : "");
    for (int k = 0; k < M_COUNT; k++) {
        there[k] = report_metrics_find(m, (enum report_metric)k, false) >= 0;
        if (there[k])
            text_add(out, "<th>%s</th>", report_metric_name((enum report_metric)k));
    }
    text_add(out, "</tr>\n");
    for (int64_t i = 0; i < m->n; i++) {
        if (i % step != 0 && i != m->n - 1)
            continue;
        text_add(out, "<tr>");
        for (int k = 0; k < M_COUNT; k++) {
            if (!there[k])
                continue;
            text_add(out, "<td>");
            if (k == M_SAMPLES_TOTAL || k == M_RSS || k == M_ITERATION)
                text_add(out, "%.15g", m->row[i][k]);
            else
                report_number(out, m->row[i][k]);
            text_add(out, "</td>");
        }
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table></details>\n");
}

void report_events(struct text *out, const struct report_metrics *m)
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

/* One row per leaf of a JSON value, its name the path to it. */
void report_leaves(struct text *out, const struct json *v, const char *name)
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
            report_leaves(out, child, below);
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
