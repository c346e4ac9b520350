/* Attention per item and head in blocks of query rows, by our own matrix product. The
 * backward computes the probabilities again; dk and dv are summed over the blocks in
 * their order. */
#include "stages/nn/fast.h"
#include "stages/nn/sgemm.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <omp.h>

/* Rows of queries at a time: all of a short sequence, else few enough to stay in cache. */
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
    for (int64_t i = 0; i < n; i += LANES)
        part = MULADD(vec_load(p + i, n - i), vec_load(q + i, n - i), part);
    return vec_sum(part);
}

static void softmax_rows(int64_t rows, int64_t t, float scale, float *s)
{
    for (int64_t i = 0; i < rows; i++, s += t) {
        vec top = SPLAT(row_max(t, s)), part = {0};
        for (int64_t j = 0; j < t; j += LANES) {
            vec e = vec_exp((vec_load(s + j, t - j) - top) * SPLAT(scale));
            vec_store(s + j, t - j, e);
            part += vec_load(s + j, t - j); /* zeros beyond the end */
        }
        float factor = 1.0f / vec_sum(part);
        for (int64_t j = 0; j < t; j++)
            s[j] *= factor;
    }
}

/* One thread's memory: p and ds [query_rows, t], dk and dv [t, d]. */
struct space {
    float *gemm, *p, *ds, *dk, *dv;
};

static struct space space_take(const struct attention_args *a, bool backward)
{
    int64_t threads = omp_get_max_threads(), block = query_rows(a->t) * a->t;
    int64_t side = a->t * (a->c / a->heads);
    struct space s = {
        .gemm = arena_take(a->scratch, threads * SGEMM_WORK, sizeof(float)),
        .p = arena_take(a->scratch, threads * block, sizeof(float)),
    };
    if (backward) {
        s.ds = arena_take(a->scratch, threads * block, sizeof(float));
        s.dk = arena_take(a->scratch, threads * side, sizeof(float));
        s.dv = arena_take(a->scratch, threads * side, sizeof(float));
    }
    return s;
}

/* The calling thread's part. */
static struct space space_mine(struct space s, const struct attention_args *a)
{
    int64_t i = omp_get_thread_num(), block = query_rows(a->t) * a->t;
    int64_t side = a->t * (a->c / a->heads);
    struct space mine = {.gemm = s.gemm + i * SGEMM_WORK, .p = s.p + i * block};
    if (s.ds != NULL) {
        mine.ds = s.ds + i * block;
        mine.dk = s.dk + i * side;
        mine.dv = s.dv + i * side;
    }
    return mine;
}

static float scale_of(const struct attention_args *a)
{
    return 1.0f / sqrtf((float)(a->c / a->heads));
}

/* at: of the head's first value; queries [first, first + rows). */
static void probabilities(const struct attention_args *a, int64_t at, int64_t first,
                          int64_t rows, struct space s)
{
    struct extent e = {rows, a->t, a->c / a->heads};
    sgemm(e, (struct matrix){a->q + at + first * a->c, a->c, 1},
          (struct matrix){a->k + at, 1, a->c}, s.p, a->t, false, s.gemm);
    softmax_rows(rows, a->t, scale_of(a), s.p);
}

static int64_t head_at(const struct attention_args *a, int64_t i)
{
    return i / a->heads * a->t * a->c + i % a->heads * (a->c / a->heads);
}

void fast_attention(const struct attention_args *a)
{
    const struct space all = space_take(a, false);
    const int64_t block = query_rows(a->t);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        struct space s = space_mine(all, a);
        const int64_t at = head_at(a, i);
        for (int64_t first = 0; first < a->t; first += block) {
            int64_t rows = a->t - first < block ? a->t - first : block;
            probabilities(a, at, first, rows, s);
            sgemm((struct extent){rows, a->c / a->heads, a->t},
                  (struct matrix){s.p, a->t, 1}, (struct matrix){a->v + at, a->c, 1},
                  a->y + at + first * a->c, a->c, false, s.gemm);
        }
    }
}

/* ds = scale * p * (ds - sum(p ds)), by rows. */
static void softmax_dx(int64_t rows, int64_t t, float scale, const float *p, float *ds)
{
    for (int64_t i = 0; i < rows; i++, p += t, ds += t) {
        float mean = row_dot(t, p, ds);
        for (int64_t j = 0; j < t; j++)
            ds[j] = p[j] * (ds[j] - mean) * scale;
    }
}

/* [t, d] dense -> columns of rows of length c. */
static void put_head(int64_t t, int64_t d, int64_t c, const float *from, float *to,
                     bool add)
{
    if (to == NULL)
        return;
    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < d; j++)
            to[i * c + j] = add ? to[i * c + j] + from[i * d + j] : from[i * d + j];
}

static void block_dx(const struct attention_args *a, int64_t at, int64_t first,
                     int64_t rows, struct space s)
{
    const int64_t d = a->c / a->heads, t = a->t, c = a->c, here = at + first * c;
    const bool later = first > 0;
    probabilities(a, at, first, rows, s);
    sgemm((struct extent){t, d, rows}, (struct matrix){s.p, 1, t},
          (struct matrix){a->dy + here, c, 1}, s.dv, d, later, s.gemm);
    sgemm((struct extent){rows, t, d}, (struct matrix){a->dy + here, c, 1},
          (struct matrix){a->v + at, 1, c}, s.ds, t, false, s.gemm);
    softmax_dx(rows, t, scale_of(a), s.p, s.ds);
    sgemm((struct extent){t, d, rows}, (struct matrix){s.ds, 1, t},
          (struct matrix){a->q + here, c, 1}, s.dk, d, later, s.gemm);
    if (a->dq != NULL)
        sgemm((struct extent){rows, d, t}, (struct matrix){s.ds, t, 1},
              (struct matrix){a->k + at, c, 1}, a->dq + here, c, a->add_dq, s.gemm);
}

void fast_attention_dx(const struct attention_args *a)
{
    const struct space all = space_take(a, true);
    const int64_t block = query_rows(a->t), d = a->c / a->heads;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        struct space s = space_mine(all, a);
        const int64_t at = head_at(a, i);
        for (int64_t first = 0; first < a->t; first += block)
            block_dx(a, at, first, a->t - first < block ? a->t - first : block, s);
        put_head(a->t, d, a->c, s.dk, a->dk != NULL ? a->dk + at : NULL, a->add_dk);
        put_head(a->t, d, a->c, s.dv, a->dv != NULL ? a->dv + at : NULL, a->add_dv);
    }
}
