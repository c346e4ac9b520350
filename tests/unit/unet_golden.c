/* UNet2DModel against numbers of the peer (float64 runs of its own code): outputs,
 * loss, gradients, parameter order, and the deterministic weights. Bounds are the
 * peer's own float32 error in the same quantity times FACTOR. Runs in one process.
 *
 * SLUICE_SKIP_SLOW in the environment leaves out the 36 M parameter network. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "stages/model/model.h"
#include "stages/model/unet2d.h"
#include "stages/nn/backend.h"
#include "tests/tap.h"

#define FACTOR 4.0

/* How networks are evaluated. bfloat16 is emulated, so that it runs on any processor. */
static struct mode {
    const char *backend;
    enum dtype dtype;
} mode;

static char root[1100]; /* the goldens */

/* One network with one set of inputs, evaluated forward and backward. */
struct run {
    struct model *m;
    struct tape *tape;
    struct st_file *io;
    struct tensor *out, *x;
    double loss;
};

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, err_text());
    exit(1);
}

static const struct st_tensor *need(const struct st_file *f, const char *name)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL)
        die(name);
    return t;
}

static double *f64(const struct st_tensor *t)
{
    double *v = mem_alloc(t->count, sizeof *v);
    if (st_to_f64(t, v) != 0)
        die(t->name);
    return v;
}

static float *f32(const struct st_tensor *t)
{
    float *v = mem_alloc(t->count, sizeof *v);
    if (st_to_f32(t, v) != 0)
        die(t->name);
    return v;
}

/* dir: of the io file; folder: of the network (same where NULL). */
static void start(struct run *r, const char *dir, const char *folder, int64_t seed)
{
    char *path = text_new("%s/%s/io.safetensors", root, dir);
    char *net = text_new("%s/%s", root, folder != NULL ? folder : dir);
    const struct backend *b = backend_get(mode.backend, 2);
    r->io = st_open(path);
    r->m = model_open(net, seed, true);
    if (r->io == NULL || r->m == NULL || b == NULL)
        die(dir);
    r->tape = tape_create(b);
    tape_set_dtype(r->tape, mode.dtype);
    const struct st_tensor *x = need(r->io, "x"),
                           *labels = st_find(r->io, "class_labels");
    float *values = f32(x), *steps = f32(need(r->io, "timesteps"));
    int64_t *ids = mem_alloc(x->dim[0], sizeof *ids);
    struct model_input in = {.batch = x->dim[0],
                             .height = x->dim[2],
                             .width = x->dim[3],
                             .x = values,
                             .timesteps = steps,
                             .labels = labels != NULL ? ids : NULL,
                             .want_dx = true};
    if (labels != NULL && st_to_i64(labels, ids) != 0)
        die(dir);
    tape_begin(r->tape, true);
    r->out = model_forward(r->m, r->tape, &in, &r->x);
    if (r->out == NULL)
        die(dir);
    mem_free(ids);
    mem_free(steps);
    mem_free(values);
    mem_free(net);
    mem_free(path);
}

static void backward(struct run *r)
{
    int64_t n = tensor_count(r->out);
    float *target = f32(need(r->io, "target")), *seed = mem_alloc(n, sizeof *seed);
    r->loss = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)r->out->data[i] - (double)target[i];
        r->loss += d * d / (double)n;
        seed[i] = (float)(2 * d / (double)n);
    }
    if (tape_backward(r->tape, r->out, seed) != 0)
        die("backward");
    mem_free(seed);
    mem_free(target);
}

static void stop(struct run *r)
{
    tape_destroy(r->tape);
    model_destroy(r->m);
    st_close(r->io);
}

static double distance(const float *a, const double *b, int64_t n)
{
    double d = 0;
    for (int64_t i = 0; i < n; i++)
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(d);
}

static double norm64(const double *a, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += a[i] * a[i];
    return sqrt(s);
}

static void below(double got, double bound, const char *where, const char *what)
{
    tap_ok(got <= bound, "%s: %s: %.3g (at most %.3g)", where, what, got, bound);
}

/* Relative L2 distance of a tensor to the io file's. */
static void compare(const struct run *r, const float *got, const char *name,
                    double bound, const char *where)
{
    const struct st_tensor *t = need(r->io, name);
    double *want = f64(t);
    below(distance(got, want, t->count) / norm64(want, t->count), bound, where, name);
    mem_free(want);
}

/* Analytically zero: attention weights do not change when all keys are shifted. */
static bool key_bias(const char *name)
{
    return strstr(name, ".to_k.bias") != NULL || strstr(name, ".key.bias") != NULL;
}

/* How far from float64 we may be: a few times the peer's own distance in float32, no
 * further than the peer in bfloat16. */
static double allowed(const struct json *error, const char *what)
{
    double v = 0;
    const bool half = mode.dtype == DTYPE_BF16;
    if (!json_to_f64(json_get(json_get(error, half ? "bf16_autocast" : "f32"), what), &v))
        die(what);
    return half ? v : FACTOR * v;
}

static void compare_run(const struct run *r, const struct json *error,
                        const char *where)
{
    double loss = 0;
    compare(r, r->out->data, "eps_f64", allowed(error, "out_rel_l2"), where);
    compare(r, r->x->grad, "dx_f64", allowed(error, "dx_rel_l2"), where);
    if (st_to_f64(need(r->io, "loss_f64"), &loss) != 0)
        die("loss_f64");
    /* One number's error in the peer may be small by luck; a float's spacing is not. */
    double spacing = FACTOR * 0x1p-24 * fabs(loss), bound = allowed(error, "loss_abs");
    if (mode.dtype == DTYPE_F32)
        below(fabs(r->loss - loss), bound > spacing ? bound : spacing, where, "loss");
}

static void compare_order(const struct run *r, const struct json *order,
                          const char *where)
{
    struct param_set *s = model_params(r->m);
    int64_t n = param_number(s), same = 0;
    for (int64_t i = 0; i < n && i < json_count(order); i++)
        same += strcmp(param_at(s, i)->name, json_text(json_item(order, i))) == 0;
    tap_ok(n == json_count(order) && same == n,
           "%s: %lld parameters in the peer's order", where, (long long)n);
}

static void test_tiny(void)
{
    struct run r;
    char *path = text_new("%s/unet_tiny/grads.safetensors", root);
    char *errors = text_new("%s/unet_tiny/peer_error.json", root);
    char *info = text_new("%s/ddpo_update/info.json", root);
    struct st_file *grads = st_open(path);
    struct json *error = json_read(errors, 1 << 20), *order = json_read(info, 1 << 20);
    if (grads == NULL || error == NULL || order == NULL)
        die("unet_tiny");
    start(&r, "unet_tiny", NULL, -1);
    backward(&r);
    compare_run(&r, error, "unet_tiny");
    compare_order(&r, json_get(order, "grad_order"), "unet_tiny");
    struct param_set *s = model_params(r.m);
    double worst = 0, all = 0, total = 0, zero = 0;
    const char *name = "";
    for (int64_t i = 0; i < param_number(s); i++) {
        const struct param *p = param_at(s, i);
        char *key = text_new("grad.%s", p->name);
        const struct st_tensor *t = need(grads, key);
        double *want = f64(t);
        double d = distance(p->t.grad, want, t->count), l2 = norm64(want, t->count);
        all += d * d;
        total += l2 * l2;
        if (key_bias(p->name)) {
            zero = d > zero ? d : zero;
        } else if (d / l2 > worst) {
            worst = d / l2;
            name = p->name;
        }
        mem_free(want);
        mem_free(key);
    }
    below(worst, allowed(error, "grad_rel_l2_worst"), name, "worst gradient");
    below(sqrt(all / total), allowed(error, "grad_rel_l2_all"), "unet_tiny",
          "all gradients");
    if (mode.dtype == DTYPE_F32)
        below(zero, 1e-7 * sqrt(total), "unet_tiny", "gradients of key biases");
    stop(&r);
    json_free(order);
    json_free(error);
    st_close(grads);
    mem_free(info);
    mem_free(errors);
    mem_free(path);
}

/* Norms and first values of every gradient; rows of `first` are zero padded. */
static void compare_gradients(const struct run *r, const char *first, double bound,
                              const char *where)
{
    struct param_set *s = model_params(r->m);
    const struct st_tensor *ft = need(r->io, first);
    double *l2 = f64(need(r->io, "grad_l2")), *head = f64(ft);
    double worst = 0, worst_head = 0, zero = 0;
    double total = norm64(l2, param_number(s));
    for (int64_t i = 0; i < param_number(s); i++) {
        const struct param *p = param_at(s, i);
        int64_t n = tensor_count(&p->t), k = n < ft->dim[1] ? n : ft->dim[1];
        double got = 0;
        for (int64_t j = 0; j < n; j++)
            got += (double)p->t.grad[j] * (double)p->t.grad[j];
        got = sqrt(got);
        if (key_bias(p->name)) {
            zero = got > zero ? got : zero;
            continue;
        }
        worst = fmax(worst, fabs(got - l2[i]) / l2[i]);
        /* In units of what k values of this gradient weigh, at least on average. */
        double *want = head + i * ft->dim[1],
               weight = l2[i] * sqrt((double)k / (double)n);
        weight = fmax(weight, norm64(want, k));
        worst_head = fmax(worst_head, distance(p->t.grad, want, k) / weight);
    }
    below(worst, bound, where, "gradient norms");
    if (mode.dtype == DTYPE_F32) { /* of a few values more than chance is known */
        below(worst_head, bound, where, "first values of gradients");
        below(zero, 1e-7 * total, where, "gradients of key biases");
    }
    mem_free(head);
    mem_free(l2);
}

/* First values (bit for bit) and sums of all generated weights. */
static void compare_weights(const struct run *r, const struct json *params,
                            const char *where)
{
    const struct json *first = json_get(params, "first4"),
                      *sums = json_get(params, "sum_f64");
    struct param_set *s = model_params(r->m);
    int64_t same = 0;
    double worst = 0, v = 0;
    for (int64_t i = 0; i < param_number(s); i++) {
        const struct param *p = param_at(s, i);
        const struct json *head = json_get(first, p->name);
        int64_t n = tensor_count(&p->t), good = 0;
        double sum = 0;
        for (int64_t k = 0; k < json_count(head); k++)
            good += json_to_f64(json_item(head, k), &v) && (float)v == p->t.data[k];
        for (int64_t k = 0; k < n; k++)
            sum += (double)p->t.data[k];
        same += json_count(head) > 0 && good == json_count(head);
        if (!json_to_f64(json_get(sums, p->name), &v))
            die(p->name);
        worst = fmax(worst, fabs(sum - v) / sqrt((double)n));
    }
    tap_ok(same == param_number(s), "%s: first values of all weights", where);
    below(worst, 1e-10, where, "sums of weights");
}

static void test_generated(const char *dir, const char *first)
{
    struct run r;
    char *path = text_new("%s/%s/params.json", root, dir);
    struct json *params = json_read(path, 1 << 24);
    int64_t seed = -1;
    if (params == NULL || !json_to_i64(json_get(params, "weight_seed"), &seed))
        die(dir);
    const struct json *error = json_get(params, "peer_error");
    start(&r, dir, NULL, seed);
    if (json_get(params, "first4") != NULL)
        compare_weights(&r, params, dir);
    backward(&r);
    compare_run(&r, error, dir);
    compare_order(&r, json_get(params, "grad_order"), dir);
    compare_gradients(&r, first, allowed(error, "grad_rel_l2_worst"), dir);
    stop(&r);
    json_free(params);
    mem_free(path);
}

static void test_old_names(void)
{
    struct run r;
    start(&r, "unet_oldnames", NULL, -1);
    compare(&r, r.out->data, "eps_f32", 4e-6, "unet_oldnames");
    struct param_set *s = model_params(r.m);
    tap_ok(param_find(s, "mid_block.attentions.0.query.weight") != NULL &&
               param_find(s, "mid_block.attentions.0.to_q.weight") == NULL,
           "unet_oldnames: parameters keep the file's names");
    stop(&r);
}

/* An item's result has the same bits alone and in a batch. */
static void test_batch_invariance(void)
{
    struct run r;
    start(&r, "unet_tiny", NULL, -1);
    int64_t n = tensor_count(r.out) / r.out->dim[0];
    float *whole = mem_alloc(3 * n, sizeof *whole), *x = f32(need(r.io, "x"));
    float *steps = f32(need(r.io, "timesteps"));
    memcpy(whole, r.out->data, (size_t)(3 * n) * sizeof *whole);
    int same = 1;
    for (int64_t i = 0; i < 3; i++) {
        struct model_input in = {.batch = 1, .height = 16, .width = 16};
        in.x = x + i * n;
        in.timesteps = steps + i;
        tape_begin(r.tape, false);
        const struct tensor *out = model_forward(r.m, r.tape, &in, NULL);
        same = same && memcmp(out->data, whole + i * n, (size_t)n * sizeof *whole) == 0;
    }
    tap_ok(same, "an item has the same bits alone and in a batch of three");
    mem_free(steps);
    mem_free(x);
    mem_free(whole);
    stop(&r);
}

static void test_sinusoids(void)
{
    char *path = text_new("%s/unet_tiny/io.safetensors", root);
    struct st_file *f = st_open(path);
    struct unet2d_config c = {.channels = {32}, .flip_sin_to_cos = true};
    float out[3 * 32], *steps = f32(need(f, "timesteps"));
    double *want = f64(need(f, "time_proj")), worst = 0;
    unet2d_sinusoids(&c, steps, 3, out);
    for (int i = 0; i < 3 * 32; i++)
        worst = fmax(worst, fabs((double)out[i] - want[i]));
    /* The peer's exp is one bit off for one frequency; t times that is what is seen. */
    below(worst, 2e-6, "time embedding", "largest difference");
    mem_free(want);
    mem_free(steps);
    st_close(f);
    mem_free(path);
}

static void test_generator(void)
{
    char *path = text_new("%s/detinit/vectors.json", root), hex[20];
    struct json *v = json_read(path, 1 << 20);
    int64_t seed = 0, same = 0;
    if (v == NULL || !json_to_i64(json_get(v, "seed"), &seed))
        die(path);
    const struct json *hash = json_get(json_get(v, "hashes"), "conv_in.weight");
    uint64_t key = rng_name_key("conv_in.weight", (uint64_t)seed);
    for (int64_t i = 0; i < json_count(hash); i++) {
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)rng_u64(key, i));
        same += strcmp(hex, json_text(json_item(hash, i))) == 0;
    }
    tap_ok(same == 4, "generator: hashes");
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)rng_mix64((uint64_t)seed));
    tap_ok(strcmp(hex, json_text(json_get(v, "mix64_of_seed"))) == 0, "generator: mix");
    json_free(v);
    mem_free(path);
}

int main(void)
{
    static const char *const variants[] = {
        "unet_variants/pad0_noflip", "unet_variants/class_cond",
        "unet_variants/all_attn_rect", "unet_variants/one_level"};
    static const struct mode modes[] = {{"reference", DTYPE_F32},
                                        {"onednn", DTYPE_F32},
                                        {"reference", DTYPE_BF16},
                                        {"emulated", DTYPE_BF16},
                                        {"onednn", DTYPE_BF16}};
    enum { MODES = sizeof modes / sizeof *modes };
    const char *dir = tap_shared("goldens");
    if (dir == NULL)
        return tap_skip_all("the reference numbers (goldens) are not here");
    snprintf(root, sizeof root, "%s", dir);
    for (int b = 0; b < MODES; b++)
        backend_get(modes[b].backend, 2);
    int64_t kept = mem_live(); /* by the back ends, for the process's life */
    test_generator();
    test_sinusoids();
    for (int b = 0; b < MODES; b++) {
        mode = modes[b];
        printf("# back end %s, %s\n", mode.backend, dtype_name(mode.dtype));
        if (mode.dtype == DTYPE_BF16 && !backend_has_bf16(mode.backend)) {
            tap_skip(mode.backend, "this processor has no bfloat16 instructions");
            continue;
        }
        test_tiny();
        for (int i = 0; i < 4; i++)
            test_generated(variants[i], "grad_first8");
        if (mode.dtype == DTYPE_F32)
            test_old_names();
        test_batch_invariance();
    }
    for (int b = 0; b < MODES; b++) {
        mode = modes[b];
        if (strcmp(mode.backend, "reference") == 0)
            continue;
        if (getenv("SLUICE_SKIP_SLOW") != NULL)
            tap_skip("unet_cifar10", "SLUICE_SKIP_SLOW is set");
        else if (mode.dtype == DTYPE_BF16 && !backend_has_bf16(mode.backend))
            tap_skip("unet_cifar10", "this processor has no bfloat16 instructions");
        else
            test_generated("unet_cifar10", "grad_first16");
    }
    backend_clear();
    tap_ok(mem_live() == kept, "no memory is left");
    return tap_done();
}
