/* Convolutions by oneDNN.
 *
 * Every primitive is made for one thread and runs on one item (weight gradients: on a
 * slice of the batch whose size follows from the shape alone), and our threads share
 * the items. So a result depends neither on the place in the batch nor on the number of
 * threads, whatever kernel oneDNN chooses, and no parallel region is opened inside a
 * primitive. Primitives, and the packed copies of the weights that they want, hang on
 * the weights. */
#include "stages/nn/onednn.h"
#include "stages/nn/onednn_internal.h"

#include "io/sys/mem.h"
#include "stages/nn/accumulate.h"

#include <omp.h>
#include <string.h>

enum kind { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS };

/* Channels, order and so on of a convolution; all zero bytes but the fields. */
struct key {
    int64_t n, h, w, c, oh, ow, o, kh, kw, stride, pad[4], bias, add, kind, type,
        rounded;
};

enum { SRC, WEIGHTS, BIAS, DST, SCRATCH, ARGS };

/* A primitive with its memory objects, one set per thread, and the reorder between the
 * weights as in the file and as the primitive wants them. */
struct conv {
    struct key key;
    dnnl_primitive_t primitive, reorder;
    size_t weight_bytes, scratch_bytes;
    dnnl_memory_t *memory;    /* [threads, ARGS] */
    dnnl_memory_t plain, own; /* the reorder's two sides */
    void *packed;             /* NULL for weight gradients */
    uint64_t stamp;           /* of the values in packed */
    struct conv *next;
};

struct convs {
    struct packed base;
    struct conv *first;
};

/* Descriptors of one convolution. */
struct conv_desc {
    dnnl_memory_desc_t src, weights, bias, dst;
    bool with_bias, add;
    dnnl_dims_t stride, dense, left, right;
};

static dnnl_primitive_desc_t conv_pd(enum kind kind, const struct conv_desc *d,
                                     const_dnnl_primitive_desc_t hint)
{
    const_dnnl_primitive_attr_t attr =
        d->add ? onednn_get()->user_scratch_add : onednn_get()->user_scratch;
    desc_ref s = REF(d->src), w = REF(d->weights), y = REF(d->dst);
    desc_ref b = d->with_bias ? REF(d->bias) : NULL;
    dnnl_primitive_desc_t pd;
#if V3
    if (kind == FORWARD)
        CHECK(dnnl_convolution_forward_primitive_desc_create(
            &pd, onednn_get()->engine, dnnl_forward_training, dnnl_convolution_direct,
            s, w, b, y, d->stride, d->dense, d->left, d->right, attr));
    else if (kind == BACKWARD_DATA)
        CHECK(dnnl_convolution_backward_data_primitive_desc_create(
            &pd, onednn_get()->engine, dnnl_convolution_direct, s, w, y, d->stride,
            d->dense, d->left, d->right, hint, attr));
    else
        CHECK(dnnl_convolution_backward_weights_primitive_desc_create(
            &pd, onednn_get()->engine, dnnl_convolution_direct, s, w, b, y, d->stride,
            d->dense, d->left, d->right, hint, attr));
#else
    dnnl_convolution_desc_t op;
    if (kind == FORWARD)
        CHECK(dnnl_dilated_convolution_forward_desc_init(
            &op, dnnl_forward_training, dnnl_convolution_direct, s, w, b, y, d->stride,
            d->dense, d->left, d->right));
    else if (kind == BACKWARD_DATA)
        CHECK(dnnl_dilated_convolution_backward_data_desc_init(
            &op, dnnl_convolution_direct, s, w, y, d->stride, d->dense, d->left,
            d->right));
    else
        CHECK(dnnl_dilated_convolution_backward_weights_desc_init(
            &op, dnnl_convolution_direct, s, w, b, y, d->stride, d->dense, d->left,
            d->right));
    CHECK(dnnl_primitive_desc_create(&pd, &op, attr, onednn_get()->engine, hint));
#endif
    return pd;
}

static struct conv_desc conv_desc_make(const struct key *k)
{
    const dnnl_data_type_t type = onednn_type((enum dtype)k->type);
    const dnnl_dims_t src = {k->n, k->c, k->h, k->w},
                      weights = {k->o, k->c, k->kh, k->kw};
    const dnnl_dims_t bias = {k->o}, dst = {k->n, k->o, k->oh, k->ow};
    /* oneDNN wants the far padding that fits exactly: rows that no window of a strided
     * convolution reaches are cut (negative padding). */
    int64_t far_h = (k->oh - 1) * k->stride + k->kh - k->h - k->pad[0];
    int64_t far_w = (k->ow - 1) * k->stride + k->kw - k->w - k->pad[2];
    return (struct conv_desc){
        .src = onednn_desc(4, src, type, dnnl_nhwc),
        .weights =
            onednn_desc(4, weights, k->kind == BACKWARD_WEIGHTS ? dnnl_f32 : type,
                        dnnl_format_tag_any),
        .bias = onednn_desc(1, bias, dnnl_f32, dnnl_a),
        .dst = onednn_desc(4, dst, type, dnnl_nhwc),
        .with_bias = k->bias != 0,
        .add = k->add != 0,
        .stride = {k->stride, k->stride},
        .left = {k->pad[0], k->pad[2]},
        .right = {far_h, far_w},
    };
}

static void conv_memory(struct conv *v, const_dnnl_primitive_desc_t pd,
                        const struct conv_desc *d, desc_ref weights)
{
    desc_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    desc_ref desc[ARGS] = {REF(d->src), weights, REF(d->bias), REF(d->dst), scratch};
    v->weight_bytes = dnnl_memory_desc_get_size(weights);
    v->scratch_bytes = (dnnl_memory_desc_get_size(scratch) + 63) / 64 * 64;
    v->memory = mem_alloc((int64_t)onednn_get()->threads * ARGS, sizeof *v->memory);
    for (int i = 0; i < onednn_get()->threads * ARGS; i++)
        CHECK(dnnl_memory_create(&v->memory[i], desc[i % ARGS], onednn_get()->engine,
                                 DNNL_MEMORY_NONE));
}

/* Weights as in the file -> the primitive's, or the way back, added, for gradients. */
static void conv_reorder(struct conv *v, desc_ref weights)
{
    const dnnl_dims_t dim = {v->key.o, v->key.c, v->key.kh, v->key.kw};
    dnnl_memory_desc_t plain = onednn_desc(4, dim, dnnl_f32, dnnl_oihw);
    bool back = v->key.kind == BACKWARD_WEIGHTS;
    desc_ref from = back ? weights : REF(plain), to = back ? REF(plain) : weights;
    dnnl_primitive_desc_t pd;
    CHECK(dnnl_reorder_primitive_desc_create(&pd, from, onednn_get()->engine, to,
                                             onednn_get()->engine,
                                             back ? onednn_get()->add : NULL));
    CHECK(dnnl_primitive_create(&v->reorder, pd));
    CHECK(dnnl_primitive_desc_destroy(pd));
    CHECK(dnnl_memory_create(&v->plain, REF(plain), onednn_get()->engine,
                             DNNL_MEMORY_NONE));
    CHECK(dnnl_memory_create(&v->own, weights, onednn_get()->engine, DNNL_MEMORY_NONE));
    onednn_desc_drop(plain);
    if (!back)
        v->packed = mem_alloc((int64_t)v->weight_bytes, 1);
}

static void conv_desc_drop(struct conv_desc d)
{
    onednn_desc_drop(d.src);
    onednn_desc_drop(d.weights);
    onednn_desc_drop(d.bias);
    onednn_desc_drop(d.dst);
}

/* A forward convolution's, which a backward one asks for. Its weights are of the
 * activations' type also where their gradients are float32. */
static dnnl_primitive_desc_t conv_hint(struct key k)
{
    k.kind = FORWARD;
    struct conv_desc d = conv_desc_make(&k);
    dnnl_primitive_desc_t pd = conv_pd(FORWARD, &d, NULL);
    conv_desc_drop(d);
    return pd;
}

static struct conv *conv_create(const struct key *k)
{
    struct conv *v = mem_alloc(1, sizeof *v);
    struct conv_desc d = conv_desc_make(k);
    const int threads = omp_get_max_threads();
    const bool gradient = k->kind == BACKWARD_WEIGHTS;
    dnnl_primitive_desc_t pd = NULL, hint = NULL;
    v->key = *k;
    omp_set_num_threads(1); /* the primitive is made for as many */
    if (k->kind != FORWARD)
        hint = conv_hint(*k);
    pd = conv_pd((enum kind)k->kind, &d, hint);
    desc_ref weights = dnnl_primitive_desc_query_md(
        pd, gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    CHECK(dnnl_primitive_create(&v->primitive, pd));
    conv_memory(v, pd, &d, weights);
    omp_set_num_threads(threads);
    conv_reorder(v, weights);
    if (hint != NULL)
        CHECK(dnnl_primitive_desc_destroy(hint));
    CHECK(dnnl_primitive_desc_destroy(pd));
    conv_desc_drop(d);
    return v;
}

static void convs_destroy(struct packed *p)
{
    struct convs *all = (struct convs *)p;
    while (all->first != NULL) {
        struct conv *v = all->first;
        all->first = v->next;
        for (int i = 0; i < onednn_get()->threads * ARGS; i++)
            dnnl_memory_destroy(v->memory[i]);
        dnnl_memory_destroy(v->plain);
        dnnl_memory_destroy(v->own);
        dnnl_primitive_destroy(v->primitive);
        dnnl_primitive_destroy(v->reorder);
        mem_free(v->memory);
        mem_free(v->packed);
        mem_free(v);
    }
    mem_free(all);
}

static void conv_run_reorder(const struct conv *v, const float *plain, const void *own)
{
    bool back = v->key.kind == BACKWARD_WEIGHTS;
    onednn_handle(v->plain, plain);
    onednn_handle(v->own, own);
    onednn_reorder(v->reorder, back ? v->own : v->plain, back ? v->plain : v->own);
}

static struct conv *conv_lookup(struct param *weight, const struct key *k)
{
    struct convs *all = (struct convs *)packed_find(weight, convs_destroy);
    if (all == NULL) {
        all = mem_alloc(1, sizeof *all);
        all->base = (struct packed){.owner = convs_destroy, .destroy = convs_destroy};
        packed_hang(weight, &all->base);
    }
    struct conv *v = all->first;
    while (v != NULL && memcmp(&v->key, k, sizeof *k) != 0)
        v = v->next;
    if (v == NULL) {
        v = conv_create(k);
        v->next = all->first;
        all->first = v;
    }
    return v;
}

/* The primitive of that kind for n items at a time, its weights up to date. */
static struct conv *conv_find(const struct conv_args *a, enum kind kind, int64_t n)
{
    const bool packs = kind != BACKWARD_WEIGHTS;
    struct key k = {.n = n,
                    .h = a->h,
                    .w = a->w,
                    .c = a->c,
                    .oh = a->oh,
                    .ow = a->ow,
                    .o = a->o,
                    .kh = a->kh,
                    .kw = a->kw,
                    .stride = a->stride,
                    .pad = {a->pad[0], a->pad[1], a->pad[2], a->pad[3]},
                    .bias = kind == FORWARD && (a->bias != NULL || a->shift != NULL),
                    .add = kind == FORWARD && a->residual != NULL,
                    .kind = kind,
                    .type = a->type,
                    .rounded = packs && a->round_weight};
    struct conv *v = conv_lookup(a->weight, &k);
    if (packs && v->stamp != param_stamp(a->weight->set)) {
        const float *plain = a->weight->t.data;
        struct arena_mark mark = arena_mark(a->scratch);
        if (a->round_weight)
            plain = weight_rounded(&a->weight->t, a->scratch);
        conv_run_reorder(v, plain, v->packed);
        arena_release(a->scratch, mark);
        v->stamp = param_stamp(a->weight->set);
    }
    return v;
}

/* Runs on the calling thread's memory objects. */
static void conv_run(const struct conv *v, const void *src, const void *weights,
                     const float *bias, const void *dst, char *scratch)
{
    static const int roles[][ARGS] = {
        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST,
         DNNL_ARG_SCRATCHPAD},
        {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DIFF_DST,
         DNNL_ARG_SCRATCHPAD},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST,
         DNNL_ARG_SCRATCHPAD}};
    int thread = omp_get_thread_num(), n = 0;
    dnnl_memory_t *m = v->memory + thread * ARGS;
    const void *at[ARGS] = {src, weights, bias, dst,
                            scratch + (size_t)thread * v->scratch_bytes};
    dnnl_exec_arg_t args[ARGS];
    for (int i = 0; i < ARGS; i++) {
        if (at[i] == NULL || (i == SCRATCH && v->scratch_bytes == 0))
            continue;
        onednn_handle(m[i], at[i]);
        args[n++] = (dnnl_exec_arg_t){roles[v->key.kind][i], m[i]};
    }
    CHECK(dnnl_primitive_execute(v->primitive, onednn_get()->stream[thread], n, args));
}

static char *conv_scratch(const struct conv *v, struct arena *a)
{
    return arena_take(a, onednn_get()->threads, v->scratch_bytes);
}

/* Item i of an array of activations of `each` values per item. */
static void *item(const void *base, int64_t i, int64_t each, enum dtype type)
{
    return base == NULL ? NULL : (char *)base + (size_t)(i * each) * dtype_size(type);
}

/* What is added to item i's channels: bias, shift or, in `sum` [n, o], both. */
static const float *item_bias(const struct conv_args *a, int64_t i, float *sum)
{
    const float *bias = a->bias != NULL ? a->bias->t.data : NULL;
    if (a->shift == NULL)
        return bias;
    if (bias == NULL)
        return a->shift + i * a->o;
    for (int64_t j = 0; j < a->o; j++)
        sum[i * a->o + j] = bias[j] + a->shift[i * a->o + j];
    return sum + i * a->o;
}

void onednn_conv(const struct conv_args *a)
{
    const struct conv *v = conv_find(a, FORWARD, 1);
    const int64_t in = a->h * a->w * a->c, out = a->oh * a->ow * a->o;
    char *scratch = conv_scratch(v, a->scratch);
    float *sum = arena_take(a->scratch, a->n * a->o, sizeof *sum);
#pragma omp parallel for schedule(static) num_threads(onednn_get()->threads)
    for (int64_t i = 0; i < a->n; i++) {
        void *y = item(a->y, i, out, a->type);
        if (a->residual != NULL) /* the primitive adds to y */
            accumulate(out, a->type, item(a->residual, i, out, a->type), y, false);
        conv_run(v, item(a->x, i, in, a->type), v->packed, item_bias(a, i, sum), y,
                 scratch);
    }
}

void onednn_conv_dx(const struct conv_args *a)
{
    const struct conv *v = conv_find(a, BACKWARD_DATA, 1);
    const int64_t in = a->h * a->w * a->c, out = a->oh * a->ow * a->o;
    char *scratch = conv_scratch(v, a->scratch);
    char *part = NULL; /* one item of dx per thread, where it is to be added */
    if (a->add_dx)
        part = arena_take(a->scratch, onednn_get()->threads * in, dtype_size(a->type));
#pragma omp parallel for schedule(static) num_threads(onednn_get()->threads)
    for (int64_t i = 0; i < a->n; i++) {
        void *dx = item(a->dx, i, in, a->type);
        void *to = a->add_dx ? item(part, omp_get_thread_num(), in, a->type) : dx;
        conv_run(v, to, v->packed, NULL, item(a->dy, i, out, a->type), scratch);
        if (a->add_dx)
            accumulate(in, a->type, to, dx, true);
    }
}

/* Equal slices of the batch for weight gradients. A slice costs a few passes over the
 * weights, so that it should hold several hundred pixels. */
static int64_t conv_slices(const struct conv_args *a)
{
    int64_t slices = a->n * a->oh * a->ow / 512;
    slices = slices < 2 ? 2 : slices > 16 ? 16 : slices;
    slices = slices < a->n ? slices : a->n;
    while (a->n % slices != 0)
        slices++;
    return slices;
}

/* part[0, ..) += part[1, ..) + .. in order; length values per part. */
static void sum_parts(float *part, int64_t parts, int64_t length)
{
    const int64_t chunk = 4096;
#pragma omp parallel for schedule(static) if (length > chunk)
    for (int64_t first = 0; first < length; first += chunk) {
        int64_t last = first + chunk < length ? first + chunk : length;
        for (int64_t s = 1; s < parts; s++)
            for (int64_t i = first; i < last; i++)
                part[i] += part[s * length + i];
    }
}

void onednn_conv_dw(const struct conv_args *a)
{
    const int64_t slices = conv_slices(a), items = a->n / slices;
    const int64_t in = items * a->h * a->w * a->c, out = items * a->oh * a->ow * a->o;
    const struct conv *v = conv_find(a, BACKWARD_WEIGHTS, items);
    const int64_t length = (int64_t)(v->weight_bytes / sizeof(float));
    char *scratch = conv_scratch(v, a->scratch);
    float *dw = arena_take(a->scratch, slices * length, sizeof *dw);
#pragma omp parallel for schedule(static) num_threads(onednn_get()->threads)
    for (int64_t s = 0; s < slices; s++)
        conv_run(v, item(a->x, s, in, a->type), dw + s * length, NULL,
                 item(a->dy, s, out, a->type), scratch);
    sum_parts(dw, slices, length);
    conv_run_reorder(v, a->weight->t.grad, dw);
}
