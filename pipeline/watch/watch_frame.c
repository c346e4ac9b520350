/* One run, a few labelled lines. What a run does not have takes no line. */
#include "pipeline/watch/watch_frame.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 10, BAR = 40, SMALL_BAR = 10, CURVE = 60, CURVE_LEAST = 8, WIDE = 60 };

const char *watch_frame_span(char *buf, double seconds)
{
    const double most = 1e10; /* three centuries */
    const int64_t s = isfinite(seconds) ? (int64_t)fmin(fmax(seconds, 0), most) : 0;
    const long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;
    if (!isfinite(seconds))
        snprintf(buf, 32, "-");
    else if (d > 0)
        snprintf(buf, 32, "%lld d %02lld h", d, h);
    else if (h > 0)
        snprintf(buf, 32, "%lld h %02lld min", h, m);
    else if (m > 0)
        snprintf(buf, 32, "%lld min %02lld s", m, (long long)s % 60);
    else
        snprintf(buf, 32, "%lld s", (long long)s);
    return buf;
}

enum watch_colour watch_frame_colour(const struct watch_run *r, double age)
{
    return r->state == WATCH_FAILED                                  ? WATCH_BAD
           : r->state == WATCH_STOPPED                               ? WATCH_ODD
           : r->state == WATCH_RUNNING && age > WATCH_QUIET_S        ? WATCH_ODD
           : r->state == WATCH_RUNNING || r->state == WATCH_FINISHED ? WATCH_GOOD
                                                                     : WATCH_PLAIN;
}

static void label(struct watch_canvas *c, const char *s)
{
    watch_canvas_put(c, WATCH_DIM, "%s ", s);
    watch_canvas_tab(c, LABEL);
}

static const char *spread(const struct watch_canvas *c)
{
    return c->utf8 ? "±" : "+-";
}

static void put_state(struct watch_canvas *c, const struct watch_run *r, double age)
{
    char span[32];
    watch_canvas_put(c, WATCH_BOLD, "%s", r->name);
    watch_canvas_line(c);
    watch_canvas_put(c, watch_frame_colour(r, age), "%s", watch_state_name(r->state));
    if (r->state == WATCH_FAILED || r->state == WATCH_STOPPED)
        watch_canvas_item(c, WATCH_PLAIN, "exit code %lld", (long long)r->code);
    if (isfinite(r->session_s))
        watch_canvas_item(c, WATCH_PLAIN, "%s %s",
                          r->state == WATCH_RUNNING ? "for" : "after",
                          watch_frame_span(span, r->session_s));
    watch_frame_span(span, age);
    if (r->state == WATCH_RUNNING && age > WATCH_QUIET_S)
        watch_canvas_item(c, WATCH_BAD, "no sign for %s: is the job alive?", span);
    else if (isfinite(age))
        watch_canvas_item(c, WATCH_PLAIN, "last sign %s ago", span);
    if (r->method[0] != '\0')
        watch_canvas_item(c, WATCH_DIM, "%s on %s", r->method, r->reward);
    watch_canvas_line(c);
    if (r->message[0] != '\0') {
        label(c, r->state == WATCH_FAILED ? "failure" : "reason");
        watch_canvas_put(c, watch_frame_colour(r, age), "%s", r->message);
        watch_canvas_line(c);
    }
}

static void put_progress(struct watch_canvas *c, const struct watch_run *r)
{
    const struct watch_metrics *m = &r->metrics;
    const int64_t done = r->version >= 0 ? r->version : m->iteration + 1;
    const double part = r->iterations > 0 ? (double)done / (double)r->iterations : NAN;
    const double s = m->recent_s, eta = watch_run_eta(r);
    label(c, "iteration");
    watch_canvas_put(c, WATCH_BOLD, "%lld", (long long)done);
    if (r->iterations >= 0)
        watch_canvas_put(c, WATCH_PLAIN, "/%lld", (long long)r->iterations);
    if (isfinite(part)) {
        const int left = c->columns - c->used - 8;
        watch_canvas_put(c, WATCH_PLAIN, "  ");
        watch_canvas_bar(c, left < BAR ? left : BAR, part);
        watch_canvas_put(c, WATCH_PLAIN, " %.0f %%", 100 * fmin(part, 1));
    }
    watch_canvas_line(c);
    const bool rate = m->value[WATCH_SAMPLES] > 0 && m->value[WATCH_ITERATION_S] > 0;
    const bool ends = isfinite(eta) && r->state == WATCH_RUNNING;
    const double rss = m->value[WATCH_RSS];
    if (!isfinite(s) && !rate && !(rss >= 0))
        return;
    label(c, "pace");
    if (isfinite(s))
        watch_canvas_item(c, WATCH_PLAIN, "%.3g s each", s);
    if (rate)
        watch_canvas_item(c, WATCH_PLAIN, "%.1f samples/s",
                          m->value[WATCH_SAMPLES] / m->value[WATCH_ITERATION_S]);
    if (ends) {
        const long long e = (long long)fmin(eta + 0.5, 1e12);
        watch_canvas_item(c, WATCH_PLAIN, "eta %lld:%02lld:%02lld", e / 3600,
                          e / 60 % 60, e % 60);
    }
    if (rss >= 0)
        watch_canvas_item(c, WATCH_PLAIN, "%.0f MB", rss / 1048576);
    watch_canvas_line(c);
}

/* The reward's history, with its range where there is room for both. */
static void put_curve(struct watch_canvas *c, const struct watch_metrics *m)
{
    double v[WATCH_HISTORY], low = INFINITY, high = -INFINITY;
    char range[64];
    int64_t n = watch_metrics_history(m, v, WATCH_HISTORY);
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) {
            low = fmin(low, v[i]);
            high = fmax(high, v[i]);
        }
    const int wide = snprintf(range, sizeof range, "%.4g .. %.4g", low, high) + 2;
    int room = c->columns - c->used - 2;
    if (room < CURVE_LEAST) {
        watch_canvas_line(c);
        watch_canvas_tab(c, c->indent);
        room = c->columns - c->indent;
    } else {
        watch_canvas_tab(c, c->used + 2);
    }
    if (room >= wide + CURVE_LEAST)
        room -= wide;
    n = watch_metrics_history(m, v, room < CURVE ? room : CURVE);
    watch_canvas_curve(c, v, n);
    watch_canvas_item(c, WATCH_DIM, "%s", range);
}

static void put_reward(struct watch_canvas *c, const struct watch_run *r)
{
    const struct watch_metrics *m = &r->metrics;
    const double *v = m->value;
    label(c, "reward");
    watch_canvas_put(c, WATCH_BOLD, "%.5g", v[WATCH_REWARD]);
    watch_canvas_put(c, WATCH_PLAIN, " %s %.3g", spread(c), v[WATCH_REWARD_STD]);
    put_curve(c, m);
    watch_canvas_line(c);
    if (isfinite(v[WATCH_GUARD])) {
        label(c, "guard");
        watch_canvas_put(c, WATCH_PLAIN, "%.5g %s %.2g", v[WATCH_GUARD], spread(c),
                         v[WATCH_GUARD_ERROR]);
        watch_canvas_line(c);
    }
    if (isfinite(v[WATCH_ANSWER])) {
        label(c, "answers");
        watch_canvas_put(c, WATCH_PLAIN, "%.5g", v[WATCH_ANSWER]);
        watch_canvas_line(c);
    }
    if (m->components > 0) {
        label(c, "mixture");
        for (int64_t i = 0; i < m->components; i++)
            watch_canvas_item(c, WATCH_PLAIN, "%s %.4g", m->component[i].name,
                              m->component[i].value);
        watch_canvas_line(c);
    }
    if (v[WATCH_FAILED_SAMPLES] > 0) {
        label(c, "no score");
        watch_canvas_item(c, WATCH_BAD, "%.0f of %.0f", v[WATCH_FAILED_SAMPLES],
                          v[WATCH_SAMPLES]);
        for (int64_t i = 0; i < m->statuses; i++)
            if (strcmp(m->status[i].name, "ok") != 0)
                watch_canvas_item(c, WATCH_PLAIN, "%s %.0f", m->status[i].name,
                                  m->status[i].value);
        watch_canvas_line(c);
    }
}

static void put_policy(struct watch_canvas *c, const struct watch_metrics *m)
{
    const double *v = m->value;
    label(c, "policy");
    watch_canvas_item(c, WATCH_PLAIN, "kl %.3g", v[WATCH_KL]);
    watch_canvas_item(c, WATCH_PLAIN, "clip %.3f", v[WATCH_CLIP]);
    watch_canvas_item(c, v[WATCH_RATIO] > 0 ? WATCH_BAD : WATCH_PLAIN, "|ratio-1| %.3g",
                      v[WATCH_RATIO]);
    if (isfinite(v[WATCH_KL_PATH]))
        watch_canvas_item(c, WATCH_PLAIN, "path KL to policy 0 %.4g nats",
                          v[WATCH_KL_PATH]);
    watch_canvas_line(c);
}

static void put_shards(struct watch_canvas *c, const struct watch_run *r,
                       const char *what, int64_t n)
{
    if (r->shards > 0)
        watch_canvas_item(c, WATCH_PLAIN, "%s %lld/%lld ", what, (long long)n,
                          (long long)r->shards);
    else
        watch_canvas_item(c, WATCH_PLAIN, "%s %lld", what, (long long)n);
    if (r->shards > 0 && c->used + SMALL_BAR <= c->columns)
        watch_canvas_bar(c, SMALL_BAR, (double)n / (double)r->shards);
}

/* Where the iteration at hand is. */
static void put_now(struct watch_canvas *c, const struct watch_run *r)
{
    if (r->looked_at < 0 || watch_run_over(r))
        return;
    label(c, "now");
    put_shards(c, r, "rolled out", r->rolled_out);
    put_shards(c, r, "scored", r->scored);
    if (r->advantage)
        watch_canvas_item(c, WATCH_PLAIN, "advantages made");
    if (r->phase[0] != '\0' && r->state == WATCH_RUNNING)
        watch_canvas_item(c, WATCH_DIM, "%s", r->phase);
    watch_canvas_line(c);
}

/* Where the ranks' time went: of the last iteration; of the whole job once it has
 * ended. */
static void put_times(struct watch_canvas *c, const struct watch_run *r)
{
    const bool ended = r->state != WATCH_RUNNING && isfinite(r->busy[GROUP_UPDATE]);
    const double *part = ended ? r->busy : r->metrics.share;
    double sum = 0;
    bool any = false;
    for (int g = 0; g < GROUPS; g++)
        any |= isfinite(part[g]);
    if (!any)
        return;
    label(c, ended ? "busy" : "rank time");
    for (int g = 0; g < GROUPS; g++)
        if (isfinite(part[g])) {
            watch_canvas_item(c, WATCH_PLAIN, "%s %.0f %%", group_name((enum group)g),
                              100 * part[g]);
            sum += part[g];
        }
    if (!ended)
        watch_canvas_item(c, WATCH_DIM, "waiting %.0f %%", 100 * fmax(1 - sum, 0));
    watch_canvas_line(c);
}

static void put_event(struct watch_canvas *c, const char *name,
                      const struct watch_event *e, enum watch_colour colour)
{
    label(c, name);
    watch_canvas_put(c, WATCH_DIM, "%s ", e->time);
    watch_canvas_put(c, colour, "%s", e->detail);
    watch_canvas_line(c);
}

/* What happened last, newest first; a warning of an earlier job is left out. */
static void put_events(struct watch_canvas *c, const struct watch_run *r)
{
    const struct watch_metrics *m = &r->metrics;
    const char *began = "";
    for (int64_t i = m->events - 1; i >= 0; i--)
        if (strcmp(m->event[i].name, "started") == 0 ||
            strcmp(m->event[i].name, "resumed") == 0)
            began = m->event[i].time;
    if (r->trouble[0] != '\0') {
        label(c, "trouble");
        watch_canvas_put(c, WATCH_BAD, "%s", r->trouble);
        watch_canvas_line(c);
    }
    if (m->unreadable > 0) {
        label(c, "trouble");
        watch_canvas_put(c, WATCH_BAD, "metrics.jsonl: %lld lines cannot be read",
                         (long long)m->unreadable);
        watch_canvas_line(c);
    }
    if (r->warning.name[0] != '\0' && strcmp(r->warning.time, began) >= 0)
        put_event(c, r->warning.name, &r->warning,
                  strcmp(r->warning.name, "error") == 0 ? WATCH_BAD : WATCH_ODD);
    for (int64_t i = 0; i < m->events; i++)
        put_event(c, m->event[i].name, &m->event[i], WATCH_PLAIN);
}

void watch_frame_run(struct watch_canvas *c, const struct watch_run *r,
                     struct watch_clocks t)
{
    c->indent = c->columns < WIDE ? 2 : LABEL;
    put_state(c, r, watch_run_age(r, t.now, t.wall));
    if (r->state == WATCH_ABSENT)
        return;
    put_progress(c, r);
    if (r->metrics.iteration >= 0) {
        put_reward(c, r);
        put_policy(c, &r->metrics);
    }
    put_now(c, r);
    put_times(c, r);
    put_events(c, r);
}
