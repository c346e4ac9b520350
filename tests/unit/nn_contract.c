/* What the engine promises beside right values, for each back end; one rank:
 * - an item's result and gradient do not depend, bit for bit, on its place in the batch
 *   or on the other items;
 * - all bits are the same at 1, 2 and 3 threads, and from run to run;
 * - a step allocates nothing once its shapes were seen;
 * - the fast kernels agree with the reference. */
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/ops.h"
#include "tests/tap.h"

#include <sys/wait.h>
#include <unistd.h>

struct layer {
    const char *name;
    char what; /* c conv, l linear, n norm, a attention, e norm + silu on [N, T, C],
               m modulated norm, gelu, gate, table */
    int64_t side, in, out, k;
    struct conv_shape s;
};

static const struct layer layers[] = {
    {"conv 3-32 @32", 'c', 32, 3, 32, 3, {1, {1, 1, 1, 1}}},
    {"conv 32-64 @16", 'c', 16, 32, 64, 3, {1, {1, 1, 1, 1}}},
    {"conv 64-64 @8", 'c', 8, 64, 64, 3, {1, {1, 1, 1, 1}}},
    {"conv 64-64 @4", 'c', 4, 64, 64, 3, {1, {1, 1, 1, 1}}},
    {"conv 64-3 @32", 'c', 32, 64, 3, 3, {1, {1, 1, 1, 1}}},
    {"conv 1x1 96-64 @8", 'c', 8, 96, 64, 1, {1, {0, 0, 0, 0}}},
    {"conv / 2 64-64 @16", 'c', 16, 64, 64, 3, {2, {1, 1, 1, 1}}},
    {"conv / 2 32-32 @8, pad 0 1 0 1", 'c', 8, 32, 32, 3, {2, {0, 1, 0, 1}}},
    {"conv 5-7 @7", 'c', 7, 5, 7, 3, {1, {1, 1, 1, 1}}},
    {"linear 64-256 [N, C]", 'l', 1, 64, 256, 1, {0}},
    {"linear 70-33 [N, T, C]", 'l', 7, 70, 33, 1, {0}},
    {"linear 600-64 [N, T, C]", 'l', 4, 600, 64, 1, {0}},
    {"norm 64 @8", 'n', 8, 64, 8, 1, {0}},
    {"norm 30 @5 + silu", 'e', 5, 30, 5, 1, {0}},
    {"attention 64 @8, 8 heads", 'a', 8, 64, 8, 1, {0}},
    {"attention 32 @17, 1 head", 'a', 17, 32, 1, 1, {0}},
    {"transformer branch 60 @9", 'm', 9, 60, 1, 1, {0}},
    {"transformer branch 64 @32", 'm', 32, 64, 1, 1, {0}},
};
#define LAYERS (sizeof layers / sizeof layers[0])

/* The table is made from x itself, so that its gradient ends there. */
static struct tensor *branch(struct tape *t, struct tensor *x, struct param_set *p)
{
    const int64_t n = x->dim[0], c = x->dim[2], rows = x->dim[1];
    const int64_t chunks[2] = {n, rows * c};
    struct tensor *table = op_affine(t, op_view(t, x, 2, chunks), 0.5f, 0.1f);
    struct modulate at = {.shift = 3, .scale = 1};
    struct tensor *h = op_gelu(t, op_modulated_norm(t, x, table, at, 1e-6f));
    return op_gate(t, op_add_table(t, x, param_at(p, 4)), h, table, 2);
}

static struct tensor *apply(const struct layer *l, struct tape *t, struct tensor *x,
                            struct param_set *p)
{
    const int64_t flat[3] = {x->dim[0], l->side * l->side, l->in};
    switch (l->what) {
    case 'c':
        return op_conv2d(t, x, param_at(p, 0), param_at(p, 1), l->s, (struct extras){0});
    case 'l':
        return op_linear(t, (struct inputs){op_view(t, x, 3, flat), NULL}, param_at(p, 0),
                         param_at(p, 1), NULL);
    case 'a':
        x = op_view(t, x, 3, flat);
        return op_attention(t, x, op_affine(t, x, 0.5f, 0), op_silu(t, x), (int)l->out);
    case 'm':
        return branch(t, op_view(t, x, 3, flat), p);
    default:
        return op_group_norm(t, (struct inputs){x, NULL}, param_at(p, 2), param_at(p, 3),
                             (int)l->out, 1e-5f, l->what == 'e');
    }
}

static struct param_set *params_of(const struct layer *l)
{
    struct param_set *p = param_create();
    param_declare(p, "w.weight", 4, (const int64_t[]){l->out, l->in, l->k, l->k});
    param_declare(p, "w.bias", 1, (const int64_t[]){l->out});
    param_declare(p, "n.weight", 1, (const int64_t[]){l->in});
    param_declare(p, "n.bias", 1, (const int64_t[]){l->in});
    param_declare(p, "table", 2, (const int64_t[]){l->side * l->side, l->in});
    param_allocate(p, 1);
    for (int64_t i = 0; i < param_number(p); i++) {
        struct param *q = param_at(p, i);
        rng_detinit(q->name, 5, q->t.nd, q->t.dim, q->t.data);
    }
    param_touch(p);
    return p;
}

/* Fills n items; item i gets the random content `which[i]`. */
static void fill(float *x, int64_t items, int64_t size, const int64_t *which, int64_t salt)
{
    for (int64_t i = 0; i < items; i++)
        rng_normal(rng_key(9, RNG_TEST, which[i], salt, 0, 0), x + i * size, size);
}

struct result {
    int64_t in, out;  /* values per item */
    float *y, *dx;    /* of all items */
    float *dw;        /* of all parameters */
};

static struct result run(const struct layer *l, struct tape *t, struct param_set *p,
                         int64_t n, const int64_t *which)
{
    const int64_t dim[4] = {n, l->side, l->side, l->in};
    memset(param_grads(p), 0, (size_t)param_total(p) * sizeof(float));
    tape_begin(t, true);
    struct tensor *x = tape_tensor(t, 4, dim, true);
    struct result r = {.in = tensor_count(x) / n};
    fill(x->data, n, r.in, which, 0);
    struct tensor *y = apply(l, t, x, p);
    r.out = tensor_count(y) / n;
    float *seed = mem_alloc(n * r.out, sizeof *seed);
    fill(seed, n, r.out, which, 1);
    tape_backward(t, y, seed);
    r.y = memcpy(mem_alloc(n * r.out, sizeof(float)), y->data,
                 (size_t)(n * r.out) * sizeof(float));
    r.dx = memcpy(mem_alloc(n * r.in, sizeof(float)), x->grad,
                  (size_t)(n * r.in) * sizeof(float));
    r.dw = memcpy(mem_alloc(param_total(p), sizeof(float)), param_grads(p),
                  (size_t)param_total(p) * sizeof(float));
    mem_free(seed);
    return r;
}

static void result_free(struct result r)
{
    mem_free(r.y);
    mem_free(r.dx);
    mem_free(r.dw);
}

static int same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* Content 0..n-1 in order against content k at every other place among strangers. */
static void check_position(const struct backend *b, const struct layer *l, int64_t n)
{
    struct tape *t = tape_create(b);
    struct param_set *p = params_of(l);
    int64_t which[16], bad = 0, bad_dx = 0;
    for (int64_t i = 0; i < n; i++)
        which[i] = i;
    struct result all = run(l, t, p, n, which);
    for (int64_t shift = 1; shift < n; shift += n > 4 ? 5 : 1) {
        for (int64_t i = 0; i < n; i++)
            which[i] = i % 2 == 0 ? (i + shift) % n : 100 + i;
        struct result r = run(l, t, p, n, which);
        for (int64_t i = 0; i < n; i += 2) {
            bad += !same(r.y + i * r.out, all.y + which[i] * r.out, r.out);
            bad_dx += !same(r.dx + i * r.in, all.dx + which[i] * r.in, r.in);
        }
        result_free(r);
    }
    tap_ok(bad == 0 && bad_dx == 0, "%s: %s, batch %lld: place changes %lld y, %lld dx",
           backend_name(b), l->name, (long long)n, (long long)bad, (long long)bad_dx);
    result_free(all);
    tape_destroy(t);
    param_destroy(p);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double num = 0, den = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        num += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        den += (double)b[i] * b[i];
    }
    return sqrt(num / den);
}

static void check_values(const struct backend *fast, const struct backend *plain,
                         const struct layer *l)
{
    static const int64_t which[] = {0, 1, 2};
    struct result r[2];
    int64_t total = 0;
    for (int i = 0; i < 2; i++) {
        struct tape *t = tape_create(i == 0 ? fast : plain);
        struct param_set *p = params_of(l);
        r[i] = run(l, t, p, 3, which);
        total = param_total(p);
        tape_destroy(t);
        param_destroy(p);
    }
    double y = distance(r[0].y, r[1].y, 3 * r[0].out);
    double dx = distance(r[0].dx, r[1].dx, 3 * r[0].in);
    double dw = distance(r[0].dw, r[1].dw, total);
    tap_ok(y < 5e-7 && dx < 5e-7 && dw < 1e-6,
           "%s against reference: %s: y %.1e, dx %.1e, dw %.1e", backend_name(fast),
           l->name, y, dx, dw);
    result_free(r[0]);
    result_free(r[1]);
}

/* A digest of everything all layers give, twice in one process. */
static void digest(const char *name, int threads, uint64_t out[2])
{
    static const int64_t which[] = {0, 1, 2, 3, 4, 5, 6};
    const struct backend *b = backend_get(name, threads);
    for (int again = 0; again < 2; again++) {
        uint64_t h = 0;
        for (size_t i = 0; i < LAYERS; i++) {
            struct tape *t = tape_create(b);
            struct param_set *p = params_of(&layers[i]);
            struct result r = run(&layers[i], t, p, 7, which);
            const float *of[3] = {r.y, r.dx, r.dw};
            const int64_t n[3] = {7 * r.out, 7 * r.in, param_total(p)};
            for (int k = 0; k < 3; k++)
                for (int64_t j = 0; j < n[k]; j++) {
                    uint32_t u;
                    memcpy(&u, &of[k][j], sizeof u);
                    h = rng_mix64(h ^ u);
                }
            result_free(r);
            tape_destroy(t);
            param_destroy(p);
        }
        out[again] = h;
    }
}

/* In processes of their own, since the thread count is fixed once. */
static void check_threads(const char *name)
{
    uint64_t got[3][2] = {{0}};
    for (int i = 0; i < 3; i++) {
        int fd[2];
        if (pipe(fd) != 0)
            abort();
        pid_t child = fork();
        if (child == 0) {
            uint64_t h[2];
            digest(name, i + 1, h);
            _exit(write(fd[1], h, sizeof h) == (ssize_t)sizeof h ? 0 : 1);
        }
        close(fd[1]);
        ssize_t n = read(fd[0], got[i], sizeof got[i]);
        close(fd[0]);
        waitpid(child, NULL, 0);
        tap_ok(n == (ssize_t)sizeof got[i] && got[i][0] == got[i][1] && got[i][0] != 0,
               "%s, %d threads: twice the same bits", name, i + 1);
    }
    tap_ok(got[0][0] == got[1][0] && got[1][0] == got[2][0],
           "%s: the same bits at 1, 2 and 3 threads", name);
}

static void check_memory(const struct backend *b)
{
    static const int64_t which[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int64_t live[5], bytes[5];
    struct tape *t = tape_create(b);
    struct param_set *p[LAYERS];
    for (size_t i = 0; i < LAYERS; i++)
        p[i] = params_of(&layers[i]);
    for (int step = 0; step < 5; step++) {
        for (size_t i = 0; i < LAYERS; i++) {
            struct result r = run(&layers[i], t, p[i], 4, which);
            param_touch(p[i]);
            result_free(r);
        }
        live[step] = mem_live();
        bytes[step] = tape_bytes(t);
    }
    tap_ok(live[2] == live[1] && live[4] == live[1] && bytes[4] == bytes[1],
           "%s: %lld blocks and %lld bytes after step 2, %lld and %lld after step 5",
           backend_name(b), (long long)live[1], (long long)bytes[1], (long long)live[4],
           (long long)bytes[4]);
    tape_destroy(t);
    for (size_t i = 0; i < LAYERS; i++)
        param_destroy(p[i]);
}

/* New values are seen after a touch: the packed copies are made again. */
static void check_touch(const struct backend *b)
{
    struct tape *t = tape_create(b);
    struct param_set *p = params_of(&layers[2]);
    struct result r = run(&layers[2], t, p, 1, (const int64_t[]){1});
    for (int64_t i = 0; i < param_total(p); i++)
        param_values(p)[i] *= 2;
    param_touch(p);
    struct result s = run(&layers[2], t, p, 1, (const int64_t[]){1});
    int good = 1;
    for (int64_t i = 0; i < r.out; i++)
        good &= s.y[i] == 2 * r.y[i];
    for (int64_t i = 0; i < r.in; i++)
        good &= s.dx[i] == 2 * r.dx[i];
    tap_ok(good, "%s: doubled weights double y and dx", backend_name(b));
    result_free(r);
    result_free(s);
    tape_destroy(t);
    param_destroy(p);
}

/* SiLU over its whole range, in units of the last place; NaN stays NaN. */
static void check_silu(const struct backend *b)
{
    const int64_t n = 200001;
    struct tape *t = tape_create(b);
    double worst = 0;
    tape_begin(t, false);
    struct tensor *x = tape_tensor(t, 1, &n, false);
    for (int64_t i = 0; i < n; i++)
        x->data[i] = (float)((double)(i - n / 2) * 1.6e-3 / 2);
    x->data[n - 1] = NAN;
    x->data[n - 2] = 1e30f;
    x->data[n - 3] = -1e30f;
    const float *y = op_silu(t, x)->data;
    for (int64_t i = 0; i < n - 3; i++) {
        double z = x->data[i], want = z / (1 + exp(-z));
        worst = fmax(worst, fabs(y[i] - want) / (fabs(want) + 1e-30) * 16777216);
    }
    tap_ok(worst < 6, "%s: silu on [-80, 80]: %.1f half units", backend_name(b), worst);
    tap_ok(isnan(y[n - 1]) && y[n - 2] == 1e30f && fabs((double)y[n - 3]) < 1e-7,
           "%s: silu of NaN, 1e30, -1e30: %g %g %g", backend_name(b), (double)y[n - 1],
           (double)y[n - 2], (double)y[n - 3]);
    tape_destroy(t);
}

int main(void)
{
    static const char *const names[] = {"onednn", "reference"};
    int64_t start = mem_live();
    check_threads("onednn");
    const struct backend *b[2] = {backend_get(names[0], 2), backend_get(names[1], 2)};
    for (size_t i = 0; i < LAYERS; i++) {
        check_position(b[0], &layers[i], 3);
        check_position(b[0], &layers[i], 16);
        check_values(b[0], b[1], &layers[i]);
    }
    check_position(b[1], &layers[2], 3);
    check_memory(b[0]);
    check_touch(b[0]);
    check_touch(b[1]);
    check_silu(b[0]);
    check_silu(b[1]);
    tap_ok(mem_live() - start <= 1, "nothing is left but the library's streams: %lld",
           (long long)(mem_live() - start));
    return tap_done();
}
