/* Queries. Answers are kept in the order of (iteration, sample). */
#include "stages/queries.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/dense.h"
#include "stages/reward/learned.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct queries {
    int64_t n;
    float *sample; /* [n, d] */
    double *answer;
    int64_t *iteration, *index; /* [n] */
};

static struct queries *create(int64_t n, int64_t d)
{
    struct queries *q = mem_alloc(1, sizeof *q);
    q->n = n;
    q->sample = mem_alloc(n * d, sizeof *q->sample);
    q->answer = mem_alloc(n, sizeof *q->answer);
    q->iteration = mem_alloc(n, sizeof *q->iteration);
    q->index = mem_alloc(n, sizeof *q->index);
    return q;
}

void queries_destroy(struct queries *q)
{
    if (q == NULL)
        return;
    mem_free(q->sample);
    mem_free(q->answer);
    mem_free(q->iteration);
    mem_free(q->index);
    mem_free(q);
}

static int read_model(struct task *t, struct shard *in)
{
    int64_t m, k;
    bool factor;
    learned_size(t->learned, &m, &k, &factor);
    struct ridge *r = mem_alloc(1, sizeof *r);
    r->m = m;
    r->k = k;
    r->w = shard_get(in, "surrogate_weight", COLUMN_F64, 2, (int64_t[]){k, m}, NULL);
    if (factor)
        r->factor = shard_get(in, "surrogate_factor", COLUMN_F64, 1,
                              (int64_t[]){dense_packed(m)}, NULL);
    double *offset =
        shard_get(in, "surrogate_offset", COLUMN_F64, 1, (int64_t[]){1}, NULL);
    int rc = -1;
    if (r->w != NULL && (!factor || r->factor != NULL) && offset != NULL) {
        learned_restore(t->learned, r, *offset);
        rc = 0;
    } else {
        ridge_destroy(r);
    }
    mem_free(offset);
    return rc;
}

static struct shard *open_model(struct task *t, int64_t iteration)
{
    struct shard_parent *from = &t->learned_from;
    t->learned_as_of = -1;
    rundir_advantage(from->path, iteration);
    struct shard *in = task_open(t, from->path, SHARD_ADVANTAGE);
    if (in == NULL)
        return NULL;
    snprintf(from->content, sizeof from->content, "%s", shard_content(in));
    if (read_model(t, in) != 0) {
        shard_close(in);
        return NULL;
    }
    t->learned_as_of = iteration;
    return in;
}

int queries_load(struct task *t, int64_t iteration, struct shard_parent *parent)
{
    if (t->learned_as_of != iteration) {
        struct shard *in = open_model(t, iteration);
        if (in == NULL)
            return -1;
        shard_close(in);
    }
    if (parent != NULL)
        *parent = t->learned_from;
    return 0;
}

void queries_score(struct task *t, const struct reward_batch *b, double *mean,
                   double *bonus)
{
    learned_score(t->learned, b, mean, bonus);
}

int queries_ask(struct task *t, const struct reward_batch *b)
{
    struct reward_batch asked = *b;
    int64_t left = learned_asked(t->learned, t->samples) - b->first;
    asked.n = left < 0 ? 0 : left < b->n ? left : b->n;
    asked.gradient = NULL;
    if (asked.n > 0 && t->reward->score(t->reward_ctx, &asked) != 0)
        return -1;
    for (int64_t i = 0; i < asked.n; i++)
        if (b->status[i] == REWARD_OK)
            b->score[i] += learned_noise(t->learned, b->iteration, b->first + i);
    for (int64_t i = asked.n; i < b->n; i++)
        b->status[i] = REWARD_NOT_ASKED;
    return 0;
}

/* The answers of the previous iteration's file, with room for `more`. */
static struct queries *read_earlier(struct task *t, int64_t iteration, int64_t more)
{
    int64_t dim[SHARD_MAX_ND] = {0};
    if (iteration == 0)
        return create(more, t->d);
    struct shard *in = open_model(t, iteration - 1);
    if (in == NULL)
        return NULL;
    double *answer =
        shard_get(in, "query_answer", COLUMN_F64, 1, (int64_t[]){-1}, dim);
    int64_t n = dim[0];
    struct queries *q = answer == NULL ? NULL : create(n + more, t->d);
    int64_t shape[2][4] = {{n}, {n, t->channels, t->height, t->width}};
    float *sample = shard_get(in, "query_sample", COLUMN_F32, 4, shape[1], NULL);
    int64_t *of = shard_get(in, "query_iteration", COLUMN_I64, 1, shape[0], NULL);
    int64_t *index = shard_get(in, "query_index", COLUMN_I64, 1, shape[0], NULL);
    if (q != NULL && sample != NULL && of != NULL && index != NULL) {
        q->n = n;
        memcpy(q->answer, answer, (size_t)n * sizeof *answer);
        memcpy(q->sample, sample, (size_t)(n * t->d) * sizeof *sample);
        memcpy(q->iteration, of, (size_t)n * sizeof *of);
        memcpy(q->index, index, (size_t)n * sizeof *index);
    } else {
        queries_destroy(q);
        q = NULL;
    }
    shard_close(in);
    mem_free(answer);
    mem_free(sample);
    mem_free(of);
    mem_free(index);
    return q;
}

/* Samples of shards [first, last) of the iteration, as they were rolled out. */
static int read_samples(struct task *t, int64_t iteration, int64_t first, int64_t last,
                        float *to)
{
    for (int64_t s = first; s < last; s++) {
        char rel[96];
        int64_t n = task_shard_size(t, s);
        struct shard *in = task_open(t, rundir_rollout(rel, iteration, s), SHARD_ROLLOUT);
        float *x = in == NULL ? NULL
                              : shard_get(in, "final_sample", COLUMN_F32, 4,
                                          (int64_t[]){n, t->channels, t->height, t->width},
                                          NULL);
        shard_close(in);
        if (x == NULL)
            return -1;
        memcpy(to, x, (size_t)(n * t->d) * sizeof *x);
        to += n * t->d;
        mem_free(x);
    }
    return 0;
}

/* This rank's samples of an iteration, and everyone's numbers of them. */
struct share {
    int64_t *count, *answered; /* [ranks] */
    int64_t first;             /* number of the first own one */
    float *sample;             /* [count[rank], d] */
};

static int share_open(struct share *h, struct task *t, const struct comm *c,
                      int64_t iteration, const uint8_t *status)
{
    h->count = mem_alloc(c->size, sizeof *h->count);
    h->answered = mem_alloc(c->size, sizeof *h->answered);
    for (int64_t r = 0; r < c->size; r++) {
        int64_t from = t->shards * r / c->size * t->shard_samples;
        int64_t to = t->shards * (r + 1) / c->size * t->shard_samples;
        from = from < t->samples ? from : t->samples;
        to = to < t->samples ? to : t->samples;
        h->count[r] = to - from;
        for (int64_t i = from; i < to; i++)
            h->answered[r] += status[i] == REWARD_OK;
        if (r == c->rank)
            h->first = from;
    }
    h->sample = mem_alloc(h->count[c->rank] * t->d, sizeof *h->sample);
    return read_samples(t, iteration, t->shards * c->rank / c->size,
                        t->shards * (c->rank + 1) / c->size, h->sample);
}

static void share_close(struct share *h)
{
    mem_free(h->count);
    mem_free(h->answered);
    mem_free(h->sample);
}

/* Adds the iteration's answers; q has room for them. Collective. */
static int append(struct queries *q, struct task *t, const struct comm *c,
                  int64_t iteration, const struct share *h,
                  const struct queries_samples *s)
{
    float *mine = mem_alloc(h->answered[c->rank] * t->d, sizeof *mine), *to = mine;
    float *fresh = q->sample + q->n * t->d;
    for (int64_t i = 0; i < h->count[c->rank]; i++)
        if (s->status[h->first + i] == REWARD_OK) {
            memcpy(to, h->sample + i * t->d, (size_t)t->d * sizeof *to);
            to += t->d;
        }
    for (int64_t i = 0; i < t->samples; i++)
        if (s->status[i] == REWARD_OK) {
            q->answer[q->n] = s->reward[i];
            q->iteration[q->n] = iteration;
            q->index[q->n++] = i;
        }
    int rc = comm_gather_all(c, mine, h->answered, (size_t)t->d * sizeof *mine, fresh);
    mem_free(mine);
    return rc;
}

/* Optimistic values of all samples of the iteration. Collective. */
static int estimate(struct task *t, const struct comm *c, const struct share *h,
                    const struct queries_samples *s)
{
    int64_t n = h->count[c->rank];
    double *mine = mem_alloc(2 * n, sizeof *mine);
    double *all = mem_alloc(2 * t->samples, sizeof *all);
    for (int64_t i = 0; i < n; i++)
        mine[2 * i] =
            learned_value(t->learned, h->sample + i * t->d, &mine[2 * i + 1], NULL);
    int rc = comm_gather_all(c, mine, h->count, 2 * sizeof *mine, all);
    for (int64_t i = 0; i < t->samples && rc == 0; i++) {
        if (s->status[i] != REWARD_OK && s->status[i] != REWARD_NOT_ASKED)
            continue;
        s->reward[i] = all[2 * i];
        s->bonus[i] = all[2 * i + 1];
        s->status[i] = isfinite(s->reward[i]) ? REWARD_OK : REWARD_NON_FINITE;
    }
    mem_free(mine);
    mem_free(all);
    return rc;
}

static int learn(struct queries *q, struct task *t, const struct comm *c,
                 int64_t iteration, const struct queries_samples *s)
{
    struct share h = {0};
    const struct learned_data *data;
    int rc = comm_agree(c, share_open(&h, t, c, iteration, s->status));
    if (rc == 0)
        rc = append(q, t, c, iteration, &h, s);
    data = &(struct learned_data){.n = q->n, .sample = q->sample, .answer = q->answer};
    t->learned_as_of = -1;
    if (rc == 0)
        rc = learned_fit(t->learned, c, learned_round(t->learned, iteration), data);
    if (rc == 0)
        rc = estimate(t, c, &h, s);
    share_close(&h);
    return rc;
}

struct queries *queries_learn(struct task *t, const struct comm *c, int64_t iteration,
                              const struct queries_samples *s)
{
    bool asks = learned_asks(t->learned, iteration);
    struct queries *q = read_earlier(t, iteration, asks ? t->samples : 0);
    int rc = comm_agree(c, q == NULL ? -1 : 0);
    if (rc == 0 && asks) {
        if (iteration == 0)
            q->n = 0;
        rc = learn(q, t, c, iteration, s);
    }
    if (rc == 0)
        return q;
    queries_destroy(q);
    return NULL;
}

int queries_put(const struct queries *q, const struct task *t, struct shard_writer *w)
{
    double offset;
    const struct ridge *r = learned_model(t->learned, &offset);
    const struct column col[] = {
        {.name = "query_answer", .type = COLUMN_F64, .nd = 1, .dim = {q->n},
         .axis = {"query"}, .units = t->reward->units, .data = q->answer,
         .long_name = "answers of the true reward so far, with their noise"},
        {.name = "query_sample", .type = COLUMN_F32, .nd = 4,
         .dim = {q->n, t->channels, t->height, t->width},
         .axis = {"query", "channel", "height", "width"}, .units = "1",
         .data = q->sample, .long_name = "the samples that were asked"},
        {.name = "query_iteration", .type = COLUMN_I64, .nd = 1, .dim = {q->n},
         .axis = {"query"}, .units = "1", .data = q->iteration,
         .long_name = "iteration of the sample"},
        {.name = "query_index", .type = COLUMN_I64, .nd = 1, .dim = {q->n},
         .axis = {"query"}, .units = "1", .data = q->index,
         .long_name = "its number in that iteration"},
        {.name = "surrogate_weight", .type = COLUMN_F64, .nd = 2, .dim = {r->k, r->m},
         .axis = {"head", "feature"}, .units = t->reward->units, .data = r->w,
         .long_name = "weights of the learned reward"},
        {.name = "surrogate_offset", .type = COLUMN_F64, .nd = 1, .dim = {1},
         .axis = {"one"}, .units = t->reward->units, .data = &offset,
         .long_name = "mean of the answers, which is added to features times weights"},
        {.name = "surrogate_factor", .type = COLUMN_F64, .nd = 1,
         .dim = {dense_packed(r->m)}, .axis = {"factor_entry"}, .units = "1",
         .data = r->factor,
         .long_name = "rows of U, sum of outer products of features + lambda I = U^T U"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++)
        if (col[i].data != NULL)
            rc = shard_put(w, &col[i]);
    return rc;
}

int queries_count(struct shard *advantage, int64_t iteration, double *number, double *mean)
{
    int64_t dim[SHARD_MAX_ND] = {0}, own = 0;
    double sum = 0;
    double *answer =
        shard_get(advantage, "query_answer", COLUMN_F64, 1, (int64_t[]){-1}, dim);
    int64_t *of = shard_get(advantage, "query_iteration", COLUMN_I64, 1, dim, NULL);
    int rc = answer != NULL && of != NULL ? 0 : -1;
    for (int64_t i = 0; rc == 0 && i < dim[0]; i++)
        if (of[i] == iteration) {
            sum += answer[i];
            own++;
        }
    *number = (double)dim[0];
    *mean = own > 0 ? sum / (double)own : (double)NAN;
    mem_free(answer);
    mem_free(of);
    return rc;
}
