/* Linear maps by our own matrix product; threads share rows or columns of the result. */
#include "stages/nn/fast.h"
#include "stages/nn/sgemm.h"

#include <omp.h>

/* c [m, n] = a b, shared out along the longer side. */
static void product(struct extent e, struct matrix a, struct matrix b, float *c, bool add,
                    struct arena *scratch)
{
    int threads = omp_get_max_threads();
    float *work = arena_take(scratch, (int64_t)threads * SGEMM_WORK, sizeof *work);
    bool by_rows = e.m > e.n;
    int64_t length = by_rows ? e.m : e.n, share = (length / threads + 48) / 48 * 48;
#pragma omp parallel for schedule(static) if (e.m * e.n * e.k > 100000)
    for (int64_t first = 0; first < length; first += share) {
        int64_t some = length - first < share ? length - first : share;
        struct extent part = {by_rows ? some : e.m, by_rows ? e.n : some, e.k};
        struct matrix pa = a, pb = b;
        pa.at += by_rows ? first * a.row : 0;
        pb.at += by_rows ? 0 : first * b.column;
        sgemm(part, pa, pb, c + (by_rows ? first * e.n : first), e.n, add,
              work + (int64_t)omp_get_thread_num() * SGEMM_WORK);
    }
}

void fast_linear(const struct linear_args *a)
{
    struct extent e = {a->rows, a->out, a->in};
    const float *bias = a->bias != NULL ? a->bias->t.data : NULL;
    product(e, (struct matrix){a->x, a->in, 1},
            (struct matrix){a->weight->t.data, 1, a->in}, a->y, false, a->scratch);
    if (bias == NULL)
        return;
#pragma omp parallel for schedule(static) if (a->rows * a->out > 32768)
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->out; j++)
            a->y[i * a->out + j] += bias[j];
}

void fast_linear_dx(const struct linear_args *a)
{
    struct extent e = {a->rows, a->in, a->out};
    product(e, (struct matrix){a->dy, a->out, 1},
            (struct matrix){a->weight->t.data, a->in, 1}, a->dx, a->add_dx, a->scratch);
}

void fast_linear_dw(const struct linear_args *a)
{
    struct extent e = {a->out, a->in, a->rows};
    product(e, (struct matrix){a->dy, 1, a->out}, (struct matrix){a->x, a->in, 1},
            a->weight->t.grad, true, a->scratch);
    if (a->bias == NULL || a->bias->t.grad == NULL)
        return;
    double *total = arena_take(a->scratch, a->out, sizeof *total);
    for (int64_t j = 0; j < a->out; j++)
        total[j] = 0;
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->out; j++)
            total[j] += a->dy[i * a->out + j];
    for (int64_t j = 0; j < a->out; j++)
        a->bias->t.grad[j] += (float)total[j];
}
