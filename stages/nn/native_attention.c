/* Attention by oneDNN's matrix product, per item and head in blocks of query rows.
 * Heads are copied out, as the product wants dense matrices. Scores and softmax are
 * float32; probabilities and the gradients of scores are rounded to the activations'
 * type where they enter a product, results once. dk and dv are summed over the blocks
 * in order. */
#include "stages/nn/attention.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn_matmul.h"
#include "stages/nn/vec.h"

#include <omp.h>

/* Products for a whole block of query rows and for the last one:
 * scores [rows, d] [d, t], mix [rows, t] [t, d], back [t, rows] [rows, d]. */
struct products {
    struct onednn_matmul *scores[2], *mix[2], *back[2];
    int64_t block, scratch_bytes;
};

/* One thread's memory. Heads and rounded operands are of the activations' type. */
struct space {
    char *q, *k, *v, *dy; /* [t, d] */
    char *p_in, *ds_in;   /* [block, t]: p and ds as operands */
    float *p, *ds;        /* [block, t] */
    float *factor;        /* [block] */
    float *dq, *dk, *dv;  /* [t, d]; dq: also of y, a block */
    char *scratch;
};

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct products products_make(const struct attention_args *a, bool backward)
{
    const int64_t d = a->c / a->heads, t = a->t, block = attention_block(t);
    struct products p = {.block = block};
    for (int i = 0; i < 2; i++) {
        const int64_t rows = i == 0 ? block : t - (t - 1) / block * block;
        p.scores[i] = onednn_matmul_find(
            (struct matmul_shape){rows, t, d, a->type, MATMUL_ROWS, MATMUL_COLUMNS});
        p.mix[i] = onednn_matmul_find(
            (struct matmul_shape){rows, d, t, a->type, MATMUL_ROWS, MATMUL_ROWS});
        p.scratch_bytes = most(p.scratch_bytes, most(onednn_matmul_scratch(p.scores[i]),
                                                     onednn_matmul_scratch(p.mix[i])));
        if (!backward)
            continue;
        p.back[i] = onednn_matmul_find(
            (struct matmul_shape){t, d, rows, a->type, MATMUL_COLUMNS, MATMUL_ROWS});
        p.scratch_bytes = most(p.scratch_bytes, onednn_matmul_scratch(p.back[i]));
    }
    return p;
}

static struct space space_one(const struct attention_args *a, const struct products *m,
                              bool backward)
{
    const size_t size = dtype_size(a->type);
    const int64_t side = a->t * (a->c / a->heads), block = m->block * a->t;
    struct space s = {.q = arena_take(a->scratch, side, size),
                      .k = arena_take(a->scratch, side, size),
                      .v = arena_take(a->scratch, side, size),
                      .p_in = arena_take(a->scratch, block, size),
                      .p = arena_take(a->scratch, block, sizeof(float)),
                      .factor = arena_take(a->scratch, m->block, sizeof(float)),
                      .dq = arena_take(a->scratch, side, sizeof(float)),
                      .scratch = arena_take(a->scratch, m->scratch_bytes, 1)};
    if (!backward)
        return s;
    s.dy = arena_take(a->scratch, side, size);
    s.ds_in = arena_take(a->scratch, block, size);
    s.ds = arena_take(a->scratch, block, sizeof(float));
    s.dk = arena_take(a->scratch, side, sizeof(float));
    s.dv = arena_take(a->scratch, side, sizeof(float));
    return s;
}

static struct space *space_per_thread(const struct attention_args *a,
                                      const struct products *m, bool backward)
{
    const int threads = omp_get_max_threads();
    struct space *s = arena_take(a->scratch, threads, sizeof *s);
    for (int i = 0; i < threads; i++)
        s[i] = space_one(a, m, backward);
    return s;
}

/* The head at value `at` of base [.., c] -> to [t, d]. */
static void take_head(const struct attention_args *a, const void *base, int64_t at,
                      char *to)
{
    const int64_t d = a->c / a->heads;
    const size_t bytes = (size_t)d * dtype_size(a->type);
    for (int64_t i = 0; i < a->t; i++, to += bytes)
        memcpy(to, act_at(a->type, base, at + i * a->c), bytes);
}

/* n float32 values as operands of a product. */
static const void *operand(enum dtype type, int64_t n, const float *from, void *room)
{
    if (type == DTYPE_F32)
        return from;
    for (int64_t i = 0; i < n; i += LANES)
        vec_store_bf16((bf16 *)room + i, n - i, vec_load(from + i, n - i));
    return room;
}

/* s.p (not yet divided) and s.factor of `rows` queries from `first` on. */
static void probabilities(const struct attention_args *a, const struct products *m,
                          int64_t first, int64_t rows, const struct space *s)
{
    const int64_t d = a->c / a->heads;
    onednn_matmul_run(m->scores[rows != m->block], act_at(a->type, s->q, first * d),
                      s->k, s->p, false, s->scratch);
    attention_exp(rows, a->t, attention_scale(a), s->p, s->factor);
}

void native_attention(const struct attention_args *a)
{
    const struct products m = products_make(a, false);
    struct space *per_thread = space_per_thread(a, &m, false);
    const int64_t d = a->c / a->heads;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space *s = &per_thread[omp_get_thread_num()];
        const int64_t at = attention_head(a, i);
        take_head(a, a->q, at, s->q);
        take_head(a, a->k, at, s->k);
        take_head(a, a->v, at, s->v);
        for (int64_t first = 0; first < a->t; first += m.block) {
            int64_t rows = a->t - first < m.block ? a->t - first : m.block;
            probabilities(a, &m, first, rows, s);
            onednn_matmul_run(m.mix[rows != m.block],
                              operand(a->type, rows * a->t, s->p, s->p_in), s->v, s->dq,
                              false, s->scratch);
            attention_scale_rows(rows, d, s->factor, s->dq);
            attention_put(a, rows, s->dq, a->y, at + first * a->c, false);
        }
    }
}

static void block_dx(const struct attention_args *a, const struct products *m,
                     int64_t first, int64_t rows, const struct space *s)
{
    const int64_t d = a->c / a->heads, t = a->t;
    const int rest = rows != m->block;
    const void *dy = act_at(a->type, s->dy, first * d);
    probabilities(a, m, first, rows, s);
    attention_scale_rows(rows, t, s->factor, s->p);
    if (a->dv != NULL)
        onednn_matmul_run(m->back[rest], operand(a->type, rows * t, s->p, s->p_in), dy,
                          s->dv, first > 0, s->scratch);
    if (a->dq == NULL && a->dk == NULL)
        return;
    onednn_matmul_run(m->scores[rest], dy, s->v, s->ds, false, s->scratch);
    attention_softmax_dx(rows, t, attention_scale(a), s->p, s->ds);
    const void *ds = operand(a->type, rows * t, s->ds, s->ds_in);
    if (a->dk != NULL)
        onednn_matmul_run(m->back[rest], ds, act_at(a->type, s->q, first * d), s->dk,
                          first > 0, s->scratch);
    if (a->dq != NULL)
        onednn_matmul_run(m->mix[rest], ds, s->k, s->dq + first * d, false, s->scratch);
}

void native_attention_dx(const struct attention_args *a)
{
    const struct products m = products_make(a, true);
    struct space *per_thread = space_per_thread(a, &m, true);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->n * a->heads; i++) {
        const struct space *s = &per_thread[omp_get_thread_num()];
        const int64_t at = attention_head(a, i);
        take_head(a, a->q, at, s->q);
        take_head(a, a->k, at, s->k);
        take_head(a, a->v, at, s->v);
        take_head(a, a->dy, at, s->dy);
        for (int64_t first = 0; first < a->t; first += m.block)
            block_dx(a, &m, first, a->t - first < m.block ? a->t - first : m.block, s);
        attention_put(a, a->t, s->dq, a->dq, at, a->add_dq);
        attention_put(a, a->t, s->dk, a->dk, at, a->add_dk);
        attention_put(a, a->t, s->dv, a->dv, at, a->add_dv);
    }
}
