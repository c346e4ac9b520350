/* The reference back end: each operation as its formula, sums in double precision. For
 * tests and for reading; the fast kernels are checked against it.
 *
 * The loops are over float32. Inputs of either dtype, and concatenations, are copied to
 * float32 first; weights are rounded to the dtype; results leave through put(). */
#include "stages/nn/kernels.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <stdio.h>

static float value(enum dtype type, const void *x, int64_t i)
{
    return type == DTYPE_BF16 ? bf16_to_float(((const bf16 *)x)[i])
                              : ((const float *)x)[i];
}

/* x[i] = v or += v, rounded to the dtype. */
static void put(enum dtype type, void *x, int64_t i, bool add, double v)
{
    float sum = add ? value(type, x, i) + (float)v : (float)v;
    if (type == DTYPE_BF16)
        ((bf16 *)x)[i] = bf16_from_float(sum);
    else
        ((float *)x)[i] = sum;
}

/* A copy of n values in float32; NULL of NULL. */
static float *wide(struct arena *a, enum dtype type, const void *x, int64_t n)
{
    if (x == NULL)
        return NULL;
    float *to = arena_take(a, n, sizeof *to);
    for (int64_t i = 0; i < n; i++)
        to[i] = value(type, x, i);
    return to;
}

/* A weight as it enters a product. */
static float *rounded(struct arena *a, enum dtype type, const struct param *p)
{
    float *to = wide(a, DTYPE_F32, p->t.data, tensor_count(&p->t));
    if (type == DTYPE_BF16)
        for (int64_t i = 0; i < tensor_count(&p->t); i++)
            to[i] = bf16_to_float(bf16_from_float(to[i]));
    return to;
}

/* The part that holds channel *c of the concatenation; *c becomes that in the part. */
static const struct part *part_of(const struct part *part, int64_t *c)
{
    if (*c < part[0].c)
        return &part[0];
    *c -= part[0].c;
    return &part[1];
}

/* The concatenation [rows, c] in float32. */
static float *joined(struct arena *a, enum dtype type, const struct part *part,
                     int64_t rows, int64_t c)
{
    float *to = arena_take(a, rows * c, sizeof *to);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t k = j;
            const struct part *p = part_of(part, &k);
            to[i * c + j] = value(type, p->x, i * p->c + k);
        }
    return to;
}

/* Element (i, c) of the concatenation's gradient, where wanted. */
static void put_part(enum dtype type, const struct part *part, int64_t i, int64_t c,
                     double v)
{
    const struct part *p = part_of(part, &c);
    if (p->dx != NULL)
        put(type, p->dx, i * p->c + c, p->add_dx, v);
}

static void reference_describe(char *buf, size_t size)
{
    snprintf(buf, size, "plain loops");
}

static void reference_conv(const struct conv_args *a)
{
    const float *wt = rounded(a->scratch, a->type, a->weight);
    const float *src = wide(a->scratch, a->type, a->x, a->n * a->h * a->w * a->c);
#pragma omp parallel for collapse(3) schedule(static)
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t i = 0; i < a->oh; i++)
            for (int64_t j = 0; j < a->ow; j++)
                for (int64_t o = 0; o < a->o; o++) {
                    double sum = a->bias != NULL ? a->bias->t.data[o] : 0;
                    for (int64_t r = 0; r < a->kh; r++)
                        for (int64_t s = 0; s < a->kw; s++) {
                            int64_t y = i * a->stride + r - a->pad[0];
                            int64_t x = j * a->stride + s - a->pad[2];
                            if (y < 0 || y >= a->h || x < 0 || x >= a->w)
                                continue;
                            const float *in = src + ((n * a->h + y) * a->w + x) * a->c;
                            const float *k = wt + (o * a->c * a->kh + r) * a->kw + s;
                            for (int64_t c = 0; c < a->c; c++)
                                sum += (double)in[c] * k[c * a->kh * a->kw];
                        }
                    int64_t at = ((n * a->oh + i) * a->ow + j) * a->o + o;
                    sum += a->shift != NULL ? a->shift[n * a->o + o] : 0;
                    sum += a->residual != NULL ? value(a->type, a->residual, at) : 0;
                    put(a->type, a->y, at, false, sum);
                }
}

/* The row of dy that input row y feeds through kernel row r, or -1. */
static int64_t fed_by(int64_t y, int64_t r, int pad, int stride, int64_t limit)
{
    int64_t i = y + pad - r;
    return i < 0 || i % stride != 0 || i / stride >= limit ? -1 : i / stride;
}

static void reference_conv_dx(const struct conv_args *a)
{
    const float *wt = rounded(a->scratch, a->type, a->weight);
    const float *dy = wide(a->scratch, a->type, a->dy, a->n * a->oh * a->ow * a->o);
#pragma omp parallel for collapse(3) schedule(static)
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t y = 0; y < a->h; y++)
            for (int64_t x = 0; x < a->w; x++)
                for (int64_t c = 0; c < a->c; c++) {
                    double sum = 0;
                    for (int64_t r = 0; r < a->kh; r++)
                        for (int64_t s = 0; s < a->kw; s++) {
                            int64_t i = fed_by(y, r, a->pad[0], a->stride, a->oh);
                            int64_t j = fed_by(x, s, a->pad[2], a->stride, a->ow);
                            if (i < 0 || j < 0)
                                continue;
                            const float *g = dy + ((n * a->oh + i) * a->ow + j) * a->o;
                            const float *k = wt + (c * a->kh + r) * a->kw + s;
                            for (int64_t o = 0; o < a->o; o++)
                                sum += (double)g[o] * k[o * a->c * a->kh * a->kw];
                        }
                    put(a->type, a->dx, ((n * a->h + y) * a->w + x) * a->c + c,
                        a->add_dx, sum);
                }
}

/* src, dy: of the arguments, in float32; k: o, c, row and column of the kernel. */
static double conv_dw_at(const struct conv_args *a, const float *src, const float *dy,
                         const int64_t k[4])
{
    double sum = 0;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t i = 0; i < a->oh; i++)
            for (int64_t j = 0; j < a->ow; j++) {
                int64_t y = i * a->stride + k[2] - a->pad[0];
                int64_t x = j * a->stride + k[3] - a->pad[2];
                if (y < 0 || y >= a->h || x < 0 || x >= a->w)
                    continue;
                sum += (double)src[((n * a->h + y) * a->w + x) * a->c + k[1]] *
                       dy[((n * a->oh + i) * a->ow + j) * a->o + k[0]];
            }
    return sum;
}

static void reference_conv_dw(const struct conv_args *a)
{
    const float *src = wide(a->scratch, a->type, a->x, a->n * a->h * a->w * a->c);
    const float *dy = wide(a->scratch, a->type, a->dy, a->n * a->oh * a->ow * a->o);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < a->o; o++)
        for (int64_t c = 0; c < a->c; c++)
            for (int64_t r = 0; r < a->kh; r++)
                for (int64_t s = 0; s < a->kw; s++)
                    a->weight->t.grad[((o * a->c + c) * a->kh + r) * a->kw + s] +=
                        (float)conv_dw_at(a, src, dy, (int64_t[]){o, c, r, s});
}

static void reference_linear(const struct linear_args *a)
{
    const float *wt = rounded(a->scratch, a->type, a->weight);
    const float *x = joined(a->scratch, a->type, a->part, a->rows, a->in);
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t o = 0; o < a->out; o++) {
            double sum = a->bias != NULL ? a->bias->t.data[o] : 0;
            for (int64_t c = 0; c < a->in; c++)
                sum += (double)x[i * a->in + c] * wt[o * a->in + c];
            if (a->residual != NULL)
                sum += value(a->type, a->residual, i * a->out + o);
            put(a->type, a->y, i * a->out + o, false, sum);
        }
}

static void reference_linear_dx(const struct linear_args *a)
{
    const float *wt = rounded(a->scratch, a->type, a->weight);
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t c = 0; c < a->in; c++) {
            double sum = 0;
            for (int64_t o = 0; o < a->out; o++)
                sum +=
                    (double)value(a->type, a->dy, i * a->out + o) * wt[o * a->in + c];
            put_part(a->type, a->part, i, c, sum);
        }
}

static void reference_linear_dw(const struct linear_args *a)
{
    const float *x = joined(a->scratch, a->type, a->part, a->rows, a->in);
    for (int64_t o = 0; o < a->out; o++)
        for (int64_t c = 0; c < a->in; c++) {
            double sum = 0;
            for (int64_t i = 0; i < a->rows; i++)
                sum += (double)value(a->type, a->dy, i * a->out + o) * x[i * a->in + c];
            a->weight->t.grad[o * a->in + c] += (float)sum;
        }
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

/* d silu(z) / dz */
static double silu_slope(double z)
{
    double s = sigmoid(z);
    return s * (1 + z * (1 - s));
}

static void reference_norm(const struct norm_args *a)
{
    const float *all = joined(a->scratch, a->type, a->part, a->n * a->rows, a->c);
    int64_t width = a->c / a->groups;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t g = 0; g < a->groups; g++) {
            const int64_t first = n * a->rows * a->c + g * width;
            const float *x = all + first;
            double mean = 0, var = 0, count = (double)(a->rows * width);
            for (int64_t i = 0; i < a->rows; i++)
                for (int64_t c = 0; c < width; c++)
                    mean += x[i * a->c + c] / count;
            for (int64_t i = 0; i < a->rows; i++)
                for (int64_t c = 0; c < width; c++)
                    var += (x[i * a->c + c] - mean) * (x[i * a->c + c] - mean) / count;
            double rstd = 1 / sqrt(var + a->eps);
            a->mean[n * a->groups + g] = (float)mean;
            a->rstd[n * a->groups + g] = (float)rstd;
            for (int64_t i = 0; i < a->rows; i++)
                for (int64_t c = 0; c < width; c++) {
                    double z = (x[i * a->c + c] - mean) * rstd *
                                   a->gamma->t.data[g * width + c] +
                               a->beta->t.data[g * width + c];
                    put(a->type, a->y, first + i * a->c + c, false,
                        a->silu ? z * sigmoid(z) : z);
                }
        }
}

/* The normalised value at i of x [n, rows, c] and the gradient that arrives at the
 * affine map's output. */
static double norm_at(const struct norm_args *a, const float *x, int64_t at, double *dz)
{
    int64_t c = at % a->c, n = at / (a->rows * a->c);
    int64_t group = n * a->groups + c / (a->c / a->groups);
    double xhat = ((double)x[at] - a->mean[group]) * a->rstd[group];
    double z = xhat * a->gamma->t.data[c] + a->beta->t.data[c];
    *dz = value(a->type, a->dy, at) * (a->silu ? silu_slope(z) : 1);
    return xhat;
}

static void norm_dparams(const struct norm_args *a, const float *x)
{
    for (int64_t c = 0; c < a->c; c++) {
        double dgamma = 0, dbeta = 0, dz;
        for (int64_t i = 0; i < a->n * a->rows; i++) {
            double xhat = norm_at(a, x, i * a->c + c, &dz);
            dgamma += dz * xhat;
            dbeta += dz;
        }
        if (a->gamma->t.grad != NULL)
            a->gamma->t.grad[c] += (float)dgamma;
        if (a->beta->t.grad != NULL)
            a->beta->t.grad[c] += (float)dbeta;
    }
}

static void norm_group_dx(const struct norm_args *a, const float *x, int64_t n,
                          int64_t g)
{
    const int64_t width = a->c / a->groups, first = n * a->rows;
    double sum = 0, sum_x = 0, dz, count = (double)(a->rows * width);
    for (int64_t i = first; i < first + a->rows; i++)
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            double xhat = norm_at(a, x, i * a->c + c, &dz);
            sum += dz * a->gamma->t.data[c] / count;
            sum_x += dz * a->gamma->t.data[c] * xhat / count;
        }
    for (int64_t i = first; i < first + a->rows; i++)
        for (int64_t c = g * width; c < (g + 1) * width; c++) {
            double xhat = norm_at(a, x, i * a->c + c, &dz);
            put_part(a->type, a->part, i, c,
                     a->rstd[n * a->groups + g] *
                         (dz * a->gamma->t.data[c] - sum - xhat * sum_x));
        }
}

static void reference_norm_dx(const struct norm_args *a)
{
    const float *x = joined(a->scratch, a->type, a->part, a->n * a->rows, a->c);
    norm_dparams(a, x);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t g = 0; g < a->groups; g++)
            norm_group_dx(a, x, n, g);
}

static void reference_silu(int64_t n, enum dtype type, const void *x, void *y)
{
    for (int64_t i = 0; i < n; i++) {
        double z = value(type, x, i);
        put(type, y, i, false, z * sigmoid(z));
    }
}

static void reference_silu_dx(int64_t n, enum dtype type, const void *x, const void *dy,
                              void *dx, bool add)
{
    for (int64_t i = 0; i < n; i++)
        put(type, dx, i, add, value(type, dy, i) * silu_slope(value(type, x, i)));
}

/* One head of one item: rows of stride c, d of them in use. */
struct head {
    int64_t t, c, d, at;         /* at: of the head's first value */
    const float *q, *k, *v, *dy; /* of the whole call, in float32 */
};

static struct head heads_of(const struct attention_args *a)
{
    const int64_t n = a->n * a->t * a->c;
    return (struct head){.t = a->t,
                         .c = a->c,
                         .d = a->c / a->heads,
                         .q = wide(a->scratch, a->type, a->q, n),
                         .k = wide(a->scratch, a->type, a->k, n),
                         .v = wide(a->scratch, a->type, a->v, n),
                         .dy = wide(a->scratch, a->type, a->dy, n)};
}

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

/* p[t]: softmax of row i. */
static void softmax_row(struct head h, int64_t i, double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h.t; j++) {
        p[j] = dot(h.q + h.at + i * h.c, h.k + h.at + j * h.c, h.d) / sqrt((double)h.d);
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j < h.t; j++)
        sum += p[j] = exp(p[j] - top);
    for (int64_t j = 0; j < h.t; j++)
        p[j] /= sum;
}

static void reference_attention(const struct attention_args *a)
{
    double *p = arena_take(a->scratch, a->t, sizeof *p);
    struct head h = heads_of(a);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t e = 0; e < a->heads; e++) {
            h.at = n * a->t * a->c + e * h.d;
            for (int64_t i = 0; i < a->t; i++) {
                softmax_row(h, i, p);
                for (int64_t c = 0; c < h.d; c++) {
                    double sum = 0;
                    for (int64_t j = 0; j < a->t; j++)
                        sum += p[j] * h.v[h.at + j * a->c + c];
                    put(a->type, a->y, h.at + i * a->c + c, false, sum);
                }
            }
        }
}

/* [t, d] into the head's columns. */
static void put_head(const struct attention_args *a, struct head h, const double *from,
                     void *to, bool add)
{
    for (int64_t j = 0; j < h.t; j++)
        for (int64_t c = 0; c < h.d && to != NULL; c++)
            put(a->type, to, h.at + j * h.c + c, add, from[j * h.d + c]);
}

/* work: p[t], ds[t], dk[t, d], dv[t, d]. */
static void head_dx(const struct attention_args *a, struct head h, double *work)
{
    double *p = work, *ds = p + h.t, *dk = ds + h.t, *dv = dk + h.t * h.d;
    for (int64_t j = 0; j < 2 * h.t * h.d; j++)
        dk[j] = 0;
    for (int64_t i = 0; i < h.t; i++) {
        const float *dy = h.dy + h.at + i * h.c, *q = h.q + h.at + i * h.c;
        double mean = 0;
        softmax_row(h, i, p);
        for (int64_t j = 0; j < h.t; j++) {
            ds[j] = dot(dy, h.v + h.at + j * h.c, h.d);
            mean += p[j] * ds[j];
        }
        for (int64_t j = 0; j < h.t; j++) {
            ds[j] = p[j] * (ds[j] - mean) / sqrt((double)h.d);
            for (int64_t c = 0; c < h.d; c++) {
                dk[j * h.d + c] += ds[j] * q[c];
                dv[j * h.d + c] += p[j] * dy[c];
            }
        }
        for (int64_t c = 0; c < h.d && a->dq != NULL; c++) {
            double sum = 0;
            for (int64_t j = 0; j < h.t; j++)
                sum += ds[j] * h.k[h.at + j * h.c + c];
            put(a->type, a->dq, h.at + i * h.c + c, a->add_dq, sum);
        }
    }
    put_head(a, h, dk, a->dk, a->add_dk);
    put_head(a, h, dv, a->dv, a->add_dv);
}

static void reference_attention_dx(const struct attention_args *a)
{
    struct head h = heads_of(a);
    double *work = arena_take(a->scratch, 2 * a->t + 2 * a->t * h.d, sizeof *work);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t e = 0; e < a->heads; e++) {
            h.at = n * a->t * a->c + e * h.d;
            head_dx(a, h, work);
        }
}

const struct backend backend_reference = {
    .name = "reference",
    .describe = reference_describe,
    .conv = reference_conv,
    .conv_dx = reference_conv_dx,
    .conv_dw = reference_conv_dw,
    .linear = reference_linear,
    .linear_dx = reference_linear_dx,
    .linear_dw = reference_linear_dw,
    .norm = reference_norm,
    .norm_dx = reference_norm_dx,
    .silu = reference_silu,
    .silu_dx = reference_silu_dx,
    .attention = reference_attention,
    .attention_dx = reference_attention_dx,
};
