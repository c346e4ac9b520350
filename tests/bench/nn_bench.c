/* Rates of the engine's operations on the shapes of a small U-Net, to show hot spots: not
 * a test. Usage: nn_bench [threads] [batch] [back end]. */
#include "io/sys/clock.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum what { CONV, CONV_HALF, LINEAR, NORM, SILU, ADD, CONCAT, UPSAMPLE, ATTENTION };

struct bench {
    const char *name;
    enum what what;
    int64_t side, in, out, k; /* pictures side x side; out or heads; kernel size */
};

static const struct bench benches[] = {
    {"conv 3x3 3-32 @32", CONV, 32, 3, 32, 3},
    {"conv 3x3 32-32 @32", CONV, 32, 32, 32, 3},
    {"conv 3x3 64-32 @32", CONV, 32, 64, 32, 3},
    {"conv 3x3 32-3 @32", CONV, 32, 32, 3, 3},
    {"conv 3x3 64-64 @16", CONV, 16, 64, 64, 3},
    {"conv 3x3 128-64 @16", CONV, 16, 128, 64, 3},
    {"conv 3x3 64-64 @8", CONV, 8, 64, 64, 3},
    {"conv 3x3 64-64 @4", CONV, 4, 64, 64, 3},
    {"conv 3x3/2 32-32 @32", CONV_HALF, 32, 32, 32, 3},
    {"conv 3x3/2 64-64 @16", CONV_HALF, 16, 64, 64, 3},
    {"conv 1x1 128-64 @16", CONV, 16, 128, 64, 1},
    {"conv 3x3 128-128 @32", CONV, 32, 128, 128, 3},
    {"conv 3x3 256-256 @16", CONV, 16, 256, 256, 3},
    {"conv 3x3 256-256 @8", CONV, 8, 256, 256, 3},
    {"conv 3x3 256-256 @4", CONV, 4, 256, 256, 3},
    {"conv 3x3 512-512 @4", CONV, 4, 512, 512, 3},
    {"linear 256-256 [N,1]", LINEAR, 1, 256, 256, 1},
    {"linear 64-64 [N,64]", LINEAR, 8, 64, 64, 1},
    {"linear 256-256 [N,256]", LINEAR, 16, 256, 256, 1},
    {"attention 64 @8", ATTENTION, 8, 64, 8, 1},
    {"attention 256 @16, 1", ATTENTION, 16, 256, 1, 1},
    {"attention 256 @32, 4", ATTENTION, 32, 256, 4, 1},
    {"norm+silu 32 @32", NORM, 32, 32, 1, 1},
    {"norm+silu 64 @16", NORM, 16, 64, 1, 1},
    {"norm 64 @8", NORM, 8, 64, 0, 1},
    {"norm+silu 128 @32", NORM, 32, 128, 1, 1},
    {"silu 32 @32", SILU, 32, 32, 1, 1},
    {"add 32 @32", ADD, 32, 32, 1, 1},
    {"concat 32+32 @32", CONCAT, 32, 32, 1, 1},
    {"upsample 64 @16", UPSAMPLE, 16, 64, 1, 1},
};

static struct inputs one(struct tensor *x)
{
    return (struct inputs){.first = x};
}

static struct tensor *apply(const struct bench *b, struct tape *t, struct tensor *x,
                            struct param_set *p)
{
    int pad = b->k / 2;
    struct conv_shape s = {b->what == CONV_HALF ? 2 : 1, {pad, pad, pad, pad}};
    const int64_t flat[3] = {x->dim[0], b->side * b->side, b->in};
    switch (b->what) {
    case CONV:
    case CONV_HALF:
        return op_conv2d(t, x, param_at(p, 0), param_at(p, 1), s, (struct extras){0});
    case LINEAR:
        return op_linear(t, one(op_view(t, x, 3, flat)), param_at(p, 0), param_at(p, 1),
                         NULL);
    case NORM:
        return op_group_norm(t, one(x), param_at(p, 2), param_at(p, 3), 8, 1e-5f,
                             b->out);
    case SILU:
        return op_silu(t, x);
    case ADD:
        return op_add(t, x, x, 1);
    case CONCAT:
        return op_concat(t, x, x);
    case UPSAMPLE:
        return op_upsample2(t, x);
    default:
        x = op_view(t, x, 3, flat);
        return op_attention(t, x, x, x, (int)b->out);
    }
}

static void measure(const struct bench *b, struct tape *t, int64_t batch)
{
    const int64_t dim[4] = {batch, b->side, b->side, b->in};
    const int64_t out = b->out > 0 ? b->out : 1, w[4] = {out, b->in, b->k, b->k};
    struct param_set *p = param_create();
    param_declare(p, "w", 4, w);
    param_declare(p, "b", 1, &out);
    param_declare(p, "gamma", 1, &b->in);
    param_declare(p, "beta", 1, &b->in);
    param_allocate(p, 1);
    rng_normal(7, param_values(p), param_total(p));
    param_touch(p);
    double best[2] = {1e9, 1e9};
    int64_t values = 0;
    double until = clock_s() + 0.25;
    for (int i = 0; i < 4 || clock_s() < until; i++) {
        tape_begin(t, true);
        struct tensor *x = tape_tensor(t, 4, dim, true);
        rng_normal(8, x->data, tensor_count(x));
        double start = clock_s();
        struct tensor *y = apply(b, t, x, p);
        double middle = clock_s();
        values = tensor_count(x) + tensor_count(y);
        double again = clock_s();
        tape_backward(t, y, y->data);
        double end = clock_s();
        best[0] = middle - start < best[0] ? middle - start : best[0];
        best[1] = end - again < best[1] ? end - again : best[1];
    }
    double pixels = (double)(batch * b->side * b->side), flops = 0;
    if (b->what == CONV || b->what == CONV_HALF || b->what == LINEAR)
        flops = 2 * pixels * (double)(b->in * b->out * b->k * b->k) /
                (b->what == CONV_HALF ? 4 : 1);
    if (b->what == ATTENTION)
        flops = 4 * pixels * (double)(b->side * b->side * b->in);
    double more = b->what == ATTENTION ? 2.5 : 2;
    printf("%-24s fwd %8.3f ms %6.1f GF/s %6.1f GB/s   bwd %8.3f ms %6.1f GF/s\n", b->name,
           1e3 * best[0], 1e-9 * flops / best[0], 4e-9 * (double)values / best[0],
           1e3 * best[1], 1e-9 * more * flops / best[1]);
    param_destroy(p);
}

/* A residual block's two convolutions, alone or with all that stands around them. */
static struct tensor *block(struct tape *t, struct tensor *x, struct tensor *e,
                            struct param_set *p, bool whole)
{
    const struct conv_shape s = {1, {1, 1, 1, 1}};
    struct param *w = param_at(p, 0), *b = param_at(p, 1);
    const struct extras none = {0};
    if (!whole)
        return op_conv2d(t, op_conv2d(t, x, w, b, s, none), w, b, s, none);
    struct tensor *h = op_group_norm(t, one(x), b, b, 8, 1e-5f, true);
    h = op_conv2d(t, h, w, b, s, (struct extras){.shift = e});
    h = op_group_norm(t, one(h), b, b, 8, 1e-5f, true);
    return op_conv2d(t, h, w, b, s, (struct extras){.residual = x});
}

static void measure_block(struct tape *t, int64_t batch, int64_t side, int64_t c)
{
    const int64_t dim[4] = {batch, side, side, c}, edim[2] = {batch, c};
    struct param_set *p = param_create();
    param_declare(p, "w", 4, (const int64_t[]){c, c, 3, 3});
    param_declare(p, "b", 1, &c);
    param_allocate(p, 1);
    double best[2][2] = {{1e9, 1e9}, {1e9, 1e9}};
    for (int i = 0; i < 60; i++) {
        tape_begin(t, true);
        struct tensor *x = tape_tensor(t, 4, dim, true), *e = tape_tensor(t, 2, edim, true);
        memset(x->data, 0, (size_t)tensor_count(x) * sizeof(float));
        memset(e->data, 0, (size_t)tensor_count(e) * sizeof(float));
        double start = clock_s();
        struct tensor *y = block(t, x, e, p, i % 2);
        double middle = clock_s();
        tape_backward(t, y, x->data);
        double end = clock_s(), *to = best[i % 2];
        to[0] = middle - start < to[0] ? middle - start : to[0];
        to[1] = end - middle < to[1] ? end - middle : to[1];
    }
    printf("block %lld @%lld: fwd %.2f ms, outside convolution %.0f %%; bwd %.2f ms, "
           "%.0f %%\n",
           (long long)c, (long long)side, 1e3 * best[1][0],
           100 * (1 - best[0][0] / best[1][0]), 1e3 * best[1][1],
           100 * (1 - best[0][1] / best[1][1]));
    param_destroy(p);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    int64_t batch = argc > 2 ? atoll(argv[2]) : 16;
    const struct backend *b = backend_get(argc > 3 ? argv[3] : "onednn", threads);
    char text[100];
    if (b == NULL || batch < 1)
        return 2;
    backend_describe(b, text, sizeof text);
    printf("%s, %d threads, batch %lld\n", text, threads, (long long)batch);
    struct tape *t = tape_create(b);
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++)
        measure(&benches[i], t, batch);
    measure_block(t, batch, 32, 32);
    measure_block(t, batch, 16, 64);
    measure_block(t, batch, 8, 64);
    measure_block(t, batch, 32, 128);
    tape_destroy(t);
    return 0;
}
