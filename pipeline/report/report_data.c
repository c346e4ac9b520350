/* What the report reads: metrics lines, tolerant of a run that was killed (a cut last
 * line) or restarted (an iteration twice: the later line is the one that counts). */
#include "pipeline/report/report_parts.h"

#include "io/json_lines.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/metrics_log.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[M_COUNT] = {
    "iteration",     "policy_version", "reward_mean",      "reward_std",
    "reward_min",    "reward_max",     "ratio_absdev_max", "approx_kl",
    "clip_fraction", "loss",           "grad_norm",        "samples",
    "failed",        "samples_total",  "t_iteration_s",    "t_rollout_s",
    "t_reward_s",    "t_advantage_s",  "t_update_s",       "rss_bytes",
    "kl_path",       "guard_mean",     "guard_error",
};

const char *report_metric_name(enum report_metric m)
{
    return names[m];
}

static void add_event(struct report_metrics *m, const struct json *line, int64_t *room)
{
    const char *name = json_text(json_get(line, "event"));
    const char *time = json_text(json_get(line, "time"));
    if (m->events == *room) {
        m->event = mem_resize(m->event, *room, *room * 2 + 16, sizeof *m->event);
        *room = *room * 2 + 16;
    }
    m->event[m->events].name = mem_text(name == NULL ? "event" : name);
    m->event[m->events++].time = mem_text(time == NULL ? "" : time);
}

/* Index of a component, a new one for a new name; -1 where there are too many. */
static int64_t part_of(struct report_metrics *m, const char *name)
{
    for (int64_t k = 0; k < m->parts; k++)
        if (strcmp(m->part[k], name) == 0)
            return k;
    if (m->parts == REPORT_PARTS)
        return -1;
    m->part[m->parts] = mem_text(name);
    return m->parts++;
}

static void read_scored(struct report_metrics *m, const struct json *line,
                        struct report_scored *s)
{
    const struct json *status = json_get(line, "status");
    const struct json *parts = json_get(line, "components");
    for (int k = 0; k < REPORT_STATUSES; k++) {
        double v =
            json_number(status, reward_status_name((enum reward_status)k), NAN);
        s->status[k] = isfinite(v) ? v : status == NULL && k == 0 ? NAN : 0;
    }
    for (int k = 0; k < REPORT_PARTS; k++)
        s->part[k].mean = s->part[k].std = s->part[k].scored = NAN;
    for (int64_t i = 0; parts != NULL && i < json_count(parts); i++) {
        const char *name = NULL;
        const struct json *v = json_entry(parts, i, &name);
        int64_t k = v == NULL || name == NULL ? -1 : part_of(m, name);
        if (k < 0)
            continue;
        s->part[k].mean = json_number(v, "mean", NAN);
        s->part[k].std = json_number(v, "std", NAN);
        s->part[k].scored = json_number(v, "scored", NAN);
    }
}

static void add_row(struct report_metrics *m, const struct json *line, int64_t *cap)
{
    const double iteration = json_number(line, names[M_ITERATION], NAN);
    if (!(iteration >= 0 && iteration <= (double)METRICS_ITERATION_MOST)) {
        m->unreadable++;
        return;
    }
    if (m->n == *cap) {
        m->row = mem_resize(m->row, *cap, *cap * 2 + 64, sizeof *m->row);
        m->scored = mem_resize(m->scored, *cap, *cap * 2 + 64, sizeof *m->scored);
        *cap = *cap * 2 + 64;
    }
    for (int k = 0; k < M_COUNT; k++)
        m->row[m->n][k] = json_number(line, names[k], NAN);
    m->row[m->n][M_ITERATION] = floor(iteration);
    read_scored(m, line, &m->scored[m->n++]);
}

/* Rows in order; nothing to do for those of a run that was never killed. */
static void settle(struct report_metrics *m)
{
    bool good = true;
    for (int64_t i = 1; i < m->n && good; i++)
        good = m->row[i - 1][M_ITERATION] < m->row[i][M_ITERATION];
    if (good)
        return;
    int64_t *iteration = mem_alloc(m->n, sizeof *iteration);
    int64_t *keep = mem_alloc(m->n, sizeof *keep);
    for (int64_t i = 0; i < m->n; i++)
        iteration[i] = (int64_t)m->row[i][M_ITERATION];
    const int64_t n = metrics_log_order(iteration, m->n, keep);
    double (*row)[M_COUNT] = mem_alloc(n, sizeof *row);
    struct report_scored *scored = mem_alloc(n, sizeof *scored);
    for (int64_t i = 0; i < n; i++) {
        memcpy(row[i], m->row[keep[i]], sizeof row[i]);
        scored[i] = m->scored[keep[i]];
    }
    mem_free(m->row);
    mem_free(m->scored);
    mem_free(iteration);
    mem_free(keep);
    m->row = row;
    m->scored = scored;
    m->n = n;
}

void report_metrics_read(struct report_metrics *m, const char *path)
{
    struct json *line;
    struct json_lines *lines = json_lines_open(path);
    int64_t cap = 0, room = 0;
    *m = (struct report_metrics){0};
    if (lines == NULL) {
        err_clear();
        return;
    }
    while ((line = json_lines_next(lines)) != NULL) {
        if (json_get(line, "iteration") != NULL && json_get(line, "event") == NULL)
            add_row(m, line, &cap);
        else
            add_event(m, line, &room);
        json_free(line);
    }
    m->unreadable += json_lines_unreadable(lines);
    json_lines_close(lines);
    settle(m);
}

void report_metrics_free(struct report_metrics *m)
{
    for (int64_t i = 0; i < m->events; i++) {
        mem_free(m->event[i].name);
        mem_free(m->event[i].time);
    }
    for (int64_t k = 0; k < m->parts; k++)
        mem_free(m->part[k]);
    mem_free(m->event);
    mem_free(m->row);
    mem_free(m->scored);
    *m = (struct report_metrics){0};
}

int64_t report_metrics_find(const struct report_metrics *m, enum report_metric k,
                            bool backwards)
{
    for (int64_t i = 0; i < m->n; i++) {
        int64_t at = backwards ? m->n - 1 - i : i;
        if (isfinite(m->row[at][k]))
            return at;
    }
    return -1;
}

double report_sum(const struct report_metrics *m, enum report_metric k)
{
    double total = 0;
    for (int64_t i = 0; i < m->n; i++)
        total += isfinite(m->row[i][k]) ? m->row[i][k] : 0;
    return total;
}

double report_largest(const struct report_metrics *m, enum report_metric k)
{
    double v = NAN;
    for (int64_t i = 0; i < m->n; i++)
        v = fmax(v, m->row[i][k]); /* fmax ignores NaN */
    return v;
}

void report_escape(struct text *out, const char *s)
{
    for (; *s != '\0'; s++) {
        const char *e = *s == '&'    ? "&amp;"
                        : *s == '<'  ? "&lt;"
                        : *s == '>'  ? "&gt;"
                        : *s == '"'  ? "&quot;"
                        : *s == '\'' ? "&#39;"
                                     : NULL;
        if (e != NULL)
            text_add(out, "%s", e);
        else
            text_add_bytes(out, s, 1);
    }
}

void report_base64(struct text *out, const void *p, int64_t n)
{
    static const char digit[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = p;
    for (int64_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) |
                     (i + 2 < n ? b[i + 2] : 0);
        char quad[4] = {digit[v >> 18], digit[v >> 12 & 63],
                        i + 1 < n ? digit[v >> 6 & 63] : '=',
                        i + 2 < n ? digit[v & 63] : '='};
        text_add_bytes(out, quad, 4);
    }
}

void report_number(struct text *out, double v)
{
    if (isfinite(v))
        text_add(out, "%.4g", v + 0.0); /* -0 becomes 0 */
    else
        text_add(out, "—");
}

void report_seconds(struct text *out, double v)
{
    if (!isfinite(v))
        text_add(out, "—");
    else if (v < 100 && v > -1e6)
        text_add(out, v < 10 ? "%.2f s" : "%.1f s", v);
    else if (v < 0 || v > 1e15)
        text_add(out, "%.3g s", v);
    else if (v < 3600)
        text_add(out, "%d min %02d s", (int)v / 60, (int)v % 60);
    else
        text_add(out, "%lld h %02d min", (long long)(v / 3600),
                 (int)(fmod(v, 3600) / 60));
}
