/* The network of vectors. Activations are [N, hidden]; the condition is float32. */
#include "stages/model/mlp.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/model/blocks.h"
#include "stages/model/condition.h"
#include "stages/model/keys.h"

#define LAYERS_MAX 128
#define VALUES_MAX (1 << 20)

struct block {
    struct dense modulation, mlp0, mlp2;
};

struct mlp {
    int64_t channels, size[2], layers, ratio;
    struct condition condition;
    struct dense in, out_modulation, out;
    struct block block[LAYERS_MAX];
};

#define FIELD(f) offsetof(struct mlp, f)

static const struct keys keys[] = {
    {"in_channels", KEYS_COUNT, FIELD(channels), 1, VALUES_MAX, true},
    {"sample_size", KEYS_SIZES, FIELD(size), 1, VALUES_MAX, true},
    {"hidden_size", KEYS_COUNT, FIELD(condition.width), 2, 16384, false},
    {"num_layers", KEYS_COUNT, FIELD(layers), 1, LAYERS_MAX, false},
    {"mlp_ratio", KEYS_COUNT, FIELD(ratio), 1, 16, false},
    {"num_class_embeds", KEYS_COUNT, FIELD(condition.classes), 0, 1 << 20, false},
    {"null_class", KEYS_BOOL, FIELD(condition.null_class), 0, 1, false},
    {"num_label_embeds", KEYS_COUNT, FIELD(condition.label.number), 0, 1 << 16, false},
    {"data", KEYS_ELSEWHERE, 0, 0, 0, false},
};

static int64_t values(const struct mlp *u)
{
    return u->channels * u->size[0] * u->size[1];
}

static void *create(const struct json *config, const char *path)
{
    struct mlp *u = mem_alloc(1, sizeof *u);
    u->condition.width = 128;
    u->layers = 3;
    u->ratio = 1;
    int rc = keys_read(config, path, keys, sizeof keys / sizeof *keys, u);
    if (rc == 0)
        rc = condition_check(&u->condition, path);
    if (rc == 0 && values(u) > VALUES_MAX)
        rc = err_set(ERR_INPUT, "%s: a sample of %lld numbers has more than %d", path,
                     (long long)values(u), VALUES_MAX);
    if (rc == 0)
        return u;
    mem_free(u);
    return NULL;
}

static int declare(void *net, struct param_set *s, bool old_names)
{
    struct mlp *u = net;
    const int64_t w = u->condition.width, inside = w * u->ratio;
    (void)old_names; /* there is no attention */
    u->in = dense_declare(s, values(u), w, "in");
    condition_declare(&u->condition, s);
    for (int64_t i = 0; i < u->layers; i++) {
        struct block *b = &u->block[i];
        long long n = (long long)i;
        b->modulation = dense_declare(s, w, 3 * w, "blocks.%lld.modulation", n);
        b->mlp0 = dense_declare(s, w, inside, "blocks.%lld.mlp.0", n);
        b->mlp2 = dense_declare(s, inside, w, "blocks.%lld.mlp.2", n);
    }
    u->out_modulation = dense_declare(s, w, 2 * w, "out.modulation");
    u->out = dense_declare(s, w, values(u), "out.linear");
    condition_declare_labels(&u->condition, s);
    return 0;
}

/* One block as a segment: in[] is x [N, hidden] and the condition [N, hidden]. */
static void run_block(struct tape *t, const void *ctx, struct tensor *const *in,
                      struct tensor **out)
{
    const struct blocks_step *s = ctx;
    const struct block *b = &((const struct mlp *)s->net)->block[s->i];
    const struct blocks_feed feed = {s->set, b->mlp0, b->mlp2, op_silu};
    struct tensor *m = dense_run(t, s->set, b->modulation, in[1]);
    *out = blocks_feed(t, &feed, in[0], m, 0);
    tape_release(t, m);
}

/* x [N, values] -> [N, values] */
static struct tensor *run_body(const struct mlp *u, struct param_set *set,
                               struct tape *t, struct tensor *x, struct tensor *c)
{
    const struct blocks b = {u, set, u->layers, run_block, u->out_modulation, u->out};
    return blocks_run(t, &b, dense_run(t, set, u->in, x), c);
}

static void sample_shape(const void *net, int64_t dim[3])
{
    const struct mlp *u = net;
    dim[0] = u->channels;
    dim[1] = u->size[0];
    dim[2] = u->size[1];
}

/* x enters and leaves as a picture of one pixel with all values for channels. */
static struct tensor *forward(const void *net, struct param_set *set, struct tape *t,
                              const struct model_input *in, struct tensor **x)
{
    const struct mlp *u = net;
    const int64_t n = in->batch, d = values(u);
    int64_t shape[3];
    sample_shape(u, shape);
    if (condition_check_input(&u->condition, in, shape) != 0)
        return NULL;
    struct tensor *given = condition_given(t, in, u->channels);
    if (x != NULL)
        *x = given;
    struct tensor *pixel = op_view(t, given, 4, (const int64_t[]){n, d, 1, 1});
    struct tensor *last = op_to_channels_last(t, pixel);
    struct tensor *h = op_view(t, last, 2, (const int64_t[]){n, d});
    struct tensor *c = condition_run(&u->condition, set, t, in);
    struct tensor *y = run_body(u, set, t, h, c);
    tape_release(t, last);
    tape_release(t, h);
    tape_release(t, c);
    pixel = op_view(t, y, 4, (const int64_t[]){n, 1, 1, d});
    tape_release(t, y);
    y = op_to_channels_first(t, pixel);
    tape_release(t, pixel);
    return op_view(t, y, 4, given->dim);
}

static int64_t classes(const void *net)
{
    return condition_classes(&((const struct mlp *)net)->condition);
}

static int64_t null_label(const void *net)
{
    return condition_null_label(&((const struct mlp *)net)->condition);
}

static enum model_start start(const void *net, const char *name)
{
    (void)net;
    return condition_start(name);
}

static double flops(const void *net)
{
    const struct mlp *u = net;
    const double w = (double)u->condition.width;
    double block = (3 + 2 * (double)u->ratio) * w * w;
    double macs = condition_macs(&u->condition) + 2 * w * w +
                  2 * w * (double)values(u) + (double)u->layers * block;
    return 2 * macs;
}

const struct model_kind mlp_kind = {
    .class_name = "MLPDenoiser",
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
