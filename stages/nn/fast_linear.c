/* Linear maps by our own matrix product; threads share tiles of the result, each of
 * which is made in float32 in the cache and leaves it with bias and residual added,
 * rounded once. Weights are kept in the product's order while their values stay. */
#include "stages/nn/epilogue.h"
#include "stages/nn/fast.h"
#include "stages/nn/sgemm.h"
#include "stages/nn/vec.h"

#include "io/sys/mem.h"

#include <omp.h>

/* The parts of a weight matrix one after the other, each as sgemm_pack makes it. */
struct copy {
    float *at;
    int64_t split; /* inputs of the first part */
    uint64_t stamp;
};

/* On param.packed: per dtype, for x W^T and for dy W. */
struct copies {
    struct packed base;
    struct copy of[2][2];
};

static void copies_destroy(struct packed *p)
{
    struct copies *all = (struct copies *)p;
    for (int i = 0; i < 4; i++)
        mem_free(all->of[i / 2][i % 2].at);
    mem_free(all);
}

/* Part p of the weights as right-hand side: of the forward [c, out] or of dx [out, c].
 */
static struct matrix right_of(const struct linear_args *a, int p, bool backward,
                              struct extent *e)
{
    const float *w = a->weight->t.data + (p > 0 ? a->part[0].c : 0);
    const int64_t c = a->part[p].c;
    *e = backward ? (struct extent){a->rows, c, a->out}
                  : (struct extent){a->rows, a->out, c};
    return backward ? (struct matrix){w, a->in, 1, DTYPE_F32}
                    : (struct matrix){w, 1, a->in, DTYPE_F32};
}

static void copy_fill(const struct linear_args *a, bool backward, float *to)
{
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        struct extent e;
        struct matrix b = right_of(a, p, backward, &e);
        const int64_t size = sgemm_pack_size(e);
#pragma omp parallel for schedule(static) if (size > 32768)
        for (int64_t first = 0; first < e.n; first += SGEMM_N)
            sgemm_pack(e, b, first, e.n - first < SGEMM_N ? e.n - first : SGEMM_N, to);
        if (a->type == DTYPE_BF16) /* sizes are multiples of a vector */
            for (int64_t i = 0; i < size; i += LANES)
                vec_store(to + i, LANES, vec_round_bf16(vec_load(to + i, LANES)));
        to += size;
    }
}

/* The weights in order, valid during the call. */
static const float *copy_get(const struct linear_args *a, bool backward)
{
    struct extent e;
    int64_t size = 0;
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        right_of(a, p, backward, &e);
        size += sgemm_pack_size(e);
    }
    struct copies *all = (struct copies *)packed_find(a->weight, copies_destroy);
    if (all == NULL) {
        all = mem_alloc(1, sizeof *all);
        all->base = (struct packed){.owner = copies_destroy, .destroy = copies_destroy};
        packed_hang(a->weight, &all->base);
    }
    struct copy *c = &all->of[a->type == DTYPE_BF16][backward];
    if (c->at != NULL && c->split == a->part[0].c &&
        c->stamp == param_stamp(a->weight->set))
        return c->at;
    if (c->at == NULL || c->split != a->part[0].c) {
        mem_free(c->at);
        c->at = mem_alloc(size, sizeof *c->at);
    }
    copy_fill(a, backward, c->at);
    c->split = a->part[0].c;
    c->stamp = param_stamp(a->weight->set);
    return c->at;
}

/* One product: the sum over the pieces of a [m, k] times packed b [k, n], and where it
 * goes. */
struct job {
    int64_t m, n;
    int pieces;
    struct {
        struct matrix a;
        const float *b;
        int64_t k;
    } piece[PARTS];
    struct epilogue to;
};

/* Rows from i, columns from j of the product. work: of sgemm, and a tile behind it. */
static void job_tile(const struct job *q, int64_t i, int64_t j, struct extent e,
                     float *work)
{
    float *sum = work + SGEMM_WORK;
    for (int p = 0; p < q->pieces; p++) {
        struct matrix a = q->piece[p].a;
        a.at = act_at(a.type, a.at, i * a.row);
        e.k = q->piece[p].k;
        sgemm_packed(e, a, q->piece[p].b, j, q->n, sum, SGEMM_N, p > 0, work);
    }
    for (int64_t r = 0; r < e.m; r++)
        epilogue_row(&q->to, i + r, j, sum + r * SGEMM_N, e.n);
}

#define TILE (SGEMM_WORK + SGEMM_M * SGEMM_N)

/* work: TILE floats per thread. */
static void job_run(const struct job *q, float *work)
{
    const int64_t high = (q->m + SGEMM_M - 1) / SGEMM_M;
    /* Few rows: narrower tiles, so that there are enough for all threads. */
    const int64_t width = high >= 2 * omp_get_max_threads() ? SGEMM_N : 32;
    const int64_t across = (q->n + width - 1) / width;
    int64_t k = 0;
    for (int p = 0; p < q->pieces; p++)
        k += q->piece[p].k;
#pragma omp parallel for schedule(static) if (q->m * q->n * k > 100000)
    for (int64_t t = 0; t < high * across; t++) {
        const int64_t i = t / across * SGEMM_M, j = t % across * width;
        struct extent e = {.m = q->m - i < SGEMM_M ? q->m - i : SGEMM_M,
                           .n = q->n - j < width ? q->n - j : width};
        job_tile(q, i, j, e, work + omp_get_thread_num() * (int64_t)TILE);
    }
}

static float *job_work(struct arena *scratch)
{
    return arena_take(scratch, omp_get_max_threads() * (int64_t)TILE, sizeof(float));
}

void fast_linear(const struct linear_args *a)
{
    const float *b = copy_get(a, false);
    struct job q = {.m = a->rows,
                    .n = a->out,
                    .to = {.columns = a->out,
                           .type = a->type,
                           .bias = a->bias != NULL ? a->bias->t.data : NULL,
                           .residual = a->residual,
                           .y = a->y}};
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        struct extent e;
        right_of(a, p, false, &e);
        q.piece[p].a = (struct matrix){a->part[p].x, a->part[p].c, 1, a->type};
        q.piece[p].b = b;
        q.piece[p].k = e.k;
        q.pieces++;
        b += sgemm_pack_size(e);
    }
    job_run(&q, job_work(a->scratch));
}

void fast_linear_dx(const struct linear_args *a)
{
    const float *b = copy_get(a, true);
    float *work = job_work(a->scratch);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        struct extent e;
        right_of(a, p, true, &e);
        struct job q = {.m = a->rows,
                        .n = e.n,
                        .pieces = 1,
                        .piece = {{{a->dy, a->out, 1, a->type}, b, a->out}},
                        .to = {.columns = e.n,
                               .type = a->type,
                               .residual = a->part[p].add_dx ? a->part[p].dx : NULL,
                               .y = a->part[p].dx}};
        if (q.to.y != NULL)
            job_run(&q, work);
        b += sgemm_pack_size(e);
    }
}

/* dw [m, n] += a b, shared out along the longer side; rows of dw are `stride` apart. */
static void product(struct extent e, struct matrix a, struct matrix b, float *dw,
                    int64_t stride, float *work)
{
    const int threads = omp_get_max_threads();
    const bool by_rows = e.m > e.n;
    const int64_t length = by_rows ? e.m : e.n,
                  share = (length / threads + 48) / 48 * 48;
#pragma omp parallel for schedule(static) if (e.m * e.n * e.k > 100000)
    for (int64_t first = 0; first < length; first += share) {
        int64_t some = length - first < share ? length - first : share;
        struct extent part = {by_rows ? some : e.m, by_rows ? e.n : some, e.k};
        struct matrix pa = a, pb = b;
        pa.at = act_at(a.type, a.at, by_rows ? first * a.row : 0);
        pb.at = act_at(b.type, b.at, by_rows ? 0 : first * b.column);
        sgemm(part, pa, pb, dw + first * (by_rows ? stride : 1), stride, true,
              work + omp_get_thread_num() * (int64_t)SGEMM_WORK);
    }
}

void fast_linear_dw(const struct linear_args *a)
{
    float *work = arena_take(a->scratch, omp_get_max_threads() * (int64_t)SGEMM_WORK,
                             sizeof *work);
    float *dw = a->weight->t.grad;
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        const int64_t c = a->part[p].c;
        product((struct extent){a->out, c, a->rows},
                (struct matrix){a->dy, 1, a->out, a->type},
                (struct matrix){a->part[p].x, c, 1, a->type}, dw, a->in, work);
        dw += c;
    }
}
