/* metrics.jsonl, read on. One buffer's worth is in memory at a time; the history of the
 * reward is kept in buckets of iterations that widen as the run grows. */
#include "pipeline/watch/watch_run.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/metrics_log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BUFFER = 1 << 18,  /* longer lines are left out */
    STRETCH = 4 << 20, /* read whole up to here */
    PROBES = 128,
    PROBE = 1 << 14,
    END = 1 << 19
};

static const char *const keys[WATCH_VALUES] = {
    "reward_mean",      "reward_std",        "approx_kl",   "clip_fraction",
    "ratio_absdev_max", "samples",           "failed",      "t_iteration_s",
    "rss_bytes",        "guard_mean",        "guard_error", "kl_path",
    "answer_mean",      "pipeline_overhead",
};

void watch_text(const struct json *map, const char *key, char *out, size_t size)
{
    const struct json *j = map == NULL ? NULL : json_get(map, key);
    const char *s = j == NULL ? NULL : json_text(j);
    snprintf(out, size, "%s", s == NULL ? "" : s);
}

static void put_reward(struct watch_metrics *m, int64_t iteration, double v)
{
    while (iteration / m->width >= WATCH_HISTORY) {
        for (int i = 0; i < WATCH_HISTORY / 2; i++) {
            m->bucket[i].sum = m->bucket[2 * i].sum + m->bucket[2 * i + 1].sum;
            m->bucket[i].n = m->bucket[2 * i].n + m->bucket[2 * i + 1].n;
        }
        memset(&m->bucket[WATCH_HISTORY / 2], 0,
               sizeof m->bucket[0] * (WATCH_HISTORY / 2));
        m->width *= 2;
    }
    if (!isfinite(v))
        return;
    m->bucket[iteration / m->width].sum += v;
    m->bucket[iteration / m->width].n++;
}

/* Numbers of a map, or one number of each map in it. */
static int64_t take_named(struct watch_named *out, const struct json *map,
                          const char *inner)
{
    int64_t n = 0;
    for (int64_t i = 0; map != NULL && i < json_count(map) && n < WATCH_NAMED; i++) {
        const char *name = NULL;
        const struct json *v = json_entry(map, i, &name);
        if (v == NULL || name == NULL)
            continue;
        snprintf(out[n].name, sizeof out[n].name, "%s", name);
        if (inner != NULL)
            out[n].value = json_kind(v) == JSON_MAP_T ? json_number(v, inner, NAN) : NAN;
        else if (!json_to_f64(v, &out[n].value))
            out[n].value = NAN;
        n++;
    }
    return n;
}

static const struct json *map_of(const struct json *line, const char *key)
{
    const struct json *v = json_get(line, key);
    return v != NULL && json_kind(v) == JSON_MAP_T ? v : NULL;
}

/* Each group's part of the time that the ranks had: the overhead says how much that
 * was. */
static void take_shares(struct watch_metrics *m, const struct json *line)
{
    const struct json *times = map_of(line, "rank_time"), *t[GROUPS];
    double network = 0;
    for (int g = 0; g < GROUPS; g++) {
        t[g] = times == NULL ? NULL : map_of(times, group_name((enum group)g));
        double s = json_number(t[g], "network_s", NAN);
        network += isfinite(s) ? s : 0;
    }
    const double had = network / (1 - m->value[WATCH_OVERHEAD]);
    for (int g = 0; g < GROUPS; g++) {
        double s = json_number(t[g], "working_s", NAN);
        m->share[g] = isfinite(had) && had > 0 && s >= 0 ? s / had : NAN;
    }
}

static void take_iteration(struct watch_metrics *m, const struct json *line, int64_t i)
{
    if (i <= m->iteration) /* the run went back: what came after is made again */
        for (int64_t k = i / m->width + (m->width > 1); k < WATCH_HISTORY; k++)
            m->bucket[k].n = 0, m->bucket[k].sum = 0;
    m->iteration = i;
    put_reward(m, i, json_number(line, keys[WATCH_REWARD], NAN));
    for (int k = 0; k < WATCH_VALUES; k++)
        m->value[k] = json_number(line, keys[k], NAN);
    take_shares(m, line);
    m->components = take_named(m->component, map_of(line, "components"), "mean");
    m->statuses = take_named(m->status, map_of(line, "status"), NULL);
    const double s = m->value[WATCH_ITERATION_S];
    if (s >= 0) /* as the progress line does */
        m->recent_s = isfinite(m->recent_s) ? 0.7 * m->recent_s + 0.3 * s : s;
}

static void take_event(struct watch_metrics *m, const struct json *line)
{
    memmove(&m->event[1], &m->event[0], sizeof m->event[0] * (WATCH_EVENTS - 1));
    watch_text(line, "event", m->event[0].name, sizeof m->event[0].name);
    watch_text(line, "time", m->event[0].time, sizeof m->event[0].time);
    watch_text(line, "detail", m->event[0].detail, sizeof m->event[0].detail);
    if (m->events < WATCH_EVENTS)
        m->events++;
    m->recent_s = NAN; /* another job may have another rate */
}

static void take_line(struct watch_metrics *m, const char *s, int64_t len)
{
    int64_t i;
    struct json *line = json_parse(s, len, "metrics.jsonl");
    if (line == NULL || json_kind(line) != JSON_MAP_T)
        m->unreadable++;
    else if (json_get(line, "event") != NULL)
        take_event(m, line);
    else if (json_get(line, "iteration") == NULL)
        ; /* a line of another command */
    else if (json_to_i64(json_get(line, "iteration"), &i) && i >= 0 &&
             i <= METRICS_ITERATION_MOST)
        take_iteration(m, line, i);
    else
        m->unreadable++;
    json_free(line);
    err_clear();
}

/* Takes the whole lines of [from, to), the first left out where it is cut; returns the
 * end of the last one. */
static int64_t take_span(struct watch_metrics *m, int fd, char *buf, int64_t from,
                         int64_t to, bool cut)
{
    while (from < to) {
        const int64_t want = to - from < BUFFER ? to - from : BUFFER;
        const ssize_t n = pread(fd, buf, (size_t)want, from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        int64_t at = 0;
        for (char *end;
             at < n && (end = memchr(buf + at, '\n', (size_t)(n - at))) != NULL;
             at = end - buf + 1) {
            if (!cut && end > buf + at)
                take_line(m, buf + at, end - (buf + at));
            cut = false;
        }
        if (at == 0 && n < BUFFER)
            break; /* a line that is still being written */
        if (at == 0 && !cut)
            m->unreadable++;
        cut |= at == 0; /* too long: go on behind it */
        from += at == 0 ? n : at;
    }
    return from;
}

void watch_metrics_clear(struct watch_metrics *m)
{
    *m = (struct watch_metrics){.iteration = -1, .recent_s = NAN, .width = 1};
    for (int k = 0; k < WATCH_VALUES; k++)
        m->value[k] = NAN;
    for (int g = 0; g < GROUPS; g++)
        m->share[g] = NAN;
}

bool watch_metrics_read(struct watch_metrics *m, const char *path)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return false;
    }
    char *buf = mem_alloc(BUFFER, 1);
    const int64_t size = st.st_size;
    bool cut = false;
    if (size < m->offset) /* a torn line was taken away, or it is another run's */
        watch_metrics_clear(m);
    if (size - m->offset > STRETCH) {
        const int64_t from = m->offset, step = (size - END - from) / PROBES;
        for (int64_t k = 0; k < PROBES; k++)
            take_span(m, fd, buf, from + k * step, from + k * step + PROBE, k > 0);
        m->offset = size - END;
        cut = true;
    }
    m->offset = take_span(m, fd, buf, m->offset, size, cut);
    mem_free(buf);
    close(fd);
    return true;
}

int64_t watch_metrics_history(const struct watch_metrics *m, double *v, int64_t n)
{
    const int64_t used = m->iteration < 0 ? 0 : m->iteration / m->width + 1;
    const int64_t out = used < n ? used : n;
    double last = NAN;
    for (int64_t i = 0; i < out; i++) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t k = i * used / out; k < (i + 1) * used / out; k++) {
            sum += m->bucket[k].sum;
            count += m->bucket[k].n;
        }
        if (count > 0)
            last = sum / (double)count;
        v[i] = last; /* what was not read is as before */
    }
    return out;
}
