/* Attention per item and head in blocks of query rows, by our own matrix product.
 * Scores, probabilities and sums are float32 in either dtype; results are rounded once.
 * The backward computes the probabilities again; dk and dv are summed over the blocks
 * in their order. */
#include "stages/nn/fast.h"
#include "stages/nn/sgemm.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <omp.h>

/* Rows of queries at a time: all of a short sequence, else few enough to stay in cache.
 */
static int64_t query_rows(int64_t t)
{
    return t <= 256 ? t : 128;
}

static float row_max(int64_t n, const float *p)
{
    vec top = SPLAT(p[0]);
    float most = p[0];
    for (int64_t i = 0; i + LANES <= n; i += LANES)
        top = VEC_MAX(vec_load(p + i, LANES), top);
    for (int j = 0; j < LANES; j++)
        most = top[j] > most ? top[j] : most;
    for (int64_t i = n / LANES * LANES; i < n; i++)
        most = p[i] > most ? p[i] : most;
    return most;
}

/* Sum of p * q. */
static float row_dot(int64_t n, const float *p, const float *q)
{
    vec part = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        part = MULADD(vec_load(p + i, LANES), vec_load(q + i, LANES), part);
    if (i < n)
        part = MULADD(vec_load(p + i, n - i), vec_load(q + i, n - i), part);
    return vec_sum(part);
}

/* p = exp(scale * (s - max s)) in place, by rows; factor[i] = 1 / the sum of row i. */
static void exp_rows(int64_t rows, int64_t t, float scale, float *s, float *factor)
{
    for (int64_t i = 0; i < rows; i++, s += t) {
        const vec shift = SPLAT(row_max(t, s) * -scale);
        vec part = {0};
        int64_t j = 0;
        for (; j + LANES <= t; j += LANES) {
            vec e = vec_exp(MULADD(vec_load(s + j, LANES), SPLAT(scale), shift));
            vec_store(s + j, LANES, e);
            part += e;
        }
        if (j < t) {
            vec e = vec_exp(MULADD(vec_load(s + j, t - j), SPLAT(scale), shift));
            vec_store(s + j, t - j, e);
            part += vec_load(s + j, t - j); /* zeros beyond the end */
        }
        factor[i] = 1.0f / vec_sum(part);
    }
}

static void scale_rows(int64_t rows, int64_t n, const float *factor, float *p)
{
    for (int64_t i = 0; i < rows; i++, p += n)
        for (int64_t j = 0; j < n; j++)
            p[j] *= factor[i];
}

/* One thread's memory: p and ds [query_rows, t], factor [query_rows], y (forward), dq,
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
    const int64_t block = query_rows(t) * t, side = t * d;
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

static float scale_of(const struct attention_args *a)
{
    return 1.0f / sqrtf((float)(a->c / a->heads));
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
    exp_rows(rows, a->t, scale_of(a), s.p, s.factor);
}

static int64_t head_at(const struct attention_args *a, int64_t i)
{
    return i / a->heads * a->t * a->c + i % a->heads * (a->c / a->heads);
}

/* from [t, d] dense -> columns of rows of length c, from value `at` on. */
static ALWAYS_INLINE void put_rows(enum dtype type, struct extent e, int64_t c,
                                   const float *from, void *to, int64_t at, bool add)
{
    for (int64_t i = 0; i < e.m; i++, from += e.n, at += c)
        for (int64_t j = 0; j < e.n; j += LANES) {
            vec v = vec_load(from + j, e.n - j);
            if (add)
                v += act_load(type, to, at + j, e.n - j);
            act_store(type, to, at + j, e.n - j, v);
        }
}

static void put_head(const struct attention_args *a, int64_t rows, const float *from,
                     void *to, int64_t at, bool add)
{
    const struct extent e = {.m = rows, .n = a->c / a->heads};
    if (to == NULL)
        return;
    if (a->type == DTYPE_BF16)
        put_rows(DTYPE_BF16, e, a->c, from, to, at, add);
    else
        put_rows(DTYPE_F32, e, a->c, from, to, at, add);
}

void fast_attention(const struct attention_args *a)
{
    struct space *per_thread = space_per_thread(a, false);
    const int64_t block = query_rows(a->t), d = a->c / a->heads;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space s = per_thread[omp_get_thread_num()];
        const int64_t at = head_at(a, i);
        for (int64_t first = 0; first < a->t; first += block) {
            int64_t rows = a->t - first < block ? a->t - first : block;
            probabilities(a, at, first, rows, s);
            sgemm((struct extent){rows, d, a->t}, dense(s.p, a->t),
                  rows_of(a, a->v, at), s.y, d, false, s.gemm);
            scale_rows(rows, d, s.factor, s.y);
            put_head(a, rows, s.y, a->y, at + first * a->c, false);
        }
    }
}

/* ds = scale * p * (ds - sum(p ds)), by rows. */
static void softmax_dx(int64_t rows, int64_t t, float scale, const float *restrict p,
                       float *restrict ds)
{
    for (int64_t i = 0; i < rows; i++, p += t, ds += t) {
        float mean = row_dot(t, p, ds);
        for (int64_t j = 0; j < t; j++)
            ds[j] = p[j] * (ds[j] - mean) * scale;
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
    scale_rows(rows, t, s.factor, s.p);
    if (a->dv != NULL)
        sgemm((struct extent){t, d, rows}, turned(p), dy, s.dv, d, later, s.gemm);
    if (a->dq == NULL && a->dk == NULL)
        return;
    sgemm((struct extent){rows, t, d}, dy, turned(rows_of(a, a->v, at)), s.ds, t, false,
          s.gemm);
    softmax_dx(rows, t, scale_of(a), s.p, s.ds);
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
    const int64_t block = query_rows(a->t);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space s = per_thread[omp_get_thread_num()];
        const int64_t at = head_at(a, i);
        for (int64_t first = 0; first < a->t; first += block)
            block_dx(a, at, first, a->t - first < block ? a->t - first : block, s);
        put_head(a, a->t, s.dq, a->dq, at, a->add_dq);
        put_head(a, a->t, s.dk, a->dk, at, a->add_dk);
        put_head(a, a->t, s.dv, a->dv, at, a->add_dv);
    }
}
