/* Every operation's backward against central differences of its own forward (fourth
 * order, step 1/16), for each back end; one rank. Inputs are used twice where an
 * operation has one input, so that sums of gradients are covered. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/ops.h"
#include "tests/tap.h"

struct shape {
    int nd;
    int64_t dim[4];
};

struct op_case {
    const char *name;
    struct shape in[3], param[3];
    struct tensor *(*build)(struct tape *t, struct tensor **in, struct param_set *p);
};

#define P(i) param_at(p, i)

static const struct extras none;

static struct inputs one(struct tensor *x)
{
    return (struct inputs){.first = x};
}

static struct tensor *conv3(struct tape *t, struct tensor **in, struct param_set *p)
{
    return op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){1, {1, 1, 1, 1}}, none);
}

/* Everything that may be added; the residual is used once more. */
static struct tensor *conv3_extras(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct extras e = {.shift = in[1], .residual = in[2]};
    struct tensor *y =
        op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){1, {1, 1, 1, 1}}, e);
    return op_concat(t, op_silu(t, y), in[2]);
}

static struct tensor *conv3_down_extras(struct tape *t, struct tensor **in,
                                        struct param_set *p)
{
    struct extras e = {.shift = in[1], .residual = in[2]};
    return op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){2, {1, 1, 1, 1}}, e);
}

static struct tensor *conv3_no_bias(struct tape *t, struct tensor **in,
                                    struct param_set *p)
{
    return op_conv2d(t, in[0], P(0), NULL, (struct conv_shape){1, {1, 1, 1, 1}}, none);
}

static struct tensor *conv3_down(struct tape *t, struct tensor **in,
                                 struct param_set *p)
{
    return op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){2, {1, 1, 1, 1}}, none);
}

static struct tensor *conv3_down_uneven(struct tape *t, struct tensor **in,
                                        struct param_set *p)
{
    return op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){2, {0, 1, 0, 1}}, none);
}

/* The last row and column are in no window. */
static struct tensor *conv3_down_bare(struct tape *t, struct tensor **in,
                                      struct param_set *p)
{
    const struct conv_shape s = {2, {0, 0, 0, 0}};
    struct tensor *x = op_silu(t, op_affine(t, in[0], 2, 0));
    return op_conv2d(t, x, P(0), P(1), s, none);
}

static struct tensor *conv1(struct tape *t, struct tensor **in, struct param_set *p)
{
    return op_conv2d(t, in[0], P(0), P(1), (struct conv_shape){1, {0, 0, 0, 0}}, none);
}

static struct tensor *conv_twice(struct tape *t, struct tensor **in,
                                 struct param_set *p)
{
    struct tensor *y = op_add(t, in[0], conv3(t, in, p), 1.5f);
    return op_concat(t, y, conv3(t, in, p));
}

static struct tensor *linear(struct tape *t, struct tensor **in, struct param_set *p)
{
    return op_linear(t, one(in[0]), P(0), P(1), NULL);
}

static struct tensor *linear_parts(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct inputs x = {in[0], in[1]};
    return op_add(t, op_linear(t, x, P(0), P(1), in[2]), in[2], 1);
}

static struct tensor *linear_twice(struct tape *t, struct tensor **in,
                                   struct param_set *p)
{
    return op_add(t, op_linear(t, one(in[0]), P(0), NULL, in[0]), in[0], 2);
}

static struct tensor *norm(struct tape *t, struct tensor **in, struct param_set *p)
{
    return op_group_norm(t, one(in[0]), P(0), P(1), 4, 1e-5f, false);
}

/* The groups of 3 channels do not fit the parts of 8 and 4. */
static struct tensor *norm_parts(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct inputs x = {in[0], in[1]};
    return op_concat(t, op_group_norm(t, x, P(0), P(1), 4, 1e-5f, true), in[1]);
}

/* A part of a network as one operation, its inside computed again in the backward. */
static void segment(struct tape *t, const void *ctx, struct tensor *const *in,
                    struct tensor **out)
{
    struct param_set *p = *(struct param_set *const *)ctx;
    struct tensor *h = op_group_norm(t, one(in[0]), P(0), P(1), 4, 1e-5f, true);
    struct tensor *y = op_add(t, h, in[1], 2), *z = op_silu(t, y);
    tape_release(t, h);
    tape_release(t, y);
    *out = op_view(t, z, 3, (const int64_t[]){2, 20, 12});
    tape_release(t, z);
}

static struct tensor *segments(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct tensor *given[4] = {in[0], in[1]}, *y;
    tape_set_recompute(t, true);
    y = tape_segment(t, segment, &p, sizeof p, given, 2);
    y = op_view(t, y, 4, in[0]->dim);
    given[1] = y;
    y = tape_segment(t, segment, &p, sizeof p, given, 2);
    tape_set_recompute(t, false);
    return y;
}

static struct tensor *norm_silu(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct tensor *y = op_group_norm(t, one(in[0]), P(0), P(1), 4, 1e-5f, true);
    return op_add(t, y, op_affine(t, in[0], 0.5f, 1), 1);
}

static struct tensor *silu(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_add(t, op_silu(t, op_affine(t, in[0], 3, 0.25f)), in[0], 1);
}

static struct tensor *silu_of_sum(struct tape *t, struct tensor **in,
                                  struct param_set *p)
{
    (void)p;
    return op_add(t, op_add(t, in[0], in[1], 1), op_silu(t, in[0]), 3);
}

static struct tensor *concat(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_concat(t, in[0], op_concat(t, in[1], in[0]));
}

static struct tensor *upsample(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_concat(t, op_upsample2(t, in[0]), op_silu(t, op_upsample2(t, in[0])));
}

/* Values that are given up and made again from others that were given up, seen through
 * a view; both parts of an input are one tensor; a gradient is handed to a leaf through
 * a view. */
static struct tensor *remade(struct tape *t, struct tensor **in, struct param_set *p)
{
    const int64_t flat[3] = {2, 24, 12};
    struct tensor *up = op_upsample2(t, in[0]);
    struct tensor *h = op_group_norm(t, (struct inputs){up, up}, P(0), P(1), 4, 1e-5f, true);
    struct tensor *seen = op_view(t, h, 3, flat);
    tape_release(t, up);
    tape_release(t, h);
    struct tensor *y = op_linear(t, one(seen), P(2), NULL, seen);
    struct tensor *z = op_linear(t, (struct inputs){seen, NULL}, P(2), NULL,
                                 op_view(t, in[1], 3, flat));
    tape_release(t, seen);
    struct tensor *sum = op_add(t, y, z, 1);
    tape_release(t, y);
    tape_release(t, z);
    return sum;
}

/* Inputs of a segment that are remade themselves and used once more outside. */
static struct tensor *segment_of_remade(struct tape *t, struct tensor **in,
                                        struct param_set *p)
{
    struct tensor *h = op_group_norm(t, one(in[0]), P(0), P(1), 4, 1e-5f, true);
    struct tensor *given[4] = {h, h};
    tape_set_recompute(t, true);
    struct tensor *y = tape_segment(t, segment, &p, sizeof p, given, 2);
    tape_set_recompute(t, false);
    struct tensor *z = op_silu(t, op_view(t, h, 3, (const int64_t[]){2, 20, 12}));
    tape_release(t, h);
    return op_add(t, y, z, 1);
}

static struct tensor *attention(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_attention(t, in[0], in[1], in[2], 2);
}

static struct tensor *attention_one(struct tape *t, struct tensor **in,
                                    struct param_set *p)
{
    (void)p;
    return op_attention(t, in[0], in[0], in[0], 1);
}

static struct tensor *embedding(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)in;
    return op_embedding(t, P(0), (const int64_t[]){2, 0, 2, 4}, 4);
}

static struct tensor *layout(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    struct tensor *y = op_silu(t, op_to_channels_last(t, in[0]));
    return op_add(t, op_to_channels_first(t, y), in[0], 1);
}

static struct tensor *gelu(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_add(t, op_gelu(t, op_affine(t, in[0], 2, 0.25f)), in[0], 1);
}

/* The table has three chunks of which one is not used. */
static struct tensor *modulated_norm(struct tape *t, struct tensor **in,
                                     struct param_set *p)
{
    (void)p;
    struct modulate at = {.shift = 2, .scale = 0};
    struct tensor *y = op_modulated_norm(t, in[0], in[1], at, 1e-5f);
    return op_add(t, op_modulated_norm(t, op_silu(t, y), in[1], at, 1e-5f), in[0], 1);
}

static struct tensor *gate(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    struct tensor *y = op_gate(t, in[0], op_silu(t, in[1]), in[2], 1);
    return op_gate(t, y, in[1], in[2], 0);
}

static struct tensor *gate_same(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_gate(t, in[0], in[0], in[1], 0);
}

static struct tensor *add_table(struct tape *t, struct tensor **in, struct param_set *p)
{
    return op_add(t, op_silu(t, op_add_table(t, in[0], P(0))), in[0], 1);
}

static struct tensor *guide(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    return op_add(t, op_guide(t, op_silu(t, in[0]), 2.5f), op_guide(t, in[0], 0.5f), 1);
}

/* A transformer's branch, its inside made again in the backward. */
static void branch(struct tape *t, const void *ctx, struct tensor *const *in,
                   struct tensor **out)
{
    struct param_set *p = *(struct param_set *const *)ctx;
    struct modulate at = {.shift = 0, .scale = 1};
    struct tensor *h = op_modulated_norm(t, in[0], in[1], at, 1e-5f);
    struct tensor *wide = op_linear(t, one(op_affine(t, h, 0.2f, 0)), P(0), P(1), NULL);
    struct tensor *y = op_gelu(t, wide);
    tape_release(t, h);
    tape_release(t, wide);
    *out = op_gate(t, in[0], y, in[1], 2);
    tape_release(t, y);
}

static struct tensor *branches(struct tape *t, struct tensor **in, struct param_set *p)
{
    struct tensor *given[4] = {in[0], in[1]};
    branch(t, &p, given, &given[0]);
    tape_set_recompute(t, true);
    given[0] = tape_segment(t, branch, &p, sizeof p, given, 2);
    tape_set_recompute(t, false);
    return given[0];
}

static struct tensor *view(struct tape *t, struct tensor **in, struct param_set *p)
{
    (void)p;
    struct tensor *flat = op_view(t, in[0], 3, (const int64_t[]){2, 12, 5});
    struct tensor *y = op_silu(t, flat);
    return op_add(t, op_view(t, y, 4, in[0]->dim), in[0], 1);
}

static const struct op_case cases[] = {
    {"conv 3x3", {{4, {2, 5, 6, 3}}}, {{4, {8, 3, 3, 3}}, {1, {8}}}, conv3},
    {"conv 3x3, 16 to 3", {{4, {3, 4, 4, 16}}}, {{4, {3, 16, 3, 3}}, {1, {3}}}, conv3},
    {"conv 3x3, shift, residual",
     {{4, {2, 5, 4, 3}}, {2, {2, 6}}, {4, {2, 5, 4, 6}}},
     {{4, {6, 3, 3, 3}}, {1, {6}}},
     conv3_extras},
    {"conv 3x3 / 2, shift, residual",
     {{4, {2, 6, 8, 8}}, {2, {2, 8}}, {4, {2, 3, 4, 8}}},
     {{4, {8, 8, 3, 3}}, {1, {8}}},
     conv3_down_extras},
    {"conv 3x3, no bias", {{4, {3, 4, 4, 8}}}, {{4, {16, 8, 3, 3}}}, conv3_no_bias},
    {"conv 3x3 / 2", {{4, {2, 6, 8, 8}}}, {{4, {8, 8, 3, 3}}, {1, {8}}}, conv3_down},
    {"conv 3x3 / 2, pad 0 1 0 1",
     {{4, {2, 6, 8, 8}}},
     {{4, {16, 8, 3, 3}}, {1, {16}}},
     conv3_down_uneven},
    {"conv 3x3 / 2, no pad",
     {{4, {2, 6, 8, 8}}},
     {{4, {16, 8, 3, 3}}, {1, {16}}},
     conv3_down_bare},
    {"conv 3x3 of one pixel, one channel",
     {{4, {1, 1, 1, 1}}},
     {{4, {1, 1, 3, 3}}, {1, {1}}},
     conv3},
    {"conv 3x3 of one row, 5 to 9", {{4, {1, 1, 5, 5}}}, {{4, {9, 5, 3, 3}}, {1, {9}}}, conv3},
    {"conv 1x1", {{4, {2, 4, 4, 16}}}, {{4, {8, 16, 1, 1}}, {1, {8}}}, conv1},
    {"conv twice", {{4, {2, 4, 4, 8}}}, {{4, {8, 8, 3, 3}}, {1, {8}}}, conv_twice},
    {"linear [N, C]", {{2, {5, 12}}}, {{2, {20, 12}}, {1, {20}}}, linear},
    {"linear [N, T, C]", {{3, {2, 9, 16}}}, {{2, {24, 16}}, {1, {24}}}, linear},
    {"linear of two parts, residual",
     {{3, {2, 7, 9}}, {3, {2, 7, 5}}, {3, {2, 7, 11}}},
     {{2, {11, 14}}, {1, {11}}},
     linear_parts},
    {"linear twice", {{3, {2, 7, 16}}}, {{2, {16, 16}}}, linear_twice},
    {"group norm", {{4, {2, 4, 5, 12}}}, {{1, {12}}, {1, {12}}}, norm},
    {"group norm of two parts",
     {{4, {2, 4, 5, 8}}, {4, {2, 4, 5, 4}}},
     {{1, {12}}, {1, {12}}},
     norm_parts},
    {"segments",
     {{4, {2, 4, 5, 12}}, {4, {2, 4, 5, 12}}},
     {{1, {12}}, {1, {12}}},
     segments},
    {"remade of remade",
     {{4, {2, 2, 3, 6}}, {4, {2, 4, 6, 12}}},
     {{1, {12}}, {1, {12}}, {2, {12, 12}}},
     remade},
    {"segment of remade",
     {{4, {2, 4, 5, 12}}},
     {{1, {12}}, {1, {12}}},
     segment_of_remade},
    {"group norm [N, T, C]", {{3, {3, 7, 16}}}, {{1, {16}}, {1, {16}}}, norm},
    {"group norm + silu", {{4, {2, 5, 5, 32}}}, {{1, {32}}, {1, {32}}}, norm_silu},
    {"silu", {{3, {3, 5, 7}}}, {{0}}, silu},
    {"add", {{3, {3, 5, 7}}, {3, {3, 5, 7}}}, {{0}}, silu_of_sum},
    {"concat", {{4, {2, 3, 3, 8}}, {4, {2, 3, 3, 5}}}, {{0}}, concat},
    {"upsample", {{4, {2, 3, 4, 6}}}, {{0}}, upsample},
    {"attention, 2 heads",
     {{3, {2, 9, 16}}, {3, {2, 9, 16}}, {3, {2, 9, 16}}},
     {{0}},
     attention},
    {"attention, q = k = v", {{3, {2, 70, 8}}}, {{0}}, attention_one},
    {"embedding", {{0}}, {{2, {5, 6}}}, embedding},
    {"gelu", {{3, {3, 5, 7}}}, {{0}}, gelu},
    {"modulated norm", {{3, {2, 19, 12}}, {2, {2, 36}}}, {{0}}, modulated_norm},
    {"modulated norm [N, C]", {{2, {3, 21}}, {2, {3, 63}}}, {{0}}, modulated_norm},
    {"gate", {{3, {2, 18, 11}}, {3, {2, 18, 11}}, {2, {2, 22}}}, {{0}}, gate},
    {"gate, x = h", {{3, {2, 3, 8}}, {2, {2, 8}}}, {{0}}, gate_same},
    {"add a table", {{3, {3, 5, 7}}}, {{2, {5, 7}}}, add_table},
    {"guide", {{3, {4, 3, 5}}}, {{0}}, guide},
    {"branches", {{3, {2, 5, 32}}, {2, {2, 96}}}, {{2, {32, 32}}, {1, {32}}}, branches},
    {"layout", {{4, {2, 3, 4, 5}}}, {{0}}, layout},
    {"view", {{4, {2, 3, 4, 5}}}, {{0}}, view},
};

struct run {
    const struct op_case *c;
    struct tape *tape;
    struct param_set *params;
    float *in[3]; /* values */
};

static struct tensor *forward(const struct run *r, bool record, struct tensor **in)
{
    tape_begin(r->tape, record);
    for (int i = 0; i < 3 && r->c->in[i].nd > 0; i++) {
        in[i] = tape_tensor(r->tape, r->c->in[i].nd, r->c->in[i].dim, true);
        memcpy(in[i]->data, r->in[i], (size_t)tensor_count(in[i]) * sizeof(float));
    }
    return r->c->build(r->tape, in, r->params);
}

/* sum of seed * out, seed i = normal(i). */
static double loss(const struct run *r)
{
    struct tensor *in[3], *out = forward(r, false, in);
    int64_t n = tensor_count(out);
    float *seed = mem_alloc(n, sizeof *seed);
    double sum = 0;
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), seed, n);
    for (int64_t i = 0; i < n; i++)
        sum += (double)seed[i] * out->data[i];
    mem_free(seed);
    return sum;
}

static double difference(const struct run *r, float *at)
{
    const float h = 0.0625f, x = *at;
    double f[4];
    for (int i = 0; i < 4; i++) {
        *at = x + h * (float)(i < 2 ? i - 2 : i - 1);
        param_touch(r->params);
        f[i] = loss(r);
    }
    *at = x;
    param_touch(r->params);
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * (double)h);
}

/* Largest error over up to 40 values, relative to the largest gradient. */
static double worst(const struct run *r, float *values, const float *grad, int64_t n)
{
    double err = 0, scale = 1e-3;
    int64_t step = n / 40 + 1;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs((double)grad[i]));
    for (int64_t i = 0; i < n; i += step) {
        double e = fabs(difference(r, &values[i]) - grad[i]);
        err = e <= err ? err : e; /* keeps a NaN */
    }
    return err / scale;
}

static void check(const struct backend *b, const struct op_case *c)
{
    struct run r = {.c = c, .tape = tape_create(b), .params = param_create()};
    struct tensor *in[3];
    double err = 0;
    for (int i = 0; i < 3 && c->param[i].nd > 0; i++)
        param_declare(r.params, i == 0 ? "a.weight" : "a.bias", c->param[i].nd,
                      c->param[i].dim);
    param_allocate(r.params, 1);
    rng_normal(rng_key(2, RNG_TEST, 0, 0, 0, 0), param_values(r.params),
               param_total(r.params));
    for (int i = 0; i < 3 && c->in[i].nd > 0; i++) {
        int64_t n = 1;
        for (int j = 0; j < c->in[i].nd; j++)
            n *= c->in[i].dim[j];
        r.in[i] = mem_alloc(n, sizeof(float));
        rng_normal(rng_key(3, RNG_TEST, i, 0, 0, 0), r.in[i], n);
    }
    struct tensor *out = forward(&r, true, in);
    int64_t n = tensor_count(out);
    float *seed = mem_alloc(n, sizeof *seed);
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), seed, n);
    tape_backward(r.tape, out, seed);
    float *grads[3] = {NULL};
    int64_t count[3] = {0};
    for (int i = 0; i < 3 && c->in[i].nd > 0; i++) {
        count[i] = tensor_count(in[i]);
        grads[i] = mem_alloc(count[i], sizeof(float));
        memcpy(grads[i], in[i]->grad, (size_t)count[i] * sizeof(float));
    }
    for (int i = 0; i < 3 && c->in[i].nd > 0; i++)
        err = fmax(err, worst(&r, r.in[i], grads[i], count[i]));
    for (int64_t i = 0; i < param_number(r.params); i++) {
        struct param *p = param_at(r.params, i);
        err = fmax(err, worst(&r, p->t.data, p->t.grad, tensor_count(&p->t)));
    }
    tap_ok(err < 4e-4, "%s: %s: error %.1e", backend_name(b), c->name, err);
    for (int i = 0; i < 3; i++) {
        mem_free(r.in[i]);
        mem_free(grads[i]);
    }
    mem_free(seed);
    tape_destroy(r.tape);
    param_destroy(r.params);
}

/* Gradients of parameters are added; a tensor off the path gets zeros. */
static void check_sums(const struct backend *b)
{
    struct tape *t = tape_create(b);
    struct param_set *p = param_create();
    param_declare(p, "w", 2, (const int64_t[]){1, 1});
    param_allocate(p, 1);
    P(0)->t.data[0] = 3;
    param_touch(p);
    for (int i = 0; i < 2; i++) {
        tape_begin(t, true);
        struct tensor *x = tape_tensor(t, 2, (const int64_t[]){1, 1}, true);
        struct tensor *off = tape_tensor(t, 2, (const int64_t[]){1, 1}, true);
        x->data[0] = 5;
        off->data[0] = 1;
        struct tensor *y = op_linear(t, one(x), P(0), NULL, NULL);
        op_add(t, y, off, 1);
        tape_backward(t, y, (const float[]){2});
        tap_ok(x->grad[0] == 6 && off->grad[0] == 0 &&
                   P(0)->t.grad[0] == 10 * (float)(i + 1),
               "%s: pass %d: parameter gradients add up", backend_name(b), i);
    }
    tape_destroy(t);
    param_destroy(p);
}

int main(void)
{
    static const char *const names[] = {"reference", "onednn"};
    for (int k = 0; k < 2; k++) {
        const struct backend *b = backend_get(names[k], 2);
        if (!tap_ok(b != NULL, "back end %s", names[k]))
            continue;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check(b, &cases[i]);
        check_sums(b);
    }
    tap_ok(backend_get("gpu", 2) == NULL && err_code() == ERR_ENV, "unknown back end");
    return tap_done();
}
