/* The parameters of UNet2DModel, declared in the order of the peer's modules. */
#include "stages/model/unet2d_layers.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdarg.h>
#include <stdio.h>

/* State of the declaration. In the functions below `at` is the name of the module under
 * which names are put. */
struct build {
    const struct unet2d_config *c;
    struct param_set *set;
    bool old_names;
    int rc;
};

static char *under(const char *at, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static char *under(const char *at, const char *fmt, ...)
{
    char tail[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof tail, fmt, ap);
    va_end(ap);
    return text_new("%s%s%s", at, at[0] != '\0' ? "." : "", tail);
}

static struct layer declare(struct build *b, const char *at, const char *name, int nd,
                            const int64_t *dim)
{
    char *w = under(at, "%s.weight", name), *s = under(at, "%s.bias", name);
    struct layer l;
    l.weight = param_declare(b->set, w, nd, dim);
    l.bias = param_declare(b->set, s, 1, dim);
    mem_free(w);
    mem_free(s);
    return l;
}

static struct layer declare_conv(struct build *b, const char *at, const char *name,
                                 const int64_t in_out[2], int64_t kernel)
{
    return declare(b, at, name, 4, (int64_t[4]){in_out[1], in_out[0], kernel, kernel});
}

static struct layer declare_linear(struct build *b, const char *at, const char *name,
                                   int64_t in, int64_t out)
{
    return declare(b, at, name, 2, (int64_t[2]){out, in});
}

static struct layer declare_norm(struct build *b, const char *at, const char *name,
                                 int64_t channels)
{
    if (channels % b->c->groups != 0)
        b->rc =
            err_set(ERR_INPUT,
                    "norm_num_groups: %lld groups do not divide the %lld channels of "
                    "%s.%s",
                    (long long)b->c->groups, (long long)channels, at, name);
    return declare(b, at, name, 1, &channels);
}

static void declare_resnet(struct build *b, char *at, int64_t in, int64_t out,
                           struct resnet *r)
{
    r->in = in;
    r->out = out;
    r->norm1 = declare_norm(b, at, "norm1", in);
    r->conv1 = declare_conv(b, at, "conv1", (int64_t[2]){in, out}, 3);
    r->time = declare_linear(b, at, "time_emb_proj", b->c->channels[0] * 4, out);
    r->norm2 = declare_norm(b, at, "norm2", out);
    r->conv2 = declare_conv(b, at, "conv2", (int64_t[2]){out, out}, 3);
    r->shortcut = (struct layer){-1, -1};
    if (in != out)
        r->shortcut = declare_conv(b, at, "conv_shortcut", (int64_t[2]){in, out}, 1);
    mem_free(at);
}

static void declare_attention(struct build *b, char *at, int64_t channels,
                              struct attention *a)
{
    int64_t head = b->c->head_dim > 0 ? b->c->head_dim : channels;
    if (channels % head != 0)
        b->rc =
            err_set(ERR_INPUT,
                    "attention_head_dim: %lld does not divide the %lld channels of %s",
                    (long long)head, (long long)channels, at);
    a->channels = channels;
    a->heads = (int)(channels / head);
    a->norm = declare_norm(b, at, "group_norm", channels);
    a->q = declare_linear(b, at, b->old_names ? "query" : "to_q", channels, channels);
    a->k = declare_linear(b, at, b->old_names ? "key" : "to_k", channels, channels);
    a->v = declare_linear(b, at, b->old_names ? "value" : "to_v", channels, channels);
    a->out = declare_linear(b, at, b->old_names ? "proj_attn" : "to_out.0", channels,
                            channels);
    mem_free(at);
}

/* in[0..n): input channels of the block's resnets; sampler: name of its resampling
 * convolution, NULL for none. */
static void declare_block(struct build *b, char *at, const int64_t *in, int64_t out,
                          const char *sampler, struct block *k)
{
    for (int64_t j = 0; j < k->n && k->with_attention; j++)
        declare_attention(b, under(at, "attentions.%lld", (long long)j), out,
                          &k->attention[j]);
    for (int64_t j = 0; j < k->n; j++)
        declare_resnet(b, under(at, "resnets.%lld", (long long)j), in[j], out,
                       &k->resnet[j]);
    k->with_sampler = sampler != NULL;
    if (k->with_sampler)
        k->sampler = declare_conv(b, at, sampler, (int64_t[2]){out, out}, 3);
    mem_free(at);
}

static void declare_down(struct build *b, int64_t i, struct block *k)
{
    const struct unet2d_config *c = b->c;
    int64_t in[UNET2D_LAYERS + 1], out = c->channels[i];
    k->n = c->layers;
    k->with_attention = c->down_attention[i];
    for (int64_t j = 0; j < k->n; j++)
        in[j] = j > 0 ? out : c->channels[i > 0 ? i - 1 : 0];
    declare_block(b, under("", "down_blocks.%lld", (long long)i), in, out,
                  i + 1 < c->levels ? "downsamplers.0.conv" : NULL, k);
}

/* Up block i works at level levels - 1 - i; its last layer joins an output of the level
 * above. */
static void declare_up(struct build *b, int64_t i, struct block *k)
{
    const struct unet2d_config *c = b->c;
    int64_t level = c->levels - 1 - i, in[UNET2D_LAYERS + 1], out = c->channels[level];
    k->n = c->layers + 1;
    k->with_attention = c->up_attention[i];
    for (int64_t j = 0; j < k->n; j++)
        in[j] = (j > 0 ? out : c->channels[i > 0 ? level + 1 : level]) +
                (j + 1 < k->n ? out : c->channels[level > 0 ? level - 1 : 0]);
    declare_block(b, under("", "up_blocks.%lld", (long long)i), in, out,
                  i + 1 < c->levels ? "upsamplers.0.conv" : NULL, k);
}

int unet2d_declare(void *net, struct param_set *set, bool old_names)
{
    struct unet2d *u = net;
    const struct unet2d_config *c = &u->c;
    struct build b = {.c = c, .set = set, .old_names = old_names};
    int64_t top = c->channels[0], bottom = c->channels[c->levels - 1];
    u->conv_in = declare_conv(&b, "", "conv_in", (int64_t[2]){c->in_channels, top}, 3);
    u->time1 = declare_linear(&b, "time_embedding", "linear_1", top, 4 * top);
    u->time2 = declare_linear(&b, "time_embedding", "linear_2", 4 * top, 4 * top);
    if (c->classes > 0)
        u->class_table = param_declare(set, "class_embedding.weight", 2,
                                       (int64_t[2]){c->classes, 4 * top});
    for (int64_t i = 0; i < c->levels; i++)
        declare_down(&b, i, &u->down[i]);
    for (int64_t i = 0; i < c->levels; i++)
        declare_up(&b, i, &u->up[i]);
    if (c->mid_attention)
        declare_attention(&b, mem_text("mid_block.attentions.0"), bottom,
                          &u->mid_attention);
    for (int j = 0; j < 2; j++)
        declare_resnet(&b, under("mid_block", "resnets.%d", j), bottom, bottom,
                       &u->mid[j]);
    u->norm_out = declare_norm(&b, "", "conv_norm_out", top);
    u->conv_out =
        declare_conv(&b, "", "conv_out", (int64_t[2]){top, c->out_channels}, 3);
    u->label = (struct label){.number = c->labels, .old = c->classes};
    label_declare(&u->label, set, 4 * top);
    return b.rc;
}
