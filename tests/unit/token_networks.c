/* The networks of tokens and vectors: gradients of a loss through all of it against
 * central differences, with and without recomputation; an item's bits against its place
 * and the batch, in both dtypes; bfloat16 against float32; guidance; folders; refusals.
 * One rank. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "stages/model/model.h"
#include "stages/nn/backend.h"
#include "tests/small_net.h"
#include "tests/tap.h"

#include <unistd.h>

#define ITEMS 3
#define VALUES 24

static const char *const configs[] = {
    "{\"_class_name\": \"SequenceTransformer\", \"in_channels\": 3, \"sample_size\": [1, 8],"
    " \"hidden_size\": 24, \"num_layers\": 2, \"num_attention_heads\": 3,"
    " \"mlp_ratio\": 2, \"num_class_embeds\": 4, \"null_class\": true}",
    "{\"_class_name\": \"SequenceTransformer\", \"in_channels\": 2, \"sample_size\": [3, 4],"
    " \"hidden_size\": 20, \"num_layers\": 1, \"num_attention_heads\": 1}",
    "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 24, \"sample_size\": 1,"
    " \"hidden_size\": 22, \"num_layers\": 2, \"mlp_ratio\": 2, \"num_class_embeds\": 4,"
    " \"null_class\": true}",
    "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 2, \"sample_size\": [3, 4],"
    " \"hidden_size\": 32, \"num_layers\": 1}",
};
#define CONFIGS (sizeof configs / sizeof configs[0])

struct given {
    float x[8 * VALUES], timesteps[8], seed[8 * VALUES];
    int64_t labels[8];
};

/* Item i gets the random content which[i]. */
static struct given content(int64_t n, const int64_t *which)
{
    struct given g;
    for (int64_t i = 0; i < n; i++) {
        rng_normal(rng_key(3, RNG_TEST, which[i], 0, 0, 0), g.x + i * VALUES, VALUES);
        rng_normal(rng_key(3, RNG_TEST, which[i], 1, 0, 0), g.seed + i * VALUES, VALUES);
        g.timesteps[i] = (float)(7 + 131 * which[i] % 1000);
        g.labels[i] = which[i] % 5 % (4 + 1);
    }
    return g;
}

/* Weights of a size at which every path counts. */
static struct model *random_model(const char *config)
{
    struct model *m = model_from_config(config, "test", false, true);
    if (m == NULL) {
        printf("Bail out! %s\n", err_text());
        exit(1);
    }
    small_net_fill(m);
    return m;
}

static struct tensor *forward(struct model *m, struct tape *t, const struct given *g,
                              int64_t n, struct tensor **x)
{
    int64_t dim[3];
    model_sample_shape(m, dim);
    const struct model_input in = {.batch = n,
                                   .height = dim[1],
                                   .width = dim[2],
                                   .x = g->x,
                                   .timesteps = g->timesteps,
                                   .labels = model_classes(m) > 0 ? g->labels : NULL,
                                   .want_dx = x != NULL};
    tape_begin(t, x != NULL || g->seed[0] != 0);
    return model_forward(m, t, &in, x);
}

static double loss(struct model *m, struct tape *t, const struct given *g)
{
    const struct tensor *y = forward(m, t, g, ITEMS, NULL);
    double sum = 0;
    for (int64_t i = 0; i < tensor_count(y); i++)
        sum += (double)g->seed[i] * (double)y->data[i];
    return sum;
}

/* Fourth order in the step. */
static double difference(struct model *m, struct tape *t, const struct given *g, float *at)
{
    const float h = 0.03125f, x = *at;
    double f[4];
    for (int i = 0; i < 4; i++) {
        *at = x + h * (float)(i < 2 ? i - 2 : i - 1);
        param_touch(model_params(m));
        f[i] = loss(m, t, g);
    }
    *at = x;
    param_touch(model_params(m));
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * (double)h);
}

static double worst(struct model *m, struct tape *t, const struct given *g, float *values,
                    const float *grad, int64_t n)
{
    double err = 0, scale = 0.3; /* some gradients are 0 but for rounding */
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs((double)grad[i]));
    for (int64_t i = 0; i < n; i += n / 6 + 1) {
        double e = fabs(difference(m, t, g, &values[i]) - (double)grad[i]) / scale;
        err = e <= err ? err : e; /* keeps a NaN */
    }
    return err;
}

static float *copy(const float *x, int64_t n)
{
    return memcpy(mem_alloc(n, sizeof *x), x, (size_t)n * sizeof *x);
}

/* Gradients of all parameters into the set, that of x returned. */
static float *gradients(struct model *m, struct tape *t, const struct given *g, int64_t n)
{
    struct tensor *x, *y;
    memset(param_grads(model_params(m)), 0,
           (size_t)param_total(model_params(m)) * sizeof(float));
    y = forward(m, t, g, n, &x);
    tape_backward(t, y, g->seed);
    return copy(x->grad, n * VALUES);
}

static void check_gradients(const char *config, const char *backend)
{
    struct model *m = random_model(config);
    struct tape *t = tape_create(backend_get(backend, 2));
    struct given g = content(ITEMS, (const int64_t[]){0, 3, 6});
    struct param_set *s = model_params(m);
    float *dx = gradients(m, t, &g, ITEMS), *dw = copy(param_grads(s), param_total(s));
    tape_set_recompute(t, true);
    float *dx2 = gradients(m, t, &g, ITEMS);
    tap_ok(memcmp(dx, dx2, sizeof(float) * ITEMS * VALUES) == 0 &&
               memcmp(dw, param_grads(s), (size_t)param_total(s) * sizeof(float)) == 0,
           "%s, %s: recomputation changes no bit", model_class_name(m), backend);
    tape_set_recompute(t, false);
    double err = worst(m, t, &g, g.x, dx, ITEMS * VALUES);
    const char *at = "x";
    for (int64_t i = 0; i < param_number(s); i++) {
        struct param *p = param_at(s, i);
        double e = worst(m, t, &g, p->t.data, dw + p->offset, tensor_count(&p->t));
        if (!(e <= err)) {
            err = e;
            at = p->name;
        }
    }
    tap_ok(err < 1e-3, "%s, %s: gradients: error %.1e (of %s)", model_class_name(m),
           backend, err, at);
    mem_free(dx);
    mem_free(dx2);
    mem_free(dw);
    tape_destroy(t);
    model_destroy(m);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double num = 0, den = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        num += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        den += (double)b[i] * (double)b[i];
    }
    return sqrt(num / den);
}

/* Content 3 alone, and at every place among strangers. */
static void check_position(const char *config, enum dtype type)
{
    struct model *m = random_model(config);
    struct tape *t = tape_create(backend_get("emulated", 2));
    int bad = 0;
    tape_set_dtype(t, type);
    struct given g = content(1, (const int64_t[]){3});
    float *dx = gradients(m, t, &g, 1);
    float *y = copy(forward(m, t, &g, 1, NULL)->data, VALUES);
    for (int64_t at = 0; at < 7; at++) {
        int64_t which[7] = {10, 11, 12, 13, 14, 15, 16};
        which[at] = 3;
        g = content(7, which);
        float *other = gradients(m, t, &g, 7);
        bad += memcmp(other + at * VALUES, dx, VALUES * sizeof *dx) != 0;
        bad += memcmp(forward(m, t, &g, 7, NULL)->data + at * VALUES, y,
                      VALUES * sizeof *y) != 0;
        mem_free(other);
    }
    tap_ok(bad == 0, "%s, %s: place and batch change %d results", model_class_name(m),
           dtype_name(type), bad);
    mem_free(dx);
    mem_free(y);
    tape_destroy(t);
    model_destroy(m);
}

static void check_bf16(const char *config)
{
    struct model *m = random_model(config);
    struct tape *t = tape_create(backend_get("emulated", 2));
    struct param_set *s = model_params(m);
    struct given g = content(ITEMS, (const int64_t[]){0, 1, 2});
    float *dx[2], *dw[2], *y[2];
    for (int i = 0; i < 2; i++) {
        tape_set_dtype(t, i == 0 ? DTYPE_F32 : DTYPE_BF16);
        dx[i] = gradients(m, t, &g, ITEMS);
        dw[i] = copy(param_grads(s), param_total(s));
        y[i] = copy(forward(m, t, &g, ITEMS, NULL)->data, ITEMS * VALUES);
    }
    double a = distance(y[1], y[0], ITEMS * VALUES),
           b = distance(dx[1], dx[0], ITEMS * VALUES),
           c = distance(dw[1], dw[0], param_total(s));
    tap_ok(a > 0 && a < 0.015 && b < 0.03 && c < 0.03,
           "%s: bf16 against f32: y %.1e, dx %.1e, dw %.1e", model_class_name(m), a, b, c);
    for (int i = 0; i < 2; i++) {
        mem_free(dx[i]);
        mem_free(dw[i]);
        mem_free(y[i]);
    }
    tape_destroy(t);
    model_destroy(m);
}

/* The guided output is the combination of two plain ones, and its parameter gradients
 * are that of theirs. */
static void check_guidance(const char *config)
{
    struct model *m = random_model(config);
    struct tape *t = tape_create(backend_get("onednn", 2));
    struct param_set *s = model_params(m);
    struct given g = content(ITEMS, (const int64_t[]){0, 1, 2}), null = g;
    const double w = 2.5;
    double err = 0, dw = 0;
    for (int64_t i = 0; i < ITEMS; i++)
        null.labels[i] = model_null_label(m);
    tap_ok(model_null_label(m) == 4, "%s: the label without class", model_class_name(m));
    float *y = copy(forward(m, t, &g, ITEMS, NULL)->data, ITEMS * VALUES);
    float *z = copy(forward(m, t, &null, ITEMS, NULL)->data, ITEMS * VALUES);
    float *xy = gradients(m, t, &g, ITEMS);
    float *gy = copy(param_grads(s), param_total(s));
    float *xz = gradients(m, t, &null, ITEMS);
    float *gz = copy(param_grads(s), param_total(s));
    memset(param_grads(s), 0, (size_t)param_total(s) * sizeof(float));
    double flops = model_flops(m);
    tap_ok(model_set_guidance(m, w) == 0 && model_flops(m) == 2 * flops,
           "%s: guidance costs two evaluations", model_class_name(m));
    struct tensor *out = forward(m, t, &g, ITEMS, NULL);
    for (int64_t i = 0; i < ITEMS * VALUES; i++)
        err = fmax(err, fabs((double)out->data[i] - (double)z[i] -
                             w * ((double)y[i] - (double)z[i])));
    tape_backward(t, out, g.seed);
    for (int64_t i = 0; i < param_total(s); i++)
        dw = fmax(dw, fabs((double)param_grads(s)[i] - (1 - w) * (double)gz[i] -
                           w * (double)gy[i]));
    tap_ok(err < 1e-5 && dw < 2e-4, "%s: guided output and gradient: %.1e, %.1e",
           model_class_name(m), err, dw);
    struct tensor *x;
    float dx[ITEMS * VALUES];
    double far = 0;
    tape_backward(t, forward(m, t, &g, ITEMS, &x), g.seed);
    model_dx(x, ITEMS, dx);
    for (int64_t i = 0; i < ITEMS * VALUES; i++)
        far = fmax(far, fabs((double)dx[i] - (1 - w) * (double)xz[i] - w * (double)xy[i]));
    tap_ok(far < 2e-5, "%s: and its gradient by x: %.1e", model_class_name(m), far);
    float *const all[] = {y, z, gy, gz, xy, xz};
    for (int i = 0; i < 6; i++)
        mem_free(all[i]);
    tape_destroy(t);
    model_destroy(m);
}

/* A new network predicts 0 and learns at its end; written and read again it is the same. */
static void check_folder(const char *config, const char *work)
{
    char *path = text_new("%s/network.json", work), *folder = text_new("%s/model", work);
    struct tape *t = tape_create(backend_get("onednn", 2));
    struct given g = content(ITEMS, (const int64_t[]){0, 1, 2});
    char before[65], after[65] = "";
    if (file_write(path, config, (int64_t)strlen(config)) != 0)
        abort();
    struct model *m = model_new(path, 5), *again = NULL;
    int zero = 1;
    const struct tensor *y = forward(m, t, &g, ITEMS, NULL);
    for (int64_t i = 0; i < ITEMS * VALUES; i++)
        zero &= y->data[i] == 0;
    mem_free(gradients(m, t, &g, ITEMS));
    struct param *last = param_find(model_params(m), "out.linear.weight");
    float most = 0;
    for (int64_t i = 0; i < tensor_count(&last->t); i++)
        most = fmaxf(most, fabsf(last->t.grad[i]));
    tap_ok(zero && most > 0.1f, "%s: a new network predicts 0 and has a gradient, %g",
           model_class_name(m), (double)most);
    model_digest(m, param_values(model_params(m)), before);
    int rc = model_export(m, NULL, "{\"_class_name\": \"DDPMScheduler\"}", folder);
    if (rc == 0)
        again = model_open(folder, -1, false);
    if (again != NULL)
        model_digest(again, param_values(model_params(again)), after);
    tap_ok(again != NULL && strcmp(before, after) == 0 &&
               strcmp(model_class_name(m), model_class_name(again)) == 0,
           "%s: written and read again: %.16s", model_class_name(m),
           again != NULL ? after : err_text());
    model_destroy(m);
    model_destroy(again);
    tape_destroy(t);
    mem_free(path);
    mem_free(folder);
}

static void refuses(const char *config, const char *word)
{
    struct model *m = model_from_config(config, "config.json", false, false);
    tap_ok(m == NULL && err_code() == ERR_INPUT && strstr(err_text(), word) != NULL,
           "refuses: %s", m == NULL ? err_text() : config);
    model_destroy(m);
}

static void check_refusals(void)
{
#define SEQUENCE "{\"_class_name\": \"SequenceTransformer\", \"in_channels\": 4"
#define VECTOR "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 4"
    refuses(SEQUENCE "}", "sample_size: is missing");
    refuses(VECTOR "}", "sample_size: is missing");
    refuses(SEQUENCE ", \"sample_size\": [1, 0]}", "from 1 to 65536");
    refuses(SEQUENCE ", \"sample_size\": [1, 8, 2]}", "[height, width]");
    refuses(SEQUENCE ", \"sample_size\": [65536, 65536]}", "tokens");
    refuses(SEQUENCE ", \"sample_size\": [1, 8], \"hidden_size\": 30}", "do not divide");
    refuses(SEQUENCE ", \"sample_size\": [1, 8], \"hidden_size\": 1e3}", "hidden_size");
    refuses(SEQUENCE ", \"sample_size\": [1, 8], \"num_layer\": 3}",
            "did you mean 'num_layers'");
    refuses(SEQUENCE ", \"sample_size\": [1, 8], \"null_class\": 1}", "true or false");
    refuses(SEQUENCE ", \"sample_size\": [1, 8], \"null_class\": true}",
            "num_class_embeds");
    refuses(VECTOR ", \"sample_size\": 1, \"hidden_size\": 33}", "must be even");
    refuses(VECTOR ", \"sample_size\": [1, 1], \"num_layers\": 129}", "from 1 to 128");
    refuses(VECTOR ", \"sample_size\": 1, \"num_attention_heads\": 2}", "not known");
    refuses(VECTOR ", \"sample_size\": [1024, 1048576]}", "numbers");
    refuses("{\"_class_name\": \"MLPDenoise\"}", "SequenceTransformer");

    struct model *m = model_from_config(VECTOR ", \"sample_size\": 1}", "", false, false);
    tap_ok(model_null_label(m) == -1 && model_set_guidance(m, 2) != 0 &&
               err_code() == ERR_USAGE && model_set_guidance(m, 1) == 0,
           "guidance without classes is refused: %s", err_text());
    struct tape *t = tape_create(backend_get("onednn", 2));
    tape_begin(t, false);
    struct model_input in = {.batch = 1, .height = 1, .width = 2,
                             .x = (const float[8]){0}, .timesteps = (const float[]){1}};
    tap_ok(model_forward(m, t, &in, NULL) == NULL && strstr(err_text(), "4 x 1 x 1"),
           "another size is refused: %s", err_text());
    model_destroy(m);
    m = random_model(configs[0]);
    struct given g = content(1, (const int64_t[]){0});
    g.labels[0] = 5;
    tap_ok(forward(m, t, &g, 1, NULL) == NULL && strstr(err_text(), "0..4"),
           "a label beyond \"no class\" is refused: %s", err_text());
    model_destroy(m);
    tape_destroy(t);
}

static void clean(const char *work)
{
    static const char *const files[] = {"network.json", "model/model_index.json",
                                        "model/unet/config.json",
                                        "model/unet/diffusion_pytorch_model.safetensors",
                                        "model/scheduler/scheduler_config.json"};
    static const char *const folders[] = {"model/unet", "model/scheduler", "model", ""};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = text_new("%s/%s", work, files[i]);
        unlink(path);
        mem_free(path);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *path = text_new("%s/%s", work, folders[i]);
        rmdir(path);
        mem_free(path);
    }
}

int main(void)
{
    const int64_t start = mem_live();
    const char *tmp = getenv("TMPDIR");
    char *work = text_new("%s/token-networks.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(work) == NULL)
        return 1;
    for (size_t i = 0; i < CONFIGS; i++) {
        check_gradients(configs[i], "onednn");
        check_position(configs[i], DTYPE_F32);
        check_position(configs[i], DTYPE_BF16);
        check_bf16(configs[i]);
        check_folder(configs[i], work);
    }
    check_gradients(configs[0], "reference");
    check_guidance(configs[0]);
    check_guidance(configs[2]);
    check_refusals();
    clean(work);
    mem_free(work);
    tap_ok(mem_live() - start <= 1, "nothing is left but the library's streams: %lld",
           (long long)(mem_live() - start));
    return tap_done();
}
