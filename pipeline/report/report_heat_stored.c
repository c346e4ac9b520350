/* Heat maps of what rollout and advantage files hold. Of at most REPORT_MAP_COLUMNS
 * iterations, of each few shards, of each shard so many rows as the budgets allow. */
#include "pipeline/report/report_pictures.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/metric/sums.h"

#include <math.h>
#include <string.h>

enum { KL, RATIO, ADVANTAGE, SPREAD };
/* Files of all columns together, and of one; numbers of [sample, step] columns, and of
 * states, of all columns together; chains of a column; numbers of a chain. */
enum {
    FILES = 128,
    FILES_EACH = 8,
    VALUES = 1 << 23,
    STATES = 1 << 25,
    CHAINS = 64,
    CHAIN_MOST = 1 << 22,
    STEPS_MOST = 1 << 16
};

struct stored {
    const char *rundir;
    struct report_map *map;
    int64_t *iteration, n; /* those with rollouts */
    int64_t columns, each; /* files of a column */
    int64_t steps;         /* of the chain; 0: not known yet */
    int64_t *entry;        /* [steps] row of the map, -1: no density */
    int64_t rows;
    double *t;             /* [rows] */
    int64_t damaged;
};

static struct shard *open_rollout(struct stored *s, int64_t iteration, int64_t shard)
{
    char rel[96], *path = rundir_path(s->rundir, rundir_rollout(rel, iteration, shard));
    struct shard *f = shard_open(path, SHARD_ROLLOUT);
    mem_free(path);
    return f;
}

/* Rows of the maps: the steps with a density, neighbours together where there are many, as
 * in update_steps of metrics.jsonl. */
static void learn_steps(struct stored *s, struct shard *f)
{
    const int64_t any = -1;
    int64_t dim[SHARD_MAX_ND] = {0}, live = 0, k = 0;
    uint8_t *mask = shard_get(f, "mask", COLUMN_U8, 1, &any, dim);
    int64_t *t = mask == NULL || dim[0] < 1 || dim[0] > STEPS_MOST
                     ? NULL
                     : shard_get(f, "t", COLUMN_I64, 1, dim, NULL);
    if (t != NULL) {
        s->steps = dim[0];
        s->entry = mem_alloc(s->steps, sizeof *s->entry);
        for (int64_t i = 0; i < s->steps; i++)
            live += mask[i] != 0;
        s->rows = live < REPORT_MAP_ROWS ? live : REPORT_MAP_ROWS;
        s->t = mem_alloc(s->rows, sizeof *s->t);
        for (int64_t i = 0; i < s->steps; i++)
            s->entry[i] = mask[i] != 0 ? k++ * s->rows / live : -1;
        for (int64_t i = s->steps - 1; i >= 0; i--)
            if (s->entry[i] >= 0)
                s->t[s->entry[i]] = (double)t[i];
    }
    mem_free(mask);
    mem_free(t);
}

static void begin_map(struct stored *s, int which, int64_t columns, int64_t rows)
{
    struct report_map *m = &s->map[which];
    m->columns = columns;
    m->rows = rows;
    m->iteration = mem_alloc(columns, sizeof *m->iteration);
    m->t = mem_alloc(rows, sizeof *m->t);
    m->value = mem_alloc(columns * rows, sizeof *m->value);
    for (int64_t c = 0; c < columns; c++)
        m->iteration[c] = s->iteration[report_even(c, columns, s->n)];
    for (int64_t i = 0; i < columns * rows; i++)
        m->value[i] = NAN;
}

/* Column c of a map of the steps with a density. */
static void put_column(struct stored *s, int which, int64_t c, const double *value)
{
    struct report_map *m = &s->map[which];
    if (m->value == NULL) {
        begin_map(s, which, s->columns, s->rows);
        memcpy(m->t, s->t, (size_t)s->rows * sizeof *m->t);
    }
    memcpy(m->value + c * s->rows, value, (size_t)s->rows * sizeof *value);
}

static bool by_step(const struct stored *s, struct shard *f, const char *name, int64_t *n)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    if (!shard_has(f, name, &type, &nd, dim) || type != COLUMN_F64 || nd != 2 ||
        dim[0] < 1 || dim[1] != s->steps)
        return false;
    *n = dim[0];
    return true;
}

/* The first rows [*n, steps] of a column, no more than the budget; NULL: none such. */
static double *rows_of(struct stored *s, struct shard *f, const char *name, int64_t files,
                       int64_t *n)
{
    if (!by_step(s, f, name, n))
        return NULL;
    const int64_t most = VALUES / s->columns / files / s->steps;
    *n = *n < most ? *n : most > 0 ? most : 1;
    double *v = mem_alloc(*n * s->steps, sizeof *v);
    if (shard_get_rows(f, name, COLUMN_F64, 0, *n, v) == 0)
        return v;
    s->damaged++;
    mem_free(v);
    return NULL;
}

/* Adds v - less (NULL: 0) to the moments of its rows. */
static void add_rows(const struct stored *s, const double *v, const double *less, int64_t n,
                     struct moments *m)
{
    for (int64_t i = 0; i < n * s->steps; i++) {
        const int64_t e = s->entry[i % s->steps];
        if (e >= 0)
            moments_add(&m[e], less == NULL ? v[i] : v[i] - less[i]);
    }
}

static void read_rollouts(struct stored *s, int64_t c, struct moments *kl,
                          struct moments *ratio)
{
    const int64_t iteration = s->iteration[report_even(c, s->columns, s->n)];
    int64_t all, n, *shard = report_shards_of(s->rundir, "rollout", iteration, &all);
    const int64_t files = all < s->each ? all : s->each;
    for (int64_t i = 0; i < files; i++) {
        struct shard *f = open_rollout(s, iteration, shard[report_even(i, files, all)]);
        s->damaged += f == NULL;
        if (f != NULL && s->steps == 0)
            learn_steps(s, f);
        if (f != NULL && s->rows > 0 && by_step(s, f, "kl_reference", &n)) {
            double *v = rows_of(s, f, "kl_reference", files, &n);
            double *own = rows_of(s, f, "log_prob", files, &n);
            double *first = rows_of(s, f, "log_prob_reference", files, &n);
            if (v != NULL)
                add_rows(s, v, NULL, n, kl);
            if (own != NULL && first != NULL)
                add_rows(s, own, first, n, ratio);
            mem_free(v);
            mem_free(own);
            mem_free(first);
        }
        shard_close(f);
    }
    mem_free(shard);
}

static void read_advantages(struct stored *s, int64_t c, struct moments *size)
{
    char rel[96];
    int64_t n = 0;
    const int64_t iteration = s->iteration[report_even(c, s->columns, s->n)];
    char *path = rundir_path(s->rundir, rundir_advantage(rel, iteration));
    struct shard *f = file_exists(path) ? shard_open(path, SHARD_ADVANTAGE) : NULL;
    s->damaged += f == NULL && file_exists(path);
    double *v = f == NULL || s->rows < 1 ? NULL : rows_of(s, f, "step_advantage", 1, &n);
    uint8_t *usable = v == NULL ? NULL : mem_alloc(n, 1);
    if (v != NULL && shard_get_rows(f, "usable", COLUMN_U8, 0, n, usable) == 0)
        for (int64_t i = 0; i < n * s->steps; i++) {
            const int64_t e = s->entry[i % s->steps];
            if (usable[i / s->steps] && e >= 0)
                moments_add(&size[e], fabs(v[i]));
        }
    mem_free(usable);
    mem_free(v);
    shard_close(f);
    mem_free(path);
}

static void read_column(struct stored *s, int64_t c)
{
    struct moments m[3][REPORT_MAP_ROWS] = {{{0}}};
    read_rollouts(s, c, m[KL], m[RATIO]);
    read_advantages(s, c, m[ADVANTAGE]);
    for (int which = 0; which < 3; which++) {
        double value[REPORT_MAP_ROWS];
        int64_t known = 0;
        for (int64_t r = 0; r < s->rows; r++) {
            value[r] = which == RATIO ? moments_std(&m[which][r]) : moments_mean(&m[which][r]);
            known += isfinite(value[r]);
        }
        if (known > 0)
            put_column(s, which, c, value);
    }
}

/* Sums of the states of some chains. */
struct spread {
    int64_t states, d, n;
    float *chain;   /* [states, d] */
    double *sum;    /* [states, d] */
    double *square; /* [states] sums of |x|^2 */
};

/* Adds up to `most` evenly chosen chains of a shard. */
static void add_chains(struct stored *s, struct spread *a, struct shard *f, int64_t most)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    if (!shard_has(f, "latents", &type, &nd, dim) || type != COLUMN_F32 || nd != 5 ||
        dim[1] != a->states || dim[2] * dim[3] * dim[4] != a->d)
        return;
    const int64_t n = dim[0] < most ? dim[0] : most;
    for (int64_t i = 0; i < n; i++) {
        if (shard_get_rows(f, "latents", COLUMN_F32, report_even(i, n, dim[0]), 1,
                           a->chain) != 0) {
            s->damaged++;
            return;
        }
        for (int64_t j = 0; j < a->states * a->d; j++) {
            const double x = (double)a->chain[j];
            a->sum[j] += x;
            a->square[j / a->d] += x * x;
        }
        a->n++;
    }
}

/* Root of the mean over elements of the variance over chains (unbiased). */
static double spread_at(const struct spread *a, int64_t state)
{
    double mean = 0;
    for (int64_t j = state * a->d; j < (state + 1) * a->d; j++)
        mean += a->sum[j] * a->sum[j];
    const double n = (double)a->n;
    return a->n < 2 ? NAN
                    : sqrt(fmax(a->square[state] - mean / n, 0) / (n - 1) / (double)a->d);
}

static void read_spread(struct stored *s, struct spread *a, int64_t c, int64_t chains)
{
    struct report_map *m = &s->map[SPREAD];
    const int64_t iteration = m->iteration[c];
    int64_t all, *shard = report_shards_of(s->rundir, "rollout", iteration, &all);
    const int64_t files = all < s->each ? all : s->each;
    a->n = 0;
    memset(a->sum, 0, (size_t)(a->states * a->d) * sizeof *a->sum);
    memset(a->square, 0, (size_t)a->states * sizeof *a->square);
    for (int64_t i = 0; i < files && a->n < chains; i++) {
        struct shard *f = open_rollout(s, iteration, shard[report_even(i, files, all)]);
        if (f != NULL)
            add_chains(s, a, f, (chains - a->n + files - i - 1) / (files - i));
        shard_close(f);
    }
    for (int64_t r = 0; r < m->rows; r++)
        m->value[c * m->rows + r] = spread_at(a, report_even(r, m->rows, a->states));
    mem_free(shard);
}

/* Shape of an iteration's chains; false where none fit the budget, or can be read. */
static bool find_chains(struct stored *s, struct spread *a, int64_t iteration, double *t)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND], all;
    const int64_t *expect = &s->steps;
    int64_t *shard = report_shards_of(s->rundir, "rollout", iteration, &all);
    struct shard *f = all > 0 ? open_rollout(s, iteration, shard[0]) : NULL;
    bool good = f != NULL && s->steps > 0 && shard_has(f, "latents", &type, &nd, dim) &&
                nd == 5 && dim[1] == s->steps + 1 && dim[2] > 0 && dim[3] > 0 &&
                dim[4] > 0 && dim[2] <= CHAIN_MOST / dim[1] / dim[3] / dim[4];
    int64_t *at = good ? shard_get(f, "t", COLUMN_I64, 1, expect, NULL) : NULL;
    good = at != NULL;
    if (good) {
        a->states = dim[1];
        a->d = dim[2] * dim[3] * dim[4];
        const int64_t rows = a->states < REPORT_MAP_ROWS ? a->states : REPORT_MAP_ROWS;
        for (int64_t r = 0; r < rows; r++) {
            const int64_t state = report_even(r, rows, a->states);
            t[r] = state < s->steps ? (double)at[state] : -1;
        }
    }
    mem_free(at);
    shard_close(f);
    mem_free(shard);
    return good;
}

static void map_spread(struct stored *s)
{
    struct spread a = {0};
    double t[REPORT_MAP_ROWS];
    for (int64_t i = 0; i < s->n && i < FILES_EACH; i++) /* the first may be damaged */
        if (find_chains(s, &a, s->iteration[i], t))
            break;
    if (a.states == 0)
        return;
    const int64_t size = a.states * a.d;
    const int64_t rows = a.states < REPORT_MAP_ROWS ? a.states : REPORT_MAP_ROWS;
    int64_t columns = STATES / size / 8; /* of eight chains at least */
    columns = columns < s->columns ? columns : s->columns;
    if (columns < 1)
        return;
    int64_t chains = STATES / size / columns;
    chains = chains < CHAINS ? chains : CHAINS;
    a.chain = mem_alloc(size, sizeof *a.chain);
    a.sum = mem_alloc(size, sizeof *a.sum);
    a.square = mem_alloc(a.states, sizeof *a.square);
    begin_map(s, SPREAD, columns, rows);
    memcpy(s->map[SPREAD].t, t, (size_t)rows * sizeof *t);
    for (int64_t c = 0; c < columns; c++)
        read_spread(s, &a, c, chains);
    mem_free(a.chain);
    mem_free(a.sum);
    mem_free(a.square);
}

void report_map_stored(const char *rundir, struct report_map map[REPORT_MAPS_STORED],
                       int64_t *damaged)
{
    static const struct report_map about[REPORT_MAPS_STORED] = {
        [KL] = {.title = "KL to policy 0",
                .note = "of a step's transition, mean over chains",
                .unit = "nat"},
        [RATIO] = {.title = "Log ratio to policy 0",
                   .note = "standard deviation over chains",
                   .unit = "nat"},
        [ADVANTAGE] = {.title = "Size of the advantage",
                       .note = "mean of its absolute value over chains",
                       .unit = ""},
        [SPREAD] = {.title = "Spread of the chains",
                    .note = "deviation of a state's numbers over chains",
                    .unit = ""},
    };
    struct stored s = {.rundir = rundir, .map = map};
    memcpy(map, about, sizeof about);
    s.iteration = report_iterations_of(rundir, "rollout", &s.n);
    s.columns = s.n < REPORT_MAP_COLUMNS ? s.n : REPORT_MAP_COLUMNS;
    if (s.columns > 0) {
        s.each = FILES / s.columns;
        s.each = s.each < FILES_EACH ? s.each : FILES_EACH;
        for (int64_t c = 0; c < s.columns; c++)
            read_column(&s, c);
        map_spread(&s);
    }
    *damaged = s.damaged;
    err_clear();
    mem_free(s.iteration);
    mem_free(s.entry);
    mem_free(s.t);
}
