/* The sequence transformer. Activations are [N, T, hidden]; the condition is float32. */
#include "stages/model/transformer1d.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/model/blocks.h"
#include "stages/model/condition.h"
#include "stages/model/keys.h"

#define LAYERS_MAX 128
#define TOKENS_MAX 65536

struct block {
    struct dense modulation, q, k, v, out, mlp0, mlp2;
};

struct transformer {
    int64_t channels, size[2], layers, heads, ratio;
    struct condition condition;
    struct dense in, out_modulation, out;
    int64_t positions;
    struct block block[LAYERS_MAX];
};

#define FIELD(f) offsetof(struct transformer, f)

static const struct keys keys[] = {
    {"in_channels", KEYS_COUNT, FIELD(channels), 1, 16384, true},
    {"sample_size", KEYS_SIZES, FIELD(size), 1, TOKENS_MAX, true},
    {"hidden_size", KEYS_COUNT, FIELD(condition.width), 2, 16384, false},
    {"num_layers", KEYS_COUNT, FIELD(layers), 1, LAYERS_MAX, false},
    {"num_attention_heads", KEYS_COUNT, FIELD(heads), 1, 1024, false},
    {"mlp_ratio", KEYS_COUNT, FIELD(ratio), 1, 16, false},
    {"num_class_embeds", KEYS_COUNT, FIELD(condition.classes), 0, 1 << 20, false},
    {"null_class", KEYS_BOOL, FIELD(condition.null_class), 0, 1, false},
    {"num_label_embeds", KEYS_COUNT, FIELD(condition.label.number), 0, 1 << 16, false},
    {"data", KEYS_ELSEWHERE, 0, 0, 0, false},
};

static int64_t tokens(const struct transformer *u)
{
    return u->size[0] * u->size[1];
}

static void *create(const struct json *config, const char *path)
{
    struct transformer *u = mem_alloc(1, sizeof *u);
    u->condition.width = 128;
    u->layers = u->heads = u->ratio = 4;
    int rc = keys_read(config, path, keys, sizeof keys / sizeof *keys, u);
    if (rc == 0)
        rc = condition_check(&u->condition, path);
    if (rc == 0 && u->condition.width % u->heads != 0)
        rc = err_set(ERR_INPUT,
                     "%s: num_attention_heads: %lld do not divide hidden_size, %lld", path,
                     (long long)u->heads, (long long)u->condition.width);
    if (rc == 0 && tokens(u) > TOKENS_MAX)
        rc = err_set(ERR_INPUT, "%s: sample_size: %lld x %lld tokens are more than %d",
                     path, (long long)u->size[0], (long long)u->size[1], TOKENS_MAX);
    if (rc == 0)
        return u;
    mem_free(u);
    return NULL;
}

static int declare(void *net, struct param_set *s, bool old_names)
{
    struct transformer *u = net;
    const int64_t w = u->condition.width, inside = w * u->ratio;
    (void)old_names; /* no older file has such a network */
    u->in = dense_declare(s, u->channels, w, "in");
    u->positions = param_declare(s, "positions", 2, (const int64_t[]){tokens(u), w});
    condition_declare(&u->condition, s);
    for (int64_t i = 0; i < u->layers; i++) {
        struct block *b = &u->block[i];
        long long n = (long long)i;
        b->modulation = dense_declare(s, w, 6 * w, "blocks.%lld.modulation", n);
        b->q = dense_declare(s, w, w, "blocks.%lld.to_q", n);
        b->k = dense_declare(s, w, w, "blocks.%lld.to_k", n);
        b->v = dense_declare(s, w, w, "blocks.%lld.to_v", n);
        b->out = dense_declare(s, w, w, "blocks.%lld.to_out", n);
        b->mlp0 = dense_declare(s, w, inside, "blocks.%lld.mlp.0", n);
        b->mlp2 = dense_declare(s, inside, w, "blocks.%lld.mlp.2", n);
    }
    u->out_modulation = dense_declare(s, w, 2 * w, "out.modulation");
    u->out = dense_declare(s, w, u->channels, "out.linear");
    condition_declare_labels(&u->condition, s);
    return 0;
}

static struct tensor *attend(struct tape *t, struct param_set *set,
                             const struct block *b, struct tensor *h, int heads)
{
    struct tensor *q = dense_run(t, set, b->q, h), *k = dense_run(t, set, b->k, h),
                  *v = dense_run(t, set, b->v, h);
    struct tensor *a = op_attention(t, q, k, v, heads);
    tape_release(t, q);
    tape_release(t, k);
    tape_release(t, v);
    struct tensor *y = dense_run(t, set, b->out, a);
    tape_release(t, a);
    return y;
}

/* One block as a segment: in[] is x [N, T, hidden] and the condition [N, hidden]. */
static void run_block(struct tape *t, const void *ctx, struct tensor *const *in,
                      struct tensor **out)
{
    const struct blocks_step *s = ctx;
    const struct transformer *u = s->net;
    const struct block *b = &u->block[s->i];
    const struct blocks_feed feed = {s->set, b->mlp0, b->mlp2, op_gelu};
    struct tensor *m = dense_run(t, s->set, b->modulation, in[1]);
    struct tensor *h = blocks_norm(t, in[0], m, 0);
    struct tensor *a = attend(t, s->set, b, h, (int)u->heads);
    struct tensor *x = op_gate(t, in[0], a, m, 2);
    tape_release(t, h);
    tape_release(t, a);
    *out = blocks_feed(t, &feed, x, m, 3);
    tape_release(t, x);
    tape_release(t, m);
}

/* x [N, H, W, C] -> [N, T, channels] */
static struct tensor *run_body(const struct transformer *u, struct param_set *set,
                               struct tape *t, struct tensor *x, struct tensor *c)
{
    const struct blocks b = {u, set, u->layers, run_block, u->out_modulation, u->out};
    const int64_t flat[3] = {x->dim[0], tokens(u), u->channels};
    struct tensor *view = op_view(t, x, 3, flat), *h = dense_run(t, set, u->in, view);
    tape_release(t, view);
    struct tensor *placed = op_add_table(t, h, param_at(set, u->positions));
    tape_release(t, h);
    return blocks_run(t, &b, placed, c);
}

static void sample_shape(const void *net, int64_t dim[3])
{
    const struct transformer *u = net;
    dim[0] = u->channels;
    dim[1] = u->size[0];
    dim[2] = u->size[1];
}

static struct tensor *forward(const void *net, struct param_set *set, struct tape *t,
                              const struct model_input *in, struct tensor **x)
{
    const struct transformer *u = net;
    int64_t shape[3];
    sample_shape(u, shape);
    if (condition_check_input(&u->condition, in, shape) != 0)
        return NULL;
    struct tensor *given = condition_given(t, in, u->channels);
    if (x != NULL)
        *x = given;
    struct tensor *h = op_to_channels_last(t, given);
    struct tensor *c = condition_run(&u->condition, set, t, in);
    struct tensor *y = run_body(u, set, t, h, c);
    const int64_t square[4] = {in->batch, shape[1], shape[2], shape[0]};
    tape_release(t, h);
    tape_release(t, c);
    h = op_view(t, y, 4, square);
    tape_release(t, y);
    y = op_to_channels_first(t, h);
    tape_release(t, h);
    return y;
}

static int64_t classes(const void *net)
{
    return condition_classes(&((const struct transformer *)net)->condition);
}

static int64_t null_label(const void *net)
{
    return condition_null_label(&((const struct transformer *)net)->condition);
}

static enum model_start start(const void *net, const char *name)
{
    (void)net;
    return condition_start(name);
}

static double flops(const void *net)
{
    const struct transformer *u = net;
    const double w = (double)u->condition.width, n = (double)tokens(u);
    double block = 6 * w * w + n * (4 + 2 * (double)u->ratio) * w * w + 2 * n * n * w;
    double macs = condition_macs(&u->condition) + 2 * w * w +
                  2 * n * w * (double)u->channels + (double)u->layers * block;
    return 2 * macs;
}

const struct model_kind transformer1d_kind = {
    .class_name = "SequenceTransformer",
    .create = create,
    .destroy = mem_free,
    .declare = declare,
    .start = start,
    .sample_shape = sample_shape,
    .classes = classes,
    .null_label = null_label,
    .flops = flops,
    .forward = forward,
};
