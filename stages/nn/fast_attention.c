/* Attention per item and head in blocks of query rows, by our own matrix product.
 * Scores, probabilities and sums are float32 in either dtype; results are rounded once.
 * The backward computes the probabilities again; dk and dv are summed over the blocks
 * in their order. */
#include "stages/nn/attention.h"
#include "stages/nn/fast.h"
#include "stages/nn/sgemm.h"
#include "stages/nn/vec.h"

#include <omp.h>

/* One thread's memory: p and ds [block, t], factor [block], y (forward), dq,
 * dk and dv [t, d]. */
struct space {
    float *gemm, *p, *factor, *y, *ds, *dq, *dk, *dv;
};

/* Rounded up to a cache line, so that threads do not share one. */
static int64_t line(int64_t n)
{
    return (n + 15) / 16 * 16;
}

static void space_one(struct space *s, struct arena *a, int64_t t, int64_t d,
                      bool backward)
{
    const int64_t block = attention_block(t) * t, side = t * d;
    const int64_t sizes = line(block) + line(t) + 3 * line(side);
    float *f =
        arena_take(a, SGEMM_WORK + sizes + (backward ? line(block) : 0), sizeof *f);
    s->gemm = f;
    s->p = s->gemm + SGEMM_WORK;
    s->factor = s->p + line(block);
    s->dq = s->y = s->factor + line(t);
    s->dk = s->dq + line(side);
    s->dv = s->dk + line(side);
    s->ds = s->dv + line(side);
}

static struct space *space_per_thread(const struct attention_args *a, bool backward)
{
    const int threads = omp_get_max_threads();
    struct space *s = arena_take(a->scratch, threads, sizeof *s);
    for (int i = 0; i < threads; i++)
        space_one(&s[i], a->scratch, a->t, a->c / a->heads, backward);
    return s;
}

/* Rows of one head as a matrix [t, d], and transposed. */
static struct matrix rows_of(const struct attention_args *a, const void *base,
                             int64_t at)
{
    return (struct matrix){act_at(a->type, base, at), a->c, 1, a->type};
}

static struct matrix turned(struct matrix m)
{
    return (struct matrix){m.at, m.column, m.row, m.type};
}

static struct matrix dense(const float *at, int64_t columns)
{
    return (struct matrix){at, columns, 1, DTYPE_F32};
}

/* s.p and s.factor of queries [first, first + rows); at: of the head's first value. */
static void probabilities(const struct attention_args *a, int64_t at, int64_t first,
                          int64_t rows, struct space s)
{
    struct extent e = {rows, a->t, a->c / a->heads};
    sgemm(e, rows_of(a, a->q, at + first * a->c), turned(rows_of(a, a->k, at)), s.p,
          a->t, false, s.gemm);
    attention_exp(rows, a->t, attention_scale(a), s.p, s.factor);
}

void fast_attention(const struct attention_args *a)
{
    struct space *per_thread = space_per_thread(a, false);
    const int64_t block = attention_block(a->t), d = a->c / a->heads;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space s = per_thread[omp_get_thread_num()];
        const int64_t at = attention_head(a, i);
        for (int64_t first = 0; first < a->t; first += block) {
            int64_t rows = a->t - first < block ? a->t - first : block;
            probabilities(a, at, first, rows, s);
            sgemm((struct extent){rows, d, a->t}, dense(s.p, a->t),
                  rows_of(a, a->v, at), s.y, d, false, s.gemm);
            attention_scale_rows(rows, d, s.factor, s.y);
            attention_put(a, rows, s.y, a->y, at + first * a->c, false);
        }
    }
}

static void block_dx(const struct attention_args *a, int64_t at, int64_t first,
                     int64_t rows, struct space s)
{
    const int64_t d = a->c / a->heads, t = a->t, here = at + first * a->c;
    const struct matrix p = dense(s.p, t), ds = dense(s.ds, t);
    const struct matrix dy = rows_of(a, a->dy, here);
    const bool later = first > 0;
    probabilities(a, at, first, rows, s);
    attention_scale_rows(rows, t, s.factor, s.p);
    if (a->dv != NULL)
        sgemm((struct extent){t, d, rows}, turned(p), dy, s.dv, d, later, s.gemm);
    if (a->dq == NULL && a->dk == NULL)
        return;
    sgemm((struct extent){rows, t, d}, dy, turned(rows_of(a, a->v, at)), s.ds, t, false,
          s.gemm);
    attention_softmax_dx(rows, t, attention_scale(a), s.p, s.ds);
    if (a->dk != NULL)
        sgemm((struct extent){t, d, rows}, turned(ds), rows_of(a, a->q, here), s.dk, d,
              later, s.gemm);
    if (a->dq != NULL)
        sgemm((struct extent){rows, d, t}, ds, rows_of(a, a->k, at), s.dq + first * d,
              d, false, s.gemm);
}

void fast_attention_dx(const struct attention_args *a)
{
    struct space *per_thread = space_per_thread(a, true);
    const int64_t block = attention_block(a->t);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space s = per_thread[omp_get_thread_num()];
        const int64_t at = attention_head(a, i);
        for (int64_t first = 0; first < a->t; first += block)
            block_dx(a, at, first, a->t - first < block ? a->t - first : block, s);
        attention_put(a, a->t, s.dq, a->dq, at, a->add_dq);
        attention_put(a, a->t, s.dk, a->dk, at, a->add_dk);
        attention_put(a, a->t, s.dv, a->dv, at, a->add_dv);
    }
}
