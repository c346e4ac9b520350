/* The reference back end: each operation as its formula, sums in double precision. For
 * tests and for reading; the fast kernels are checked against it. */
#include "stages/nn/kernels.h"

#include <math.h>
#include <stdio.h>

static void put(float *at, bool add, double v)
{
    *at = add ? *at + (float)v : (float)v;
}

static void reference_describe(char *buf, size_t size)
{
    snprintf(buf, size, "plain loops");
}

static void reference_conv(const struct conv_args *a)
{
    const float *wt = a->weight->t.data;
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
                            const float *in = a->x + ((n * a->h + y) * a->w + x) * a->c;
                            const float *k = wt + (o * a->c * a->kh + r) * a->kw + s;
                            for (int64_t c = 0; c < a->c; c++)
                                sum += (double)in[c] * k[c * a->kh * a->kw];
                        }
                    a->y[((n * a->oh + i) * a->ow + j) * a->o + o] = (float)sum;
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
    const float *wt = a->weight->t.data;
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
                            const float *g = a->dy + ((n * a->oh + i) * a->ow + j) * a->o;
                            const float *k = wt + (c * a->kh + r) * a->kw + s;
                            for (int64_t o = 0; o < a->o; o++)
                                sum += (double)g[o] * k[o * a->c * a->kh * a->kw];
                        }
                    put(&a->dx[((n * a->h + y) * a->w + x) * a->c + c], a->add_dx, sum);
                }
}

static double conv_dw_at(const struct conv_args *a, int64_t o, int64_t c, int64_t r,
                         int64_t s)
{
    double sum = 0;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t i = 0; i < a->oh; i++)
            for (int64_t j = 0; j < a->ow; j++) {
                int64_t y = i * a->stride + r - a->pad[0];
                int64_t x = j * a->stride + s - a->pad[2];
                if (y < 0 || y >= a->h || x < 0 || x >= a->w)
                    continue;
                sum += (double)a->x[((n * a->h + y) * a->w + x) * a->c + c] *
                       a->dy[((n * a->oh + i) * a->ow + j) * a->o + o];
            }
    return sum;
}

static void bias_dw(struct param *bias, const float *dy, int64_t rows, int64_t out)
{
    if (bias == NULL || bias->t.grad == NULL)
        return;
    for (int64_t o = 0; o < out; o++) {
        double sum = 0;
        for (int64_t i = 0; i < rows; i++)
            sum += dy[i * out + o];
        put(&bias->t.grad[o], true, sum);
    }
}

static void reference_conv_dw(const struct conv_args *a)
{
    float *dw = a->weight->t.grad;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < a->o; o++)
        for (int64_t c = 0; c < a->c; c++)
            for (int64_t r = 0; r < a->kh; r++)
                for (int64_t s = 0; s < a->kw; s++)
                    put(&dw[((o * a->c + c) * a->kh + r) * a->kw + s], true,
                        conv_dw_at(a, o, c, r, s));
    bias_dw(a->bias, a->dy, a->n * a->oh * a->ow, a->o);
}

static void reference_linear(const struct linear_args *a)
{
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t o = 0; o < a->out; o++) {
            const float *w = a->weight->t.data + o * a->in;
            double sum = a->bias != NULL ? a->bias->t.data[o] : 0;
            for (int64_t c = 0; c < a->in; c++)
                sum += (double)a->x[i * a->in + c] * w[c];
            a->y[i * a->out + o] = (float)sum;
        }
}

static void reference_linear_dx(const struct linear_args *a)
{
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t c = 0; c < a->in; c++) {
            double sum = 0;
            for (int64_t o = 0; o < a->out; o++)
                sum += (double)a->dy[i * a->out + o] * a->weight->t.data[o * a->in + c];
            put(&a->dx[i * a->in + c], a->add_dx, sum);
        }
}

static void reference_linear_dw(const struct linear_args *a)
{
    for (int64_t o = 0; o < a->out; o++)
        for (int64_t c = 0; c < a->in; c++) {
            double sum = 0;
            for (int64_t i = 0; i < a->rows; i++)
                sum += (double)a->dy[i * a->out + o] * a->x[i * a->in + c];
            put(&a->weight->t.grad[o * a->in + c], true, sum);
        }
    bias_dw(a->bias, a->dy, a->rows, a->out);
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
    int64_t width = a->c / a->groups;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t g = 0; g < a->groups; g++) {
            const float *x = a->x + n * a->rows * a->c + g * width;
            float *y = a->y + n * a->rows * a->c + g * width;
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
                    y[i * a->c + c] = (float)(a->silu ? z * sigmoid(z) : z);
                }
        }
}

/* The normalised value at i and the gradient that arrives at the affine map's output. */
static double norm_at(const struct norm_args *a, int64_t n, int64_t i, int64_t c,
                      double *dz)
{
    int64_t g = c / (a->c / a->groups), at = (n * a->rows + i) * a->c + c;
    double xhat =
        ((double)a->x[at] - a->mean[n * a->groups + g]) * a->rstd[n * a->groups + g];
    double z = xhat * a->gamma->t.data[c] + a->beta->t.data[c];
    *dz = a->dy[at] * (a->silu ? silu_slope(z) : 1);
    return xhat;
}

static void norm_dparams(const struct norm_args *a)
{
    if (a->gamma->t.grad == NULL)
        return;
    for (int64_t c = 0; c < a->c; c++) {
        double dgamma = 0, dbeta = 0, dz;
        for (int64_t n = 0; n < a->n; n++)
            for (int64_t i = 0; i < a->rows; i++) {
                double xhat = norm_at(a, n, i, c, &dz);
                dgamma += dz * xhat;
                dbeta += dz;
            }
        put(&a->gamma->t.grad[c], true, dgamma);
        put(&a->beta->t.grad[c], true, dbeta);
    }
}

static void reference_norm_dx(const struct norm_args *a)
{
    norm_dparams(a);
    if (a->dx == NULL)
        return;
    int64_t width = a->c / a->groups;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t g = 0; g < a->groups; g++) {
            double sum = 0, sum_x = 0, dz, count = (double)(a->rows * width);
            for (int64_t i = 0; i < a->rows; i++)
                for (int64_t c = g * width; c < (g + 1) * width; c++) {
                    double xhat = norm_at(a, n, i, c, &dz);
                    sum += dz * a->gamma->t.data[c] / count;
                    sum_x += dz * a->gamma->t.data[c] * xhat / count;
                }
            for (int64_t i = 0; i < a->rows; i++)
                for (int64_t c = g * width; c < (g + 1) * width; c++) {
                    double xhat = norm_at(a, n, i, c, &dz);
                    put(&a->dx[(n * a->rows + i) * a->c + c], a->add_dx,
                        a->rstd[n * a->groups + g] *
                            (dz * a->gamma->t.data[c] - sum - xhat * sum_x));
                }
        }
}

static void reference_silu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(x[i] * sigmoid(x[i]));
}

static void reference_silu_dx(int64_t n, const float *x, const float *dy, float *dx,
                              bool add)
{
    for (int64_t i = 0; i < n; i++)
        put(&dx[i], add, dy[i] * silu_slope(x[i]));
}

/* One head of one item: rows of stride c, d of them in use. */
struct head {
    int64_t t, c, d, at; /* at: of the head's first value */
};

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

/* p[t]: softmax of row i. */
static void softmax_row(const struct attention_args *a, struct head h, int64_t i,
                        double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h.t; j++) {
        p[j] = dot(a->q + h.at + i * h.c, a->k + h.at + j * h.c, h.d) / sqrt((double)h.d);
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
    int64_t d = a->c / a->heads;
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t e = 0; e < a->heads; e++) {
            struct head h = {a->t, a->c, d, n * a->t * a->c + e * d};
            for (int64_t i = 0; i < a->t; i++) {
                softmax_row(a, h, i, p);
                for (int64_t c = 0; c < d; c++) {
                    double sum = 0;
                    for (int64_t j = 0; j < a->t; j++)
                        sum += p[j] * a->v[h.at + j * a->c + c];
                    a->y[h.at + i * a->c + c] = (float)sum;
                }
            }
        }
}

/* work: p[t], ds[t], dk[t, d], dv[t, d]. */
static void head_dx(const struct attention_args *a, struct head h, double *work)
{
    double *p = work, *ds = p + h.t, *dk = ds + h.t, *dv = dk + h.t * h.d;
    for (int64_t j = 0; j < 2 * h.t * h.d; j++)
        dk[j] = 0;
    for (int64_t i = 0; i < h.t; i++) {
        const float *dy = a->dy + h.at + i * h.c, *q = a->q + h.at + i * h.c;
        double mean = 0;
        softmax_row(a, h, i, p);
        for (int64_t j = 0; j < h.t; j++) {
            ds[j] = dot(dy, a->v + h.at + j * h.c, h.d);
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
                sum += ds[j] * a->k[h.at + j * h.c + c];
            put(&a->dq[h.at + i * h.c + c], a->add_dq, sum);
        }
    }
    for (int64_t j = 0; j < h.t; j++)
        for (int64_t c = 0; c < h.d && a->dk != NULL; c++)
            put(&a->dk[h.at + j * h.c + c], a->add_dk, dk[j * h.d + c]);
    for (int64_t j = 0; j < h.t; j++)
        for (int64_t c = 0; c < h.d && a->dv != NULL; c++)
            put(&a->dv[h.at + j * h.c + c], a->add_dv, dv[j * h.d + c]);
}

static void reference_attention_dx(const struct attention_args *a)
{
    int64_t d = a->c / a->heads;
    double *work = arena_take(a->scratch, 2 * a->t + 2 * a->t * d, sizeof *work);
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t e = 0; e < a->heads; e++)
            head_dx(a, (struct head){a->t, a->c, d, n * a->t * a->c + e * d}, work);
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
