/* The network, walked in the order of evaluation. Activations are channels last; x and
 * the output are as in files.
 *
 * Down path: conv_in and every layer's output are kept for the up path, which joins
 * them in reverse order. Level i has half the height and width of level i - 1. */
#include "stages/model/unet2d_layers.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/model/condition.h"

#include <math.h>
#include <string.h>

#define SKIPS (1 + UNET2D_LEVELS * (UNET2D_LAYERS + 1))

static void *create(const struct json *config, const char *path)
{
    struct unet2d *u = mem_alloc(1, sizeof *u);
    if (unet2d_config_read(config, path, &u->c) == 0)
        return u;
    mem_free(u);
    return NULL;
}

/* State of one evaluation. */
struct run {
    const struct unet2d *u;
    struct param_set *set;
    struct tape *t;
    struct tensor *time; /* [N, 4 C0]: SiLU of the embedding, float32 */
};

static struct param *get(const struct run *r, int64_t index)
{
    return param_at(r->set, index);
}

static struct tensor *conv(const struct run *r, struct tensor *x, struct layer l,
                           struct conv_shape s, struct extras e)
{
    return op_conv2d(r->t, x, get(r, l.weight), get(r, l.bias), s, e);
}

static struct tensor *conv3(const struct run *r, struct tensor *x, struct layer l,
                            struct extras e)
{
    return conv(r, x, l, (struct conv_shape){.stride = 1, .pad = {1, 1, 1, 1}}, e);
}

static struct tensor *linear(const struct run *r, struct inputs x, struct layer l,
                             struct tensor *residual)
{
    return op_linear(r->t, x, get(r, l.weight), get(r, l.bias), residual);
}

static struct inputs one(struct tensor *x)
{
    return (struct inputs){.first = x};
}

static struct tensor *norm(const struct run *r, struct inputs x, struct layer l,
                           bool silu)
{
    return op_group_norm(r->t, x, get(r, l.weight), get(r, l.bias), (int)r->u->c.groups,
                         (float)r->u->c.eps, silu);
}

/* The functions below leave their inputs to the caller and own what they return. */

/* x [N, H, W, in] -> [N, H, W, out]; time [N, 4 C0] */
static struct tensor *run_resnet(const struct run *r, struct inputs x,
                                 struct tensor *time, const struct resnet *p,
                                 double scale)
{
    struct tape *t = r->t;
    struct tensor *a = norm(r, x, p->norm1, true);
    struct tensor *shift = linear(r, one(time), p->time, NULL);
    struct tensor *h = conv3(r, a, p->conv1, (struct extras){.shift = shift});
    tape_release(t, a);
    tape_release(t, shift);
    struct tensor *b = norm(r, one(h), p->norm2, true);
    tape_release(t, h);
    struct tensor *side =
        NULL; /* what conv2's result is added to, where not x itself */
    if (p->shortcut.weight >= 0)
        side = linear(r, x, p->shortcut, NULL);
    else if (x.second != NULL)
        side = op_concat(t, x.first, x.second);
    struct tensor *base = side != NULL ? side : x.first, *y;
    if (scale == 1) {
        y = conv3(r, b, p->conv2, (struct extras){.residual = base});
    } else {
        h = conv3(r, b, p->conv2, (struct extras){0});
        y = op_add(t, base, h, (float)scale);
        tape_release(t, h);
    }
    tape_release(t, b);
    tape_release(t, side);
    return y;
}

/* x [N, H, W, C] -> the same shape */
static struct tensor *run_attention(const struct run *r, struct tensor *x,
                                    const struct attention *a, double scale)
{
    struct tape *t = r->t;
    const int64_t seq[3] = {x->dim[0], x->dim[1] * x->dim[2], a->channels};
    struct tensor *flat = op_view(t, x, 3, seq), *out, *y; /* [N, T, C] */
    struct tensor *h = norm(r, one(flat), a->norm, false);
    struct tensor *q = linear(r, one(h), a->q, NULL),
                  *k = linear(r, one(h), a->k, NULL);
    struct tensor *v = linear(r, one(h), a->v, NULL);
    tape_release(t, h);
    h = op_attention(t, q, k, v, a->heads);
    tape_release(t, q);
    tape_release(t, k);
    tape_release(t, v);
    if (scale == 1) {
        out = linear(r, one(h), a->out, flat);
    } else {
        struct tensor *o = linear(r, one(h), a->out, NULL);
        out = op_add(t, flat, o, (float)scale);
        tape_release(t, o);
    }
    tape_release(t, h);
    tape_release(t, flat);
    y = op_view(t, out, 4, x->dim);
    tape_release(t, out);
    return y;
}

/* A resnet, then an attention where there is one: one segment of the tape. */
struct stage {
    const struct run *r;
    const struct resnet *resnet;
    const struct attention *attention; /* or NULL */
    double scale;
};

enum { IN_FIRST, IN_SECOND, IN_TIME, STAGE_INPUTS };

static void stage(struct tape *t, const void *ctx, struct tensor *const *in,
                  struct tensor **y)
{
    const struct stage *s = ctx;
    struct inputs x = {in[IN_FIRST], in[IN_SECOND]};
    struct tensor *h = run_resnet(s->r, x, in[IN_TIME], s->resnet, s->scale);
    if (s->attention == NULL) {
        *y = h;
        return;
    }
    *y = run_attention(s->r, h, s->attention, s->scale);
    tape_release(t, h);
}

static struct tensor *run_stage(const struct run *r, struct inputs x, struct stage s)
{
    struct tensor *const in[STAGE_INPUTS] = {x.first, x.second, r->time};
    s.r = r;
    return tape_segment(r->t, stage, &s, sizeof s, in, STAGE_INPUTS);
}

static struct tensor *run_layer(const struct run *r, struct inputs x,
                                const struct block *b, int64_t j)
{
    return run_stage(
        r, x,
        (struct stage){.resnet = &b->resnet[j],
                       .attention = b->with_attention ? &b->attention[j] : NULL,
                       .scale = 1});
}

/* The two resnets in the middle, the attention between them. */
static struct tensor *run_middle(const struct run *r, struct tensor *x)
{
    const struct unet2d *u = r->u;
    struct stage s = {.resnet = &u->mid[0], .scale = u->c.mid_scale};
    if (u->c.mid_attention)
        s.attention = &u->mid_attention;
    struct tensor *h = run_stage(r, one(x), s);
    s = (struct stage){.resnet = &u->mid[1], .scale = u->c.mid_scale};
    struct tensor *y = run_stage(r, one(h), s);
    tape_release(r->t, h);
    return y;
}

/* The outputs of the down path, which own them; returns how many. */
static int64_t run_down(const struct run *r, struct tensor *x, struct tensor **skip)
{
    const struct unet2d *u = r->u;
    /* Without padding the peer adds one row and column at the bottom right. */
    struct conv_shape halve = {.stride = 2, .pad = {0, 1, 0, 1}};
    int64_t n = 0;
    if (u->c.downsample_padding == 1)
        halve = (struct conv_shape){.stride = 2, .pad = {1, 1, 1, 1}};
    skip[n++] = conv3(r, x, u->conv_in, (struct extras){0});
    for (int64_t i = 0; i < u->c.levels; i++) {
        for (int64_t j = 0; j < u->down[i].n; j++, n++)
            skip[n] = run_layer(r, one(skip[n - 1]), &u->down[i], j);
        if (u->down[i].with_sampler) {
            skip[n] =
                conv(r, skip[n - 1], u->down[i].sampler, halve, (struct extras){0});
            n++;
        }
    }
    return n;
}

/* x [N, H, W, in] -> [N, H, W, out]; takes x over. */
static struct tensor *run_body(const struct run *r, struct tensor *x)
{
    const struct unet2d *u = r->u;
    struct tape *t = r->t;
    struct tensor *skip[SKIPS], *y;
    int64_t n = run_down(r, x, skip);
    tape_release(t, x);
    x = run_middle(r, skip[n - 1]);
    for (int64_t i = 0; i < u->c.levels; i++) {
        for (int64_t j = 0; j < u->up[i].n; j++) {
            struct tensor *joined = skip[--n];
            y = run_layer(r, (struct inputs){x, joined}, &u->up[i], j);
            tape_release(t, joined);
            tape_release(t, x);
            x = y;
        }
        if (u->up[i].with_sampler) {
            y = op_upsample2(t, x);
            tape_release(t, x);
            x = conv3(r, y, u->up[i].sampler, (struct extras){0});
            tape_release(t, y);
        }
    }
    y = norm(r, one(x), u->norm_out, true);
    tape_release(t, x);
    x = conv3(r, y, u->conv_out, (struct extras){0});
    tape_release(t, y);
    return x;
}

void unet2d_sinusoids(const struct unet2d_config *c, const float *timesteps,
                      int64_t batch, float *out)
{
    int64_t dim = c->channels[0], half = dim / 2;
    float minus_log = (float)-log(10000.0),
          over = (float)((double)half - c->freq_shift);
    int64_t sine = c->flip_sin_to_cos ? half : 0, cosine = half - sine;
    for (int64_t i = 0; i < half; i++) {
        /* The float nearest to exp: a last-bit difference, times t, would be visible.
         */
        float freq = (float)exp((double)(minus_log * (float)i / over));
        for (int64_t b = 0; b < batch; b++) {
            float angle = timesteps[b] * freq;
            out[b * dim + sine + i] = (float)sin((double)angle);
            out[b * dim + cosine + i] = (float)cos((double)angle);
        }
    }
    for (int64_t b = 0; b < batch && dim % 2 == 1; b++)
        out[b * dim + dim - 1] = 0;
}

static struct tensor *embed(const struct run *r, const struct model_input *in)
{
    const struct unet2d *u = r->u;
    const int64_t dim[2] = {in->batch, u->c.channels[0]};
    struct tensor *e = tape_tensor(r->t, 2, dim, false);
    unet2d_sinusoids(&u->c, in->timesteps, in->batch, e->data);
    e = linear(r, one(e), u->time1, NULL);
    e = linear(r, one(op_silu(r->t, e)), u->time2, NULL);
    if (u->c.classes > 0)
        e = op_add(r->t, e,
                   op_embedding(r->t, get(r, u->class_table),
                                label_old(&u->label, r->t, in->labels, in->batch),
                                in->batch),
                   1);
    return op_silu(r->t, label_add(&u->label, r->set, r->t, in, e));
}

static int check_input(const struct unet2d *u, const struct model_input *in)
{
    const struct unet2d_config *c = &u->c;
    const int64_t n = label_classes(&u->label);
    int64_t step = INT64_C(1) << (c->levels - 1);
    if (in->batch < 1 || in->height < 1 || in->width < 1)
        return err_set(ERR_INPUT, "an empty batch [%lld, %lld, %lld, %lld]",
                       (long long)in->batch, (long long)c->in_channels,
                       (long long)in->height, (long long)in->width);
    if (in->height % step != 0 || in->width % step != 0)
        return err_set(
            ERR_INPUT,
            "x is %lld x %lld: this network halves %lld times, so height and "
            "width must be multiples of %lld",
            (long long)in->height, (long long)in->width, (long long)c->levels - 1,
            (long long)step);
    return condition_check_values(in, n, n + (label_null(&u->label) >= 0));
}

static struct tensor *forward(const void *net, struct param_set *set, struct tape *t,
                              const struct model_input *in, struct tensor **x)
{
    const struct unet2d *u = net;
    const int64_t dim[4] = {in->batch, u->c.in_channels, in->height, in->width};
    if (check_input(u, in) != 0)
        return NULL;
    struct run *r = tape_keepsake(t, 1, sizeof *r);
    *r = (struct run){.u = u, .set = set, .t = t};
    struct tensor *given = tape_tensor(t, 4, dim, in->want_dx); /* [N, C, H, W] */
    memcpy(given->data, in->x, (size_t)tensor_count(given) * sizeof *in->x);
    if (x != NULL)
        *x = given;
    struct tensor *h = given;
    if (u->c.center_input)
        h = op_affine(t, h, 2, -1);
    h = op_to_channels_last(t, h);
    r->time = embed(r, in);
    h = run_body(r, h);
    struct tensor *y = op_to_channels_first(t, h);
    tape_release(t, h);
    return y;
}

static void sample_shape(const void *net, int64_t dim[3])
{
    const struct unet2d_config *c = &((const struct unet2d *)net)->c;
    dim[0] = c->in_channels;
    dim[1] = c->height;
    dim[2] = c->width;
}

static int64_t classes(const void *net)
{
    return label_classes(&((const struct unet2d *)net)->label);
}

static int64_t null_label(const void *net)
{
    return label_null(&((const struct unet2d *)net)->label);
}

/* Multiply-adds of one item, n = pixels at the block's level. */
static double block_macs(const struct unet2d_config *c, const struct block *b, double n)
{
    double macs = 0;
    for (int64_t j = 0; j < b->n; j++) {
        const struct resnet *p = &b->resnet[j];
        double in = (double)p->in, out = (double)p->out;
        macs += n * 9 * out * (in + out) + 4 * (double)c->channels[0] * out;
        macs += p->in != p->out ? n * in * out : 0;
        macs += b->with_attention ? n * 4 * out * out + 2 * n * n * out : 0;
    }
    return macs;
}

static double flops(const void *net)
{
    const struct unet2d *u = net;
    const struct unet2d_config *c = &u->c;
    double n = (double)c->height * (double)c->width, top = (double)c->channels[0];
    double macs =
        n * 9 * top * (double)(c->in_channels + c->out_channels) + 20 * top * top;
    for (int64_t i = 0; i < c->levels; i++) {
        double w = (double)c->channels[i];
        macs +=
            block_macs(c, &u->down[i], n) + block_macs(c, &u->up[c->levels - 1 - i], n);
        if (i + 1 < c->levels) {
            double below = (double)c->channels[i + 1];
            macs += n / 4 * 9 * w * w + n * 9 * below * below;
            n /= 4;
        }
    }
    struct block mid = {.n = 1, .resnet = {u->mid[0]}};
    double w = (double)c->channels[c->levels - 1];
    macs += 2 * block_macs(c, &mid, n);
    macs += c->mid_attention ? n * 4 * w * w + 2 * n * n * w : 0;
    return 2 * macs;
}

const struct model_kind unet2d_kind = {
    .class_name = "UNet2DModel",
    .create = create,
    .destroy = mem_free,
    .declare = unet2d_declare,
    .sample_shape = sample_shape,
    .classes = classes,
    .null_label = null_label,
    .flops = flops,
    .forward = forward,
};
