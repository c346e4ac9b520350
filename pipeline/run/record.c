/* Records of a run. Lines are appended whole and flushed; other files are replaced. */
#include "pipeline/run/record.h"

#include "io/json_lines.h"
#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/run/provenance.h"
#include "pipeline/run/record_scores.h"
#include "pipeline/settings.h"
#include "stages/policy.h"

#include <math.h>
#include <stdio.h>

enum { METRICS_MAX_BYTES = 1 << 30 };

struct record {
    const struct task *t;
    const struct config *config;
    char *metrics; /* path */
    double started, recent_s;
    int64_t done; /* iterations of this session */
    bool quiet;   /* no lines about iterations and accounts on stdout */
};

static char *path_of(const struct record *r, const char *name)
{
    return rundir_path(r->t->dir, name);
}

static int write_json(struct record *r, const char *name, struct json_out *o)
{
    char *path = path_of(r, name);
    int rc = json_out_file(o, path);
    mem_free(path);
    return rc;
}

static struct json_out *metrics_line(const struct record *r, int64_t iteration,
                                     const double metric[METRICS])
{
    char now[32];
    struct json_out *o = json_out_create();
    json_out_i64(o, "iteration", iteration);
    json_out_i64(o, "policy_version", task_version(r->t, iteration));
    for (int i = 0; i < METRICS; i++) {
        bool whole = i == METRIC_SAMPLES || i == METRIC_FAILED || i == METRIC_SAMPLES_TOTAL ||
                     i == METRIC_QUERIES;
        if (whole && fabs(metric[i]) < 0x1p53) /* NaN comes from a file */
            json_out_i64(o, metric_name((enum metric)i), (int64_t)metric[i]);
        else
            json_out_f64(o, metric_name((enum metric)i), metric[i]);
    }
    record_scores(r->t, iteration, o);
    json_out_text(o, "time", log_now(now));
    return o;
}

/* A last line without its newline was cut, and the next one would continue it. */
static int drop_cut_line(const char *path)
{
    char *data = NULL;
    int64_t len = 0, keep;
    if (file_read(path, METRICS_MAX_BYTES, &data, &len) != 0)
        return -1;
    for (keep = len; keep > 0 && data[keep - 1] != '\n'; keep--)
        ;
    int rc = keep == len ? 0 : file_write(path, data, keep);
    mem_free(data);
    return rc;
}

/* Drops a cut last line; returns the last iteration below `newest` that was recorded, -1
 * for none (later ones belong to policies that were taken away). */
static int repair(struct record *r, int64_t newest, int64_t *last)
{
    struct json *line;
    *last = -1;
    if (!file_exists(r->metrics))
        return 0;
    if (drop_cut_line(r->metrics) != 0)
        return -1;
    struct json_lines *lines = json_lines_open(r->metrics);
    if (lines == NULL)
        return -1;
    while ((line = json_lines_next(lines)) != NULL) {
        int64_t i;
        if (json_to_i64(json_get(line, "iteration"), &i) && i > *last && i < newest)
            *last = i;
        json_free(line);
    }
    int64_t foreign = json_lines_unreadable(lines); /* they are the user's and stay */
    if (foreign > 0)
        log_warn("%s: %lld lines are no JSON and are ignored; iterations may be missing "
                 "there",
                 r->metrics, (long long)foreign);
    json_lines_close(lines);
    return 0;
}

/* Lines for versions whose policy was sealed just before a kill. */
static int recover(struct record *r, int64_t last, int64_t newest)
{
    char rel[96], path[4096];
    for (int64_t v = last + 2; v <= newest; v++) {
        double metric[METRICS];
        if (!file_exists(task_path(r->t, rundir_policy(rel, v), path)))
            continue;
        struct policy *p = policy_open(path);
        int rc = p == NULL ? -1 : policy_metrics(p, metric);
        policy_close(p);
        if (rc != 0)
            return -1;
        struct json_out *o = metrics_line(r, v - 1, metric);
        json_out_f64(o, "t_iteration_s", NAN);
        json_out_bool(o, "recovered", true);
        if (json_out_append(o, r->metrics) != 0)
            return -1;
    }
    return 0;
}

struct record *record_open(const struct task *t, const struct config *c, int64_t newest)
{
    int64_t last;
    struct record *r = mem_alloc(1, sizeof *r);
    r->t = t;
    r->config = c;
    r->metrics = path_of(r, "metrics.jsonl");
    r->started = clock_s();
    r->quiet = config_bool(c, "run.quiet");
    if (repair(r, newest, &last) != 0 || recover(r, last, newest) != 0) {
        record_close(r);
        return NULL;
    }
    return r;
}

void record_close(struct record *r)
{
    if (r == NULL)
        return;
    mem_free(r->metrics);
    mem_free(r);
}

/* The same on a terminal and in a batch log: Open MPI gives ranks a terminal of their own as
 * standard output even where mpirun's is a file, so isatty tells nothing here. */
static void progress_line(struct record *r, int64_t iteration, const double *m, double s,
                          int64_t rss)
{
    int64_t left = settings_iterations(r->config) - iteration - 1;
    r->recent_s = r->done == 0 ? s : 0.7 * r->recent_s + 0.3 * s;
    int64_t eta = (int64_t)(r->recent_s * (double)left + 0.5);
    printf("iteration %lld/%lld  reward %.5g +- %.3g  kl %.3g  clip %.3f  |ratio-1| %.3g  "
           "%.1f samples/s  %.1f s  eta %lld:%02lld:%02lld  %lld MB%s",
           (long long)iteration + 1, (long long)settings_iterations(r->config),
           m[METRIC_REWARD_MEAN], m[METRIC_REWARD_STD], m[METRIC_APPROX_KL],
           m[METRIC_CLIP_FRACTION], m[METRIC_RATIO_ABSDEV_MAX], m[METRIC_SAMPLES] / s, s,
           (long long)eta / 3600, (long long)eta / 60 % 60, (long long)eta % 60,
           (long long)(rss >> 20), m[METRIC_FAILED] > 0 ? "" : "\n");
    if (m[METRIC_FAILED] > 0)
        printf("  FAILED %.0f\n", m[METRIC_FAILED]);
    if (isfinite(m[METRIC_GUARD_MEAN]))
        printf("  guard %.5g +- %.2g\n", m[METRIC_GUARD_MEAN], m[METRIC_GUARD_ERROR]);
    if (isfinite(m[METRIC_KL_PATH]))
        printf("  path KL to policy 0 %.4g nats\n", m[METRIC_KL_PATH]);
    fflush(stdout);
}

void record_add(struct record_account *a, const struct record_account *b)
{
    a->working_s += b->working_s;
    a->asked_s += b->asked_s;
    for (int k = 0; k < TASK_TIMES; k++)
        a->spent_s[k] += b->spent_s[k];
}

static double other_s(const struct record_account *a)
{
    double rest = a->working_s;
    for (int k = 0; k < TASK_TIMES; k++)
        rest -= a->spent_s[k];
    return fmax(rest, 0);
}

static void put_account(struct json_out *o, const struct record_account *a)
{
    char name[40];
    json_out_f64(o, "working_s", a->working_s);
    for (int k = 0; k < TASK_TIMES; k++) {
        bool waits = k == TIME_WAITING; /* waiting_s is the time without a lease */
        snprintf(name, sizeof name, "%s_s", waits ? "vote" : task_time_name(k));
        json_out_f64(o, name, a->spent_s[k]);
    }
    json_out_f64(o, "other_s", other_s(a));
    if (a->asked_s > 0)
        json_out_f64(o, "asked_s", a->asked_s);
}

const char *record_wait_name(int on)
{
    return on == RECORD_LEASE ? "lease" : group_name((enum group)on);
}

static void put_waits(struct json_out *o, const char *key, const struct record_waits *w)
{
    char name[40];
    json_out_map(o, key);
    for (int k = 0; k < RECORD_WAITS; k++) {
        snprintf(name, sizeof name, "%s_s", record_wait_name(k));
        json_out_f64(o, name, w->on_s[k]);
    }
    json_out_end(o);
}

/* What of the ranks' time was no arithmetic of the network; of those that take turns only
 * as many count as there are cores for. */
static double overhead(double network_s, int ranks, double wall_s)
{
    return 1 - network_s / fmax(ranks * wall_s, 1e-9);
}

static void put_split(struct json_out *o, const struct record_times *t)
{
    double network = 0;
    json_out_map(o, "rank_time");
    for (int g = 0; g < GROUPS; g++) {
        network += t->account[g].spent_s[TIME_NETWORK];
        json_out_map(o, group_name((enum group)g));
        put_account(o, &t->account[g]);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_map(o, "rank_wait");
    for (int g = 0; g < GROUPS; g++)
        put_waits(o, group_name((enum group)g), &t->waited[g]);
    json_out_end(o);
    json_out_f64(o, "pipeline_overhead", overhead(network, t->at_once, t->iteration_s));
}

static void put_list(struct json_out *o, const char *name, const double *v, double n)
{
    json_out_list(o, name);
    for (int e = 0; e < (int)n; e++)
        json_out_f64(o, NULL, v[e]);
    json_out_end(o);
}

static void put_steps(struct json_out *o, const struct update_steps *s)
{
    if (s->n < 1)
        return;
    json_out_map(o, "update_steps");
    json_out_list(o, "t");
    for (int e = 0; e < (int)s->n; e++)
        json_out_i64(o, NULL, (int64_t)s->t[e]);
    json_out_end(o);
    put_list(o, "approx_kl", s->approx_kl, s->n);
    put_list(o, "clip_fraction", s->clip_fraction, s->n);
    json_out_end(o);
}

int record_iteration(struct record *r, int64_t iteration, const double metric[METRICS],
                     const struct update_steps *steps, const struct record_times *times)
{
    struct json_out *o = metrics_line(r, iteration, metric);
    json_out_f64(o, "t_iteration_s", times->iteration_s);
    for (int g = 0; g < GROUPS; g++) {
        char name[32];
        snprintf(name, sizeof name, "t_%s_s", group_name((enum group)g));
        json_out_f64(o, name, times->group_s[g]);
    }
    put_split(o, times);
    put_steps(o, steps);
    json_out_i64(o, "rss_bytes", times->rss_bytes);
    if (!r->quiet)
        progress_line(r, iteration, metric, times->iteration_s, times->rss_bytes);
    r->done++;
    return json_out_append(o, r->metrics) != 0
               ? -1
               : record_status(r, "running", 0, "", iteration + 1);
}

int record_event(struct record *r, const char *event, const char *detail)
{
    char now[32];
    struct json_out *o = json_out_create();
    json_out_text(o, "event", event);
    json_out_text(o, "detail", detail);
    json_out_text(o, "time", log_now(now));
    return json_out_append(o, r->metrics);
}

struct status {
    const char *state;
    int code;
    const char *message;
    int64_t version;
    const char *phase; /* NULL: none */
};

static int put_status(struct record *r, const struct status *s)
{
    char now[32];
    struct json_out *o = json_out_create();
    json_out_text(o, "state", s->state);
    json_out_i64(o, "exit_code", s->code);
    json_out_text(o, "message", s->message);
    json_out_text(o, "run_id", r->t->run_id);
    json_out_i64(o, "policy_version", s->version);
    json_out_i64(o, "iterations", settings_iterations(r->config));
    json_out_f64(o, "session_s", clock_s() - r->started);
    if (s->phase != NULL)
        json_out_text(o, "phase", s->phase);
    json_out_text(o, "time", log_now(now));
    return write_json(r, "status.json", o);
}

int record_status(struct record *r, const char *state, int code, const char *message,
                  int64_t version)
{
    return put_status(r, &(struct status){state, code, message, version, NULL});
}

void record_beat(struct record *r, int64_t version, const char *phase)
{
    if (put_status(r, &(struct status){"running", 0, "", version, phase}) != 0) {
        log_debug("%s", err_text());
        err_clear();
    }
}

int record_provenance(struct record *r, int argc, char **argv,
                      const struct record_where *where)
{
    char *sessions = path_of(r, "log/sessions.jsonl");
    record_compare_scorers(r->t);
    int rc = json_out_append(provenance_of(r->t, r->config, argc, argv, where), sessions);
    mem_free(sessions);
    return rc != 0 ? -1
                   : write_json(r, "provenance.json",
                                provenance_of(r->t, r->config, argc, argv, where));
}

static void both(const struct record *r, const char *line)
{
    if (!r->quiet)
        printf("%s\n", line);
    log_info("%s", line);
}

/* One group's line; returns its ranks' seconds of network arithmetic. */
static double put_group(const struct record *r, struct json_out *o,
                        const struct layout *l, enum group g,
                        const struct record_session *session)
{
    char line[256];
    double wall_s = session->wall_s;
    struct record_account sum = {0};
    double low = INFINITY, high = 0;
    for (int k = l->start[g]; k < l->start[g] + l->size[g]; k++) {
        const struct record_account *a = &session->account[k * GROUPS + g];
        record_add(&sum, a);
        low = fmin(low, a->working_s);
        high = fmax(high, a->working_s);
    }
    double waiting = fmax(wall_s * l->size[g] - sum.working_s, 0);
    const double *s = sum.spent_s;
    json_out_map(o, NULL);
    json_out_text(o, "name", group_name(g));
    json_out_i64(o, "ranks", l->size[g]);
    json_out_f64(o, "waiting_s", waiting);
    put_account(o, &sum);
    json_out_f64(o, "working_max_s", high);
    json_out_f64(o, "working_min_s", low);
    put_waits(o, "waited_for", &session->waited[g]);
    json_out_end(o);
    snprintf(line, sizeof line,
             "%-9s %6d %9.2f %8.2f %7.2f %8.2f %10.2f %6.2f %7.2f %9.2f %6.1f  %.2f / %.2f",
             group_name(g), l->size[g], sum.working_s, s[TIME_NETWORK], s[TIME_IO],
             s[TIME_COMMUNICATION], s[TIME_OPTIMIZER], s[TIME_WAITING], other_s(&sum),
             waiting, 100 * sum.working_s / fmax(wall_s * l->size[g], 1e-9), high, low);
    both(r, line);
    return s[TIME_NETWORK];
}

/* Of the largest rank, and of each group's. */
static void put_memory(struct json_out *o, const struct layout *l,
                       const struct record_rank *rank)
{
    double all = 0, most[GROUPS] = {0};
    for (int g = 0; g < GROUPS; g++)
        for (int k = l->start[g]; k < l->start[g] + l->size[g]; k++)
            most[g] = fmax(most[g], rank[k].rss_bytes);
    for (int g = 0; g < GROUPS; g++)
        all = fmax(all, most[g]);
    json_out_f64(o, "rss_max_bytes", all);
    json_out_map(o, "rss_group_bytes");
    for (int g = 0; g < GROUPS; g++)
        if (l->size[g] > 0)
            json_out_f64(o, group_name((enum group)g), most[g]);
    json_out_end(o);
}

static void put_ranks(struct json_out *o, const struct layout *l,
                      const struct record_rank *rank)
{
    double from[WEIGHTS_FROM] = {0};
    for (int k = 0; k < l->world; k++)
        for (int i = 0; i < WEIGHTS_FROM; i++)
            from[i] += rank[k].weights_from[i];
    json_out_map(o, "weights_from");
    for (int i = 0; i < WEIGHTS_FROM; i++)
        json_out_i64(o, weights_from_name((enum weights_from)i), (int64_t)from[i]);
    json_out_end(o);
    put_memory(o, l, rank);
}

int record_accounting(struct record *r, const struct layout *l,
                      const struct record_session *s)
{
    char line[128];
    const struct record_cores *on = &s->on;
    double wall_s = s->wall_s;
    struct json_out *o = json_out_create();
    double network = 0;
    json_out_f64(o, "wall_s", wall_s);
    json_out_i64(o, "ranks", l->world);
    json_out_list(o, "groups");
    both(r, "seconds of rank time:  working = network + I/O + messages + optimizer + vote + "
         "other");
    both(r, "group      ranks   working  network     I/O messages  optimizer   vote   other   "
         "waiting busy %  max / min rank");
    for (int g = 0; g < GROUPS; g++)
        if (l->size[g] > 0)
            network += put_group(r, o, l, (enum group)g, s);
    json_out_end(o);
    double part = overhead(network, on->at_once, wall_s);
    json_out_i64(o, "ranks_at_once", on->at_once);
    json_out_i64(o, "cores", on->cores);
    json_out_f64(o, "network_s", network);
    json_out_f64(o, "pipeline_overhead", part);
    put_ranks(o, l, s->rank);
    json_out_f64(o, "core_hours", wall_s * l->world / 3600);
    snprintf(line, sizeof line,
             "pipeline overhead %.1f %% = 1 - network %.2f s / (%d ranks at once x %.2f s)",
             100 * part, network, on->at_once, wall_s);
    both(r, line);
    fflush(stdout);
    return write_json(r, "accounting.json", o);
}
