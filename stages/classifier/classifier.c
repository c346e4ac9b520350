/* The networks. Activations of pictures are [N, H, W, C], of vectors [N, C], float32. */
#include "stages/classifier/classifier.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/classifier/classifier_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GROUPS = 4 };
#define EPS 1e-5f

void classifier_destroy(struct classifier *c)
{
    if (c == NULL)
        return;
    param_destroy(c->params);
    mem_free(c);
}

struct param_set *classifier_params(struct classifier *c)
{
    return c->params;
}

void classifier_shape(const struct classifier *c, int64_t dim[3])
{
    dim[0] = c->channels;
    dim[1] = c->size[0];
    dim[2] = c->size[1];
}

const struct coding *classifier_coding(const struct classifier *c)
{
    return &c->coding;
}

const char *classifier_kind(const struct classifier *c)
{
    return c->convolutional ? "ConvClassifier" : "MLPClassifier";
}

int classifier_heads(const struct classifier *c)
{
    return c->heads;
}

int64_t classifier_classes(const struct classifier *c, int head)
{
    return c->classes[head];
}

int64_t classifier_labels(const struct classifier *c)
{
    int64_t n = 1;
    for (int h = 0; h < c->heads; h++)
        n *= c->classes[h];
    return n;
}

int64_t classifier_logits(const struct classifier *c)
{
    int64_t n = 0;
    for (int h = 0; h < c->heads; h++)
        n += c->classes[h];
    return n;
}

double *classifier_temperature(struct classifier *c)
{
    return c->temperature;
}

int64_t classifier_part(const struct classifier *c, int64_t label, int head)
{
    for (int h = c->heads - 1; h > head; h--)
        label /= c->classes[h];
    return label % c->classes[head];
}

int classifier_check(const struct classifier *c, const char *path)
{
    int64_t labels = 1, d = c->channels * c->size[0] * c->size[1];
    for (int h = 0; h < c->heads; h++) {
        labels *= c->classes[h];
        if (c->classes[h] < 2 || labels > CLASSIFIER_CLASSES)
            return err_set(ERR_INPUT,
                           "%s: label %d of %d has %lld classes; 2 or more are needed, and "
                           "at most %d for all labels together",
                           path, h + 1, c->heads, (long long)c->classes[h],
                           CLASSIFIER_CLASSES);
    }
    if (d > CLASSIFIER_VALUES)
        return err_set(ERR_INPUT, "%s: a sample of %lld numbers has more than %d", path,
                       (long long)d, CLASSIFIER_VALUES);
    if (c->convolutional && c->hidden % GROUPS != 0)
        return err_set(ERR_INPUT, "%s: a hidden size of %lld is no multiple of %d", path,
                       (long long)c->hidden, GROUPS);
    if (c->convolutional && (c->layers > 8 || c->hidden << c->layers > 65536))
        return err_set(ERR_INPUT, "%s: %lld levels from a width of %lld are too many", path,
                       (long long)c->layers, (long long)c->hidden);
    return 0;
}

static int64_t halved(int64_t n)
{
    return (n + 1) / 2;
}

static struct conv declare_conv(struct param_set *s, const char *kind, int64_t level,
                                int64_t in, int64_t out)
{
    char name[64];
    struct conv l;
    snprintf(name, sizeof name, "levels.%lld.%s.weight", (long long)level, kind);
    l.weight = param_declare(s, name, 4, (const int64_t[]){out, in, 3, 3});
    snprintf(name, sizeof name, "levels.%lld.%s.bias", (long long)level, kind);
    l.bias = param_declare(s, name, 1, &out);
    snprintf(name, sizeof name, "levels.%lld.norm_%s.weight", (long long)level, kind);
    l.gamma = param_declare(s, name, 1, &out);
    snprintf(name, sizeof name, "levels.%lld.norm_%s.bias", (long long)level, kind);
    l.beta = param_declare(s, name, 1, &out);
    return l;
}

void classifier_declare(struct classifier *c)
{
    int64_t w = c->hidden, h = c->size[0], k = c->size[1], in = c->channels;
    c->params = param_create();
    if (!c->convolutional) {
        c->in = dense_declare(c->params, in * h * k, w, "in");
        for (int64_t i = 0; i < c->layers; i++)
            c->layer[i] = dense_declare(c->params, w, w, "layers.%lld", (long long)i);
        c->out = dense_declare(c->params, w, classifier_logits(c), "heads");
        return;
    }
    for (int64_t i = 0; i < c->layers; i++, w *= 2) {
        c->level[i][0] = declare_conv(c->params, "conv", i, in, w);
        c->level[i][1] = declare_conv(c->params, "down", i, w, 2 * w);
        in = 2 * w;
        h = halved(h);
        k = halved(k);
    }
    c->out = dense_declare(c->params, in * h * k, classifier_logits(c), "heads");
}

/* Uniform within 1 / sqrt(fan_in), norms 1 and 0; the heads at zero, so that all classes
 * start alike. */
static void init(struct classifier *c, uint64_t seed)
{
    for (int64_t i = 0; i < param_number(c->params); i++) {
        struct param *p = param_at(c->params, i);
        int64_t n = tensor_count(&p->t), fan_in = n / p->t.dim[0];
        uint64_t key =
            rng_key(seed, RNG_CLASSIFIER, 0, (int64_t)rng_fnv1a64(p->name), 0, 0);
        const bool bias = strstr(p->name, ".bias") != NULL;
        const double bound = 1 / sqrt((double)fan_in);
        for (int64_t k = 0; k < n && strncmp(p->name, "heads.", 6) != 0; k++) {
            if (p->t.nd == 1)
                p->t.data[k] = bias ? 0 : 1;
            else
                p->t.data[k] = (float)((2 * rng_uniform(key, k) - 1) * bound);
        }
    }
    param_touch(c->params);
}

struct classifier *classifier_new(const struct classifier_design *d, uint64_t seed)
{
    struct classifier *c = mem_alloc(1, sizeof *c);
    c->convolutional = d->convolutional;
    c->channels = d->dim[0];
    c->size[0] = d->dim[1];
    c->size[1] = d->dim[2];
    c->hidden = d->hidden;
    c->layers = d->layers;
    c->heads = d->heads;
    c->coding = d->coding;
    ERR_BUG_IF(c->heads < 1 || c->heads > CLASSIFIER_HEADS || c->layers < 1 ||
               c->layers > CLASSIFIER_LAYERS);
    for (int h = 0; h < c->heads; h++) {
        c->classes[h] = d->classes[h];
        c->temperature[h] = 1;
    }
    if (classifier_check(c, "the classifier") != 0) {
        classifier_destroy(c);
        return NULL;
    }
    classifier_declare(c);
    param_allocate(c->params, 1);
    init(c, seed);
    return c;
}

/* x [N, values] -> [N, hidden] */
static struct tensor *run_vector(struct classifier *c, struct tape *t, struct tensor *x)
{
    const int64_t n = x->dim[0], d = c->channels * c->size[0] * c->size[1];
    struct tensor *pixel = op_view(t, x, 4, (const int64_t[]){n, d, 1, 1});
    struct tensor *last = op_to_channels_last(t, pixel);
    struct tensor *h =
        dense_run(t, c->params, c->in, op_view(t, last, 2, (const int64_t[]){n, d}));
    for (int64_t i = 0; i < c->layers; i++) {
        struct tensor *a = op_silu(t, h);
        h = op_linear(t, (struct inputs){.first = a}, param_at(c->params, c->layer[i].weight),
                      param_at(c->params, c->layer[i].bias), h);
    }
    return op_silu(t, h);
}

static struct tensor *run_conv(struct classifier *c, struct tape *t, struct tensor *x,
                               const struct conv *l, int stride)
{
    struct param_set *s = c->params;
    const struct conv_shape shape = {.stride = stride, .pad = {1, 1, 1, 1}};
    struct tensor *y = op_conv2d(t, x, param_at(s, l->weight), param_at(s, l->bias), shape,
                                 (struct extras){0});
    return op_group_norm(t, (struct inputs){.first = y}, param_at(s, l->gamma),
                         param_at(s, l->beta), GROUPS, EPS, true);
}

/* x [N, C, H, W] -> [N, all pixels and channels of the last level] */
static struct tensor *run_picture(struct classifier *c, struct tape *t, struct tensor *x)
{
    struct tensor *h = op_to_channels_last(t, x);
    for (int64_t i = 0; i < c->layers; i++) {
        h = run_conv(c, t, h, &c->level[i][0], 1);
        h = run_conv(c, t, h, &c->level[i][1], 2);
    }
    return op_view(t, h, 2, (const int64_t[]){h->dim[0], tensor_count(h) / h->dim[0]});
}

struct tensor *classifier_forward(struct classifier *c, struct tape *t, int64_t n,
                                  const float *x, struct tensor **given)
{
    const int64_t dim[4] = {n, c->channels, c->size[0], c->size[1]};
    struct tensor *in = tape_tensor(t, 4, dim, given != NULL);
    ERR_BUG_IF(tape_dtype(t) != DTYPE_F32);
    memcpy(in->data, x, (size_t)tensor_count(in) * sizeof *x);
    if (given != NULL)
        *given = in;
    struct tensor *h = c->convolutional ? run_picture(c, t, in) : run_vector(c, t, in);
    return dense_run(t, c->params, c->out, h);
}

double classifier_log_prob(const float *logit, int64_t k, double temperature, int64_t y,
                           double scale, float *slope)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < k; i++)
        top = fmax(top, (double)logit[i]);
    for (int64_t i = 0; i < k; i++)
        sum += exp(((double)logit[i] - top) / temperature);
    for (int64_t i = 0; i < k && slope != NULL; i++) {
        double p = exp(((double)logit[i] - top) / temperature) / sum;
        slope[i] = (float)(scale * ((i == y) - p) / temperature);
    }
    return ((double)logit[y] - top) / temperature - log(sum);
}
