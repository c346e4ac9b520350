/* |x - r|^2 = |x|^2 - 2 x r + |r|^2: all products at once, in blocks of rows, by the
 * matrix kernel. In float32 this loses digits where x is near r, which is just where
 * they count, so the products only choose: every row whose distance could be among the
 * two smallest, given the rounding, is measured again, element by element in double. */
#include "stages/reward/nearest.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/sgemm.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { BATCH = 64 }; /* samples at a time */

struct nearest {
    int64_t n, width;
    float *row;     /* [n, width] */
    double *square; /* [n] squared norms */
};

struct nearest *nearest_create(const float *rows, int64_t n, int64_t width)
{
    ERR_BUG_IF(n < 1 || width < 1);
    struct nearest *s = mem_alloc(1, sizeof *s);
    *s = (struct nearest){n, width, mem_alloc(n * width, sizeof *s->row),
                          mem_alloc(n, sizeof *s->square)};
    memcpy(s->row, rows, (size_t)(n * width) * sizeof *rows);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < width; k++)
            s->square[i] += (double)rows[i * width + k] * (double)rows[i * width + k];
    return s;
}

void nearest_destroy(struct nearest *s)
{
    if (s == NULL)
        return;
    mem_free(s->row);
    mem_free(s->square);
    mem_free(s);
}

int64_t nearest_rows(const struct nearest *s)
{
    return s->n;
}

const float *nearest_row(const struct nearest *s, int64_t k)
{
    return s->row + k * s->width;
}

static double distance(const struct nearest *s, const float *x, int64_t row)
{
    const float *r = nearest_row(s, row);
    double sum = 0;
    for (int64_t k = 0; k < s->width; k++) {
        double e = (double)x[k] - (double)r[k];
        sum += e * e;
    }
    return sqrt(sum / (double)s->width);
}

/* One sample: product [n] are those with all rows. A product of width terms, in chains
 * of SGEMM_K, is off by at most `slack` times both norms. */
static struct nearest_hit choose(const struct nearest *s, const float *x,
                                 const float *product)
{
    struct nearest_hit hit = {-1, INFINITY, INFINITY};
    const double unit = 1.0 / (1 << 24);
    double square = 0, bound[2] = {INFINITY, INFINITY};
    double slack = 2 * unit * (SGEMM_K + (double)s->width / SGEMM_K + 2);
    for (int64_t k = 0; k < s->width; k++)
        square += (double)x[k] * (double)x[k];
    if (!(square < 1e30))
        return (struct nearest_hit){-1, (double)NAN, (double)NAN};
    double norm = sqrt(square);
    for (int64_t i = 0; i < s->n; i++) {
        double upper = s->square[i] - 2 * (double)product[i] +
                       2 * slack * norm * sqrt(s->square[i]);
        if (upper < bound[0]) {
            bound[1] = bound[0];
            bound[0] = upper;
        } else if (upper < bound[1]) {
            bound[1] = upper;
        }
    }
    for (int64_t i = 0; i < s->n; i++) {
        double lower = s->square[i] - 2 * (double)product[i] -
                       2 * slack * norm * sqrt(s->square[i]);
        if (lower > bound[1])
            continue;
        double d = distance(s, x, i);
        if (d < hit.first) {
            hit.second = hit.first;
            hit.first = d;
            hit.row = i;
        } else if (d < hit.second) {
            hit.second = d;
        }
    }
    return hit;
}

void nearest_find(const struct nearest *s, const float *samples, int64_t n,
                  struct nearest_hit *hit)
{
    const int64_t most = n < BATCH ? n : BATCH;
    float *product = mem_alloc(most * s->n, sizeof *product); /* [most, s->n] */
    float *work = mem_alloc(SGEMM_WORK, sizeof *work);
    for (int64_t at = 0; at < n; at += BATCH) {
        const int64_t m = n - at < BATCH ? n - at : BATCH;
        const float *x = samples + at * s->width;
        sgemm((struct extent){m, s->n, s->width},
              (struct matrix){x, s->width, 1, DTYPE_F32},
              (struct matrix){s->row, 1, s->width, DTYPE_F32}, product, s->n, false,
              work);
        for (int64_t i = 0; i < m; i++)
            hit[at + i] = choose(s, x + i * s->width, product + i * s->n);
    }
    mem_free(product);
    mem_free(work);
}
