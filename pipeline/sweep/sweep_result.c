/* What became of a member: member.json, its run's status and metrics. The sweep's own
 * description, sweep.json, is written and read here too. */
#include "pipeline/sweep/sweep_parts.h"

#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { JSON_MOST = 1 << 20, SWEEP_MOST = 256 << 20, LOG_TAIL = 4096 };

const char *sweep_state_name(enum sweep_state state)
{
    static const char *const name[] = {"waiting", "running", "interrupted",
                                       "stopped", "failed",  "finished"};
    return name[state];
}

void sweep_describe(const struct sweep *s, const struct sweep_member *m, struct text *t)
{
    bool first = true;
    for (int64_t k = 0; k < s->keys; k++) {
        if (m->value[k] == NULL)
            continue;
        text_add(t, "%s%s=%s", first ? "" : " ", s->key[k], m->value[k]);
        first = false;
    }
}

static struct json *read_json(const struct sweep_member *m, const char *name)
{
    char *path = rundir_path(m->dir, name);
    struct json *j = file_exists(path) ? json_read(path, JSON_MOST) : NULL;
    mem_free(path);
    err_clear();
    return j;
}

static bool says(const struct json *status, const char *key, const char *word)
{
    const char *s = status == NULL ? NULL : json_text(json_get(status, key));
    return s != NULL && strcmp(s, word) == 0;
}

static bool is_state(const struct json *status, const char *state)
{
    return says(status, "state", state);
}

bool sweep_stopped_alone(const struct sweep_member *m)
{
    struct json *status = read_json(m, "run/status.json");
    bool alone = is_state(status, "stopped") && says(status, "message", "STOP file");
    json_free(status);
    return alone;
}

bool sweep_is_done(const struct sweep_member *m, int64_t iterations)
{
    struct json *status = read_json(m, "run/status.json");
    double reached = json_number(status, "policy_version", -1);
    bool done = (is_state(status, "finished") &&
                 json_number(status, "iterations", -1) >= (double)iterations) ||
                reached > (double)iterations;
    json_free(status);
    return done;
}

static bool is_locked(const struct sweep_member *m)
{
    char *path = rundir_path(m->dir, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (fd >= 0)
        close(fd);
    mem_free(path);
    return held;
}

/* The program's last complaint, else the last line of what was printed. */
static void last_words(const struct sweep_member *m, char *out, size_t size)
{
    char *path = rundir_path(m->dir, "log.txt"), buf[LOG_TAIL + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t len = file_size(path);
    ssize_t n =
        fd < 0 ? 0
               : pread(fd, buf, LOG_TAIL, (off_t)(len > LOG_TAIL ? len - LOG_TAIL : 0));
    if (fd >= 0)
        close(fd);
    mem_free(path);
    while (n > 0 && isspace((unsigned char)buf[n - 1]))
        n--;
    buf[n > 0 ? n : 0] = '\0';
    const char *line = buf, *last = buf;
    for (const char *p = buf; p != NULL; p = strchr(p, '\n')) {
        p += *p == '\n';
        last = p;
        if (strncmp(p, "sluice: ", 8) == 0 || strncmp(p, "sluice run: ", 12) == 0)
            line = p;
    }
    line = line == buf ? last : line;
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void take_metrics(const struct sweep *s, struct sweep_result *r)
{
    const struct report_metrics *m = &r->metrics;
    enum report_metric what =
        strcmp(s->metric, "guard_mean") == 0 ? M_GUARD_MEAN : M_REWARD_MEAN;
    r->iterations = m->n;
    for (int64_t i = 0; i < m->n; i++) {
        r->best = fmax(r->best, m->row[i][what]); /* fmax ignores NaN */
        r->reward_best = fmax(r->reward_best, m->row[i][M_REWARD_MEAN]);
        if (isfinite(m->row[i][M_APPROX_KL]))
            r->kl = m->row[i][M_APPROX_KL];
        if (isfinite(m->row[i][M_KL_PATH]))
            r->kl_path = m->row[i][M_KL_PATH];
        if (isfinite(m->row[i][M_GUARD_MEAN]))
            r->guard = m->row[i][M_GUARD_MEAN];
    }
    if (m->n > 0) {
        r->last = m->row[m->n - 1][what];
        r->reward_last = m->row[m->n - 1][M_REWARD_MEAN];
    }
}

void sweep_result_read(const struct sweep *s, const struct sweep_member *m,
                       struct sweep_result *r)
{
    struct json *own = read_json(m, "member.json"),
                *status = read_json(m, "run/status.json");
    char *path = rundir_path(m->dir, "run/metrics.jsonl");
    *r = (struct sweep_result){.rung = -1,
                               .last = NAN,
                               .best = NAN,
                               .reward_last = NAN,
                               .reward_best = NAN,
                               .kl = NAN,
                               .kl_path = NAN,
                               .guard = NAN};
    r->code = (int64_t)json_number(own, "exit_code", -1);
    r->wall_s = json_number(own, "wall_s", NAN);
    r->starts = json_number(own, "starts", 0);
    report_metrics_read(&r->metrics, path);
    take_metrics(s, r);
    for (int64_t k = 0; k < s->rungs; k++)
        if (sweep_is_done(m, s->iterations[k]))
            r->rung = k;
    if (is_locked(m))
        r->state = SWEEP_RUNNING;
    else if (s->rungs == 0 ? sweep_is_done(m, m->iterations) : r->rung >= 0)
        r->state = SWEEP_FINISHED;
    else if (own == NULL)
        r->state = status == NULL ? SWEEP_WAITING : SWEEP_INTERRUPTED;
    else if (r->code == 0) /* for fewer iterations than are wanted now */
        r->state = SWEEP_WAITING;
    else
        r->state = r->code == ERR_STOPPED ? SWEEP_STOPPED : SWEEP_FAILED;
    if (r->code > 0 && r->code != ERR_STOPPED && r->state != SWEEP_RUNNING) {
        r->state = SWEEP_FAILED; /* in a later rung, perhaps */
        if (r->code > 128)
            snprintf(r->message, sizeof r->message, "ended by signal %lld",
                     (long long)r->code - 128);
        else
            last_words(m, r->message, sizeof r->message);
    }
    mem_free(path);
    json_free(own);
    json_free(status);
}

void sweep_result_free(struct sweep_result *r)
{
    report_metrics_free(&r->metrics);
}

struct sweep_result *sweep_results(const struct sweep *s)
{
    struct sweep_result *r = mem_alloc(s->members, sizeof *r);
    for (int64_t i = 0; i < s->members; i++)
        sweep_result_read(s, &s->member[i], &r[i]);
    return r;
}

void sweep_results_free(const struct sweep *s, struct sweep_result *r)
{
    for (int64_t i = 0; i < s->members; i++)
        sweep_result_free(&r[i]);
    mem_free(r);
}

double sweep_metric_at(const struct sweep *s, const struct sweep_member *m,
                       int64_t iterations)
{
    char *path = rundir_path(m->dir, "run/metrics.jsonl");
    enum report_metric what =
        strcmp(s->metric, "guard_mean") == 0 ? M_GUARD_MEAN : M_REWARD_MEAN;
    struct report_metrics metrics;
    double v = NAN;
    report_metrics_read(&metrics, path);
    for (int64_t i = 0; i < metrics.n; i++)
        if (metrics.row[i][M_ITERATION] < (double)iterations)
            v = metrics.row[i][what];
    report_metrics_free(&metrics);
    mem_free(path);
    return v;
}

static void put_values(const struct sweep *s, const struct sweep_member *m,
                       struct json_out *o)
{
    json_out_map(o, "parameters");
    for (int64_t k = 0; k < s->keys; k++)
        if (m->value[k] != NULL)
            json_out_text(o, s->key[k], m->value[k]);
    json_out_end(o);
}

static int write_json(const char *dir, const char *name, struct json_out *o)
{
    char *path = rundir_path(dir, name);
    int rc = json_out_file(o, path);
    mem_free(path);
    return rc;
}

int sweep_result_write(const struct sweep *s, const struct sweep_member *m,
                       int64_t code, double wall_s)
{
    struct json *old = read_json(m, "member.json");
    struct json_out *o = json_out_create();
    json_out_text(o, "id", m->id);
    put_values(s, m, o);
    json_out_i64(o, "seed", m->seed);
    json_out_i64(o, "exit_code", code);
    json_out_f64(o, "wall_s", json_number(old, "wall_s", 0) + wall_s);
    json_out_i64(o, "starts", (int64_t)json_number(old, "starts", 0) + 1);
    json_free(old);
    return write_json(m->dir, "member.json", o);
}

int sweep_save(const struct sweep *s)
{
    if (file_make_dirs(s->dir) != 0)
        return -1;
    struct json_out *o = json_out_create();
    json_out_text(o, "format", "sluice sweep 1");
    json_out_text(o, "config", s->base);
    json_out_text(o, "metric", s->metric);
    json_out_list(o, "overrides");
    for (int64_t i = 0; i < s->overrides; i++)
        json_out_text(o, NULL, s->override[i]);
    json_out_end(o);
    json_out_list(o, "keys");
    for (int64_t k = 0; k < s->keys; k++)
        json_out_text(o, NULL, s->key[k]);
    json_out_end(o);
    json_out_list(o, "rungs");
    for (int64_t k = 0; k < s->rungs; k++) {
        json_out_map(o, NULL);
        json_out_i64(o, "members", s->count[k]);
        json_out_i64(o, "iterations", s->iterations[k]);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_list(o, "members");
    for (int64_t i = 0; i < s->members; i++) {
        json_out_map(o, NULL);
        json_out_text(o, "id", s->member[i].id);
        json_out_i64(o, "seed", s->member[i].seed);
        json_out_i64(o, "iterations", s->member[i].iterations);
        put_values(s, &s->member[i], o);
        json_out_end(o);
    }
    json_out_end(o);
    return write_json(s->dir, "sweep.json", o);
}

/* Of a key of the configuration, which names columns as well. */
static const char key_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_.";

static bool load_member(struct sweep *s, struct sweep_member *m, const struct json *j)
{
    const char *id = json_text(json_get(j, "id"));
    const struct json *values = json_get(j, "parameters");
    if (id == NULL || strlen(id) != SWEEP_ID ||
        strspn(id, "0123456789abcdef") != SWEEP_ID || values == NULL ||
        json_kind(values) != JSON_MAP_T)
        return false;
    snprintf(m->id, sizeof m->id, "%s", id);
    m->seed = (int64_t)json_number(j, "seed", 0);
    m->iterations = (int64_t)json_number(j, "iterations", 0);
    m->dir = text_new("%s/members/%s", s->dir, m->id);
    m->value = mem_alloc(s->keys, sizeof *m->value);
    for (int64_t k = 0; k < s->keys; k++) {
        const struct json *v = json_get(values, s->key[k]);
        m->value[k] = v != NULL && json_text(v) != NULL ? mem_text(json_text(v)) : NULL;
    }
    return true;
}

static bool load(struct sweep *s, const struct json *root)
{
    const struct json *keys = json_get(root, "keys"), *rungs = json_get(root, "rungs"),
                      *members = json_get(root, "members");
    const char *format = json_text(json_get(root, "format")),
               *metric = json_text(json_get(root, "metric")),
               *base = json_text(json_get(root, "config"));
    if (format == NULL || strcmp(format, "sluice sweep 1") != 0 || metric == NULL ||
        (strcmp(metric, "reward_mean") != 0 && strcmp(metric, "guard_mean") != 0) ||
        base == NULL || keys == NULL || members == NULL || rungs == NULL ||
        json_count(rungs) > SWEEP_RUNGS)
        return false;
    s->base = mem_text(base);
    snprintf(s->metric, sizeof s->metric, "%s", metric);
    s->key = mem_alloc(json_count(keys) + 1, sizeof *s->key);
    for (int64_t k = 0; k < json_count(keys); k++) {
        const char *name = json_text(json_item(keys, k));
        if (name == NULL || name[0] == '\0' || name[strspn(name, key_letters)] != '\0')
            return false;
        s->key[s->keys++] = mem_text(name);
    }
    for (; s->rungs < json_count(rungs); s->rungs++) {
        s->count[s->rungs] = (int64_t)json_number(json_item(rungs, s->rungs), "members", 0);
        s->iterations[s->rungs] =
            (int64_t)json_number(json_item(rungs, s->rungs), "iterations", 0);
    }
    s->member = mem_alloc(json_count(members) + 1, sizeof *s->member);
    for (; s->members < json_count(members); s->members++)
        if (!load_member(s, &s->member[s->members], json_item(members, s->members)))
            return false;
    return true;
}

struct sweep *sweep_load(const char *dir)
{
    char *path = rundir_path(dir, "sweep.json");
    struct json *root = json_read(path, SWEEP_MOST);
    struct sweep *s = NULL;
    if (root != NULL) {
        s = mem_alloc(1, sizeof *s);
        *s = (struct sweep){.dir = mem_text(dir)};
        if (!load(s, root)) {
            sweep_destroy(s);
            s = NULL;
            err_set(ERR_INPUT, "%s: is not what `sluice sweep` writes", path);
        }
    } else {
        err_add("%s is no folder of a sweep", dir);
    }
    json_free(root);
    mem_free(path);
    return s;
}
