/* One table of all members: text, csv, HDF5. */
#include "pipeline/sweep/sweep_parts.h"

#include "io/csv.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Columns of numbers, in their order. */
static const struct {
    const char *name, *units, *long_name;
} numbers[] = {
    {"exit_code", "", "exit code of the last start; -1: none yet"},
    {"iterations", "", "iterations recorded"},
    {"reward_last", "reward", "mean reward of the last iteration"},
    {"reward_best", "reward", "largest mean reward of an iteration"},
    {"guard_last", "reward", "mean of reward.guard in the last iteration that has it"},
    {"approx_kl", "nat", "approximate KL per step, last iteration"},
    {"kl_path", "nat",
     "KL of whole chains to the first policy, last iteration that has it"},
    {"wall_s", "s", "time of all starts together"},
    {"starts", "", "how often it was started"},
    {"rung", "", "halving: last rung finished; -1: none"},
    {"seed", "", "run.seed"},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static void row_of(const struct sweep_member *m, const struct sweep_result *r,
                   double out[NUMBERS])
{
    const double v[NUMBERS] = {(double)r->code, (double)r->iterations,
                               r->reward_last,  r->reward_best,
                               r->guard,        r->kl,
                               r->kl_path,      r->wall_s,
                               r->starts,       (double)r->rung,
                               (double)m->seed};
    memcpy(out, v, sizeof v);
}

static int write_csv(const struct sweep *s, const struct sweep_result *r)
{
    struct text t = {0};
    text_add(&t, "id,state");
    for (int k = 0; k < NUMBERS; k++)
        text_add(&t, ",%s", numbers[k].name);
    for (int64_t k = 0; k < s->keys; k++)
        text_add(&t, ",%s", s->key[k]);
    text_add(&t, "\n");
    for (int64_t i = 0; i < s->members; i++) {
        double v[NUMBERS];
        row_of(&s->member[i], &r[i], v);
        text_add(&t, "%s,%s", s->member[i].id, sweep_state_name(r[i].state));
        for (int k = 0; k < NUMBERS; k++) {
            text_add(&t, ",");
            if (isfinite(v[k]))
                text_add(&t, "%.17g", v[k]);
        }
        for (int64_t k = 0; k < s->keys; k++) {
            text_add(&t, ",");
            if (s->member[i].value[k] != NULL)
                csv_put(&t, s->member[i].value[k]);
        }
        text_add(&t, "\n");
    }
    char *path = rundir_path(s->dir, "table.csv");
    int rc = file_write(path, t.s, t.len);
    mem_free(path);
    text_free(&t);
    return rc;
}

static int put_numbers(struct shard_writer *w, const char *name, const char *units,
                       const char *long_name, const double *data, int64_t n)
{
    return shard_put(w, &(struct column){.name = name,
                                         .type = COLUMN_F64,
                                         .nd = 1,
                                         .dim = {n},
                                         .axis = {"member"},
                                         .units = units,
                                         .long_name = long_name,
                                         .data = data});
}

/* text[i] for member i; NULL is empty. */
static int put_texts(struct shard_writer *w, const char *name, const char *long_name,
                     const char *const *text, int64_t n)
{
    int64_t len = 1;
    for (int64_t i = 0; i < n; i++)
        if (text[i] != NULL && (int64_t)strlen(text[i]) + 1 > len)
            len = (int64_t)strlen(text[i]) + 1;
    char *all = mem_alloc(n * len, 1);
    for (int64_t i = 0; i < n; i++)
        if (text[i] != NULL)
            memcpy(all + i * len, text[i], strlen(text[i]));
    int rc = shard_put(w, &(struct column){.name = name,
                                           .type = COLUMN_TEXT,
                                           .nd = 1,
                                           .dim = {n},
                                           .axis = {"member"},
                                           .units = "",
                                           .long_name = long_name,
                                           .data = all,
                                           .text_len = len});
    mem_free(all);
    return rc;
}

/* A key's values: numbers where all are, else texts. */
static int put_key(struct shard_writer *w, const struct sweep *s, int64_t k)
{
    double *v = mem_alloc(s->members, sizeof *v);
    const char **text = mem_alloc(s->members, sizeof *text);
    bool good = true;
    for (int64_t i = 0; i < s->members; i++) {
        text[i] = s->member[i].value[k];
        v[i] = NAN;
        good = good && (text[i] == NULL || text_to_f64(text[i], &v[i]));
    }
    int rc =
        good ? put_numbers(w, s->key[k], "", "parameter of the sweep", v, s->members)
             : put_texts(w, s->key[k], "parameter of the sweep", text, s->members);
    mem_free(text);
    mem_free(v);
    return rc;
}

/* curve[member, iteration]: mean reward; NaN where a member has no such iteration. */
static int put_curves(struct shard_writer *w, const struct sweep *s,
                      const struct sweep_result *r)
{
    int64_t n = 1;
    for (int64_t i = 0; i < s->members; i++)
        if (r[i].metrics.n > 0) {
            double last = r[i].metrics.row[r[i].metrics.n - 1][M_ITERATION];
            n = last >= 0 && last < 1e6 && (int64_t)last + 1 > n ? (int64_t)last + 1
                                                                 : n;
        }
    double *v = mem_alloc(s->members * n, sizeof *v);
    for (int64_t i = 0; i < s->members * n; i++)
        v[i] = NAN;
    for (int64_t i = 0; i < s->members; i++)
        for (int64_t k = 0; k < r[i].metrics.n; k++) {
            double at = r[i].metrics.row[k][M_ITERATION];
            if (at >= 0 && at < (double)n)
                v[i * n + (int64_t)at] = r[i].metrics.row[k][M_REWARD_MEAN];
        }
    int rc = shard_put(w, &(struct column){.name = "reward_mean",
                                           .type = COLUMN_F64,
                                           .nd = 2,
                                           .dim = {s->members, n},
                                           .axis = {"member", "iteration"},
                                           .units = "reward",
                                           .long_name = "mean reward by iteration",
                                           .data = v});
    mem_free(v);
    return rc;
}

static int put_all(struct shard_writer *w, const struct sweep *s,
                   const struct sweep_result *r)
{
    const char **text = mem_alloc(s->members, sizeof *text);
    double *v = mem_alloc(s->members, sizeof *v), row[NUMBERS];
    for (int64_t i = 0; i < s->members; i++)
        text[i] = s->member[i].id;
    int rc = put_texts(w, "id", "name of the member and its folder", text, s->members);
    for (int64_t i = 0; i < s->members; i++)
        text[i] = sweep_state_name(r[i].state);
    if (rc == 0)
        rc = put_texts(w, "state",
                       "finished, failed, stopped, interrupted, running, waiting", text,
                       s->members);
    for (int k = 0; k < NUMBERS && rc == 0; k++) {
        for (int64_t i = 0; i < s->members; i++) {
            row_of(&s->member[i], &r[i], row);
            v[i] = row[k];
        }
        rc = put_numbers(w, numbers[k].name, numbers[k].units, numbers[k].long_name, v,
                         s->members);
    }
    for (int64_t k = 0; k < s->keys && rc == 0; k++)
        rc = put_key(w, s, k);
    mem_free(v);
    mem_free(text);
    return rc != 0 ? -1 : put_curves(w, s, r);
}

static int write_hdf5(const struct sweep *s, const struct sweep_result *r)
{
    struct shard_head head = {.kind = SHARD_TABLE,
                              .iteration = -1,
                              .number = -1,
                              .policy_version = -1,
                              .run_id = "sweep"};
    struct digest *d = digest_create();
    for (int64_t i = 0; i < s->members; i++)
        digest_add_text(d, s->member[i].id);
    digest_finish(d, head.config_digest);
    char *path = rundir_path(s->dir, "table.h5");
    struct shard_writer *w = shard_create(path, &head);
    int rc = w == NULL ? -1 : put_all(w, s, r);
    if (rc == 0)
        rc = shard_note(w, "sweep_config", s->base);
    if (rc == 0)
        rc = shard_note(w, "sweep_metric", s->metric);
    if (rc == 0)
        rc = shard_seal(w, NULL);
    else
        shard_abort(w);
    mem_free(path);
    return rc;
}

int sweep_tables(const struct sweep *s, const struct sweep_result *r)
{
    return write_csv(s, r) != 0 ? -1 : write_hdf5(s, r);
}

static void print_number(double v, int width)
{
    if (isfinite(v))
        printf("  %*.4g", width, v);
    else
        printf("  %*s", width, "-");
}

static void print_rows(const struct sweep *s, const struct sweep_result *r)
{
    printf("%-12s  %-11s  %4s  %5s  %10s  %10s  %9s  %8s  %s\n", "id", "state", "code",
           "iter", "last", "best", "kl", "wall s", "parameters");
    for (int64_t i = 0; i < s->members; i++) {
        struct text t = {0};
        sweep_describe(s, &s->member[i], &t);
        for (int64_t k = 0; k < t.len; k++) /* nothing that steers a terminal */
            if ((unsigned char)t.s[k] < ' ' || t.s[k] == 127)
                t.s[k] = '?';
        printf("%-12s  %-11s", s->member[i].id, sweep_state_name(r[i].state));
        print_number(r[i].code < 0 ? NAN : (double)r[i].code, 4);
        printf("  %5lld", (long long)r[i].iterations);
        print_number(r[i].last, 10);
        print_number(r[i].best, 10);
        print_number(isfinite(r[i].kl_path) ? r[i].kl_path : r[i].kl, 9);
        print_number(r[i].wall_s, 8);
        printf("  %s\n", t.s != NULL ? t.s : "");
        text_free(&t);
    }
}

void sweep_print(const struct sweep *s, const struct sweep_result *r, bool rows)
{
    int64_t count[SWEEP_FINISHED + 1] = {0};
    if (rows)
        print_rows(s, r);
    for (int64_t i = 0; i < s->members; i++) {
        count[r[i].state]++;
        if (r[i].state == SWEEP_FAILED)
            printf("%s failed (%lld): %s\n", s->member[i].id, (long long)r[i].code,
                   r[i].message);
    }
    printf("%lld members:", (long long)s->members);
    for (int k = SWEEP_FINISHED; k >= 0; k--)
        if (count[k] > 0)
            printf(" %lld %s", (long long)count[k],
                   sweep_state_name((enum sweep_state)k));
    printf("; last, best: %s\n", s->metric);
    fflush(stdout);
}
