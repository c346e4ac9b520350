/* Which kernel does a convolution: Winograd's for 3 x 3 with stride 1 in float32,
 * oneDNN's for everything else and for bfloat16. The emulated ones do bfloat16 by
 * float32 arithmetic between bfloat16 ends, on any processor. */
#include "stages/nn/fast.h"

#include "io/sys/mem.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn.h"
#include "stages/nn/vec.h"
#include "stages/nn/winograd.h"

#include <omp.h>

/* Packed filters for one parameter, of one rounding. */
struct filters {
    struct packed base;
    bool round;
    float *forward, *backward;
    uint64_t forward_stamp, backward_stamp;
};

static void filters_destroy(struct packed *p)
{
    struct filters *f = (struct filters *)p;
    mem_free(f->forward);
    mem_free(f->backward);
    mem_free(f);
}

static struct filters *filters_of(const struct conv_args *a)
{
    struct filters *f = (struct filters *)packed_find(a->weight, filters_destroy);
    if (f == NULL) {
        f = mem_alloc(1, sizeof *f);
        f->base = (struct packed){.owner = filters_destroy, .destroy = filters_destroy};
        packed_hang(a->weight, &f->base);
    }
    if (f->round != a->round_weight)
        f->forward_stamp = f->backward_stamp = 0;
    f->round = a->round_weight;
    return f;
}

/* Packed filters take 16/9 of the weights' memory, once for each direction. A network
 * that is large keeps them only where it is not trained: packing them in each call of a
 * training step costs about 2 % at 16 items. */
#define LARGE (INT64_C(16) << 20)

static bool keeps_filters(const struct conv_args *a, bool dx)
{
    return param_total(a->weight->set) < LARGE ||
           (!dx && param_grads(a->weight->set) == NULL);
}

static void pack(const struct conv_args *a, bool dx, float *to)
{
    const float *w = a->weight->t.data;
    struct arena_mark mark = arena_mark(a->scratch);
    if (a->round_weight)
        w = weight_rounded(&a->weight->t, a->scratch);
    (dx ? winograd_pack_dx : winograd_pack)(a->c, a->o, w, to);
    arena_release(a->scratch, mark);
}

/* The filter, packed for the current weights; rotated and transposed for dx. Valid
 * during the call. */
static const float *filter(const struct conv_args *a, bool dx)
{
    const int64_t size = dx ? winograd_packed(a->o, a->c) : winograd_packed(a->c, a->o);
    if (!keeps_filters(a, dx)) {
        float *once = arena_take(a->scratch, size, sizeof *once);
        pack(a, dx, once);
        return once;
    }
    struct filters *f = filters_of(a);
    float **to = dx ? &f->backward : &f->forward;
    uint64_t *stamp = dx ? &f->backward_stamp : &f->forward_stamp;
    if (*to != NULL && *stamp == param_stamp(a->weight->set))
        return *to;
    if (*to == NULL)
        *to = mem_alloc(size, sizeof **to);
    pack(a, dx, *to);
    *stamp = param_stamp(a->weight->set);
    return *to;
}

/* From very few channels oneDNN's plain sum is faster. */
enum { FEW = 4 };

static bool by_winograd(const struct conv_args *a)
{
    return a->kh == 3 && a->kw == 3 && a->stride == 1 && a->pad[0] == 1 &&
           a->pad[1] == 1 && a->pad[2] == 1 && a->pad[3] == 1;
}

static float *work_for(const struct winograd_shape *s, struct arena *scratch)
{
    return arena_take(scratch, winograd_work(s, omp_get_max_threads()), sizeof(float));
}

static void conv_f32(const struct conv_args *a)
{
    if (a->c <= FEW || !by_winograd(a)) {
        onednn_conv(a);
        return;
    }
    const struct winograd_shape s = {a->n, a->h, a->w, a->c, a->o};
    const struct winograd_output out = {.bias =
                                            a->bias != NULL ? a->bias->t.data : NULL,
                                        .shift = a->shift,
                                        .residual = a->residual};
    winograd_conv(&s, a->x, filter(a, false), &out, a->y, work_for(&s, a->scratch),
                  omp_get_max_threads());
}

static void conv_dx_f32(const struct conv_args *a)
{
    if (a->o <= FEW || !by_winograd(a)) {
        onednn_conv_dx(a);
        return;
    }
    const struct winograd_shape s = {a->n, a->h, a->w, a->o, a->c};
    const struct winograd_output out = {.add = a->add_dx};
    winograd_conv(&s, a->dy, filter(a, true), &out, a->dx, work_for(&s, a->scratch),
                  omp_get_max_threads());
}

static void conv_dw_f32(const struct conv_args *a)
{
    if (!by_winograd(a)) {
        onednn_conv_dw(a);
        return;
    }
    const struct winograd_shape s = {a->n, a->h, a->w, a->c, a->o};
    winograd_dw(&s, a->x, a->dy, a->weight->t.grad, work_for(&s, a->scratch),
                omp_get_max_threads());
}

static int64_t count_in(const struct conv_args *a)
{
    return a->n * a->h * a->w * a->c;
}

static int64_t count_out(const struct conv_args *a)
{
    return a->n * a->oh * a->ow * a->o;
}

static float *widened(int64_t n, const void *x, struct arena *scratch)
{
    float *to = arena_take(scratch, n, sizeof *to);
    convert_to_f32(n, x, to);
    return to;
}

void fast_conv(const struct conv_args *a)
{
    (a->type == DTYPE_F32 ? conv_f32 : onednn_conv)(a);
}

void fast_conv_dx(const struct conv_args *a)
{
    (a->type == DTYPE_F32 ? conv_dx_f32 : onednn_conv_dx)(a);
}

void fast_conv_dw(const struct conv_args *a)
{
    (a->type == DTYPE_F32 ? conv_dw_f32 : native_conv_dw)(a);
}

/* Items that are widened at a time: the memory does not grow with the batch. */
enum { WIDE = 4 };

/* Items [first, first + n) of a, in float32 but for what the caller sets. */
static struct conv_args some_items(const struct conv_args *a, int64_t first, int64_t n)
{
    struct conv_args b = *a;
    b.n = n;
    b.type = DTYPE_F32;
    b.round_weight = true;
    if (a->shift != NULL)
        b.shift = a->shift + first * a->o;
    return b;
}

static const bf16 *from(const void *base, int64_t at)
{
    return (const bf16 *)base + at;
}

void emulated_conv(const struct conv_args *a)
{
    if (a->type == DTYPE_F32) {
        conv_f32(a);
        return;
    }
    const int64_t in = a->h * a->w * a->c, out = a->oh * a->ow * a->o;
    for (int64_t i = 0; i < a->n; i += WIDE) {
        struct arena_mark mark = arena_mark(a->scratch);
        struct conv_args b = some_items(a, i, a->n - i < WIDE ? a->n - i : WIDE);
        float *y = arena_take(a->scratch, b.n * out, sizeof *y);
        b.x = widened(b.n * in, from(a->x, i * in), a->scratch);
        if (a->residual != NULL)
            b.residual = widened(b.n * out, from(a->residual, i * out), a->scratch);
        b.y = y;
        conv_f32(&b);
        convert_to_bf16(b.n * out, y, (bf16 *)a->y + i * out, false);
        arena_release(a->scratch, mark);
    }
}

void emulated_conv_dx(const struct conv_args *a)
{
    if (a->type == DTYPE_F32) {
        conv_dx_f32(a);
        return;
    }
    const int64_t in = a->h * a->w * a->c, out = a->oh * a->ow * a->o;
    for (int64_t i = 0; i < a->n; i += WIDE) {
        struct arena_mark mark = arena_mark(a->scratch);
        struct conv_args b = some_items(a, i, a->n - i < WIDE ? a->n - i : WIDE);
        float *dx = arena_take(a->scratch, b.n * in, sizeof *dx);
        b.dy = widened(b.n * out, from(a->dy, i * out), a->scratch);
        b.dx = dx;
        b.add_dx = false;
        conv_dx_f32(&b);
        convert_to_bf16(b.n * in, dx, (bf16 *)a->dx + i * in, a->add_dx);
        arena_release(a->scratch, mark);
    }
}

void emulated_conv_dw(const struct conv_args *a)
{
    if (a->type == DTYPE_F32) {
        conv_dw_f32(a);
        return;
    }
    struct conv_args b = *a;
    b.type = DTYPE_F32;
    b.x = widened(count_in(a), a->x, a->scratch);
    b.dy = widened(count_out(a), a->dy, a->scratch);
    conv_dw_f32(&b);
}
