/* Memory of evaluations: the pool hands out pieces that do not overlap and uses them
 * again; tensors live as long as somebody needs them; what is made again has the same
 * bits; gradient checkpointing needs less and changes no bit. */
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/model/model.h"
#include "stages/nn/backend.h"
#include "stages/nn/pool.h"
#include "tests/tap.h"

enum { PIECES = 200, TURNS = 20000 };

struct piece {
    unsigned char *at;
    int64_t size;
};

static bool holds(const struct piece *p, int i)
{
    for (int64_t k = 0; k < p->size; k++)
        if (p->at[k] != (unsigned char)i)
            return false;
    return true;
}

/* Pieces of random sizes come and go; each is filled with its number. */
static void test_pool(void)
{
    struct pool *p = pool_create();
    struct piece piece[PIECES] = {{0}};
    int64_t bad = 0, crooked = 0, sum = 0;
    for (int64_t turn = 0; turn < TURNS; turn++) {
        uint64_t r = rng_mix64((uint64_t)turn + 1);
        int i = (int)(r % PIECES);
        if (piece[i].at != NULL) {
            bad += !holds(&piece[i], i);
            pool_give(p, piece[i].at);
            sum -= (piece[i].size + 63) / 64 * 64;
            piece[i].at = NULL;
        } else {
            piece[i].size = 1 + (int64_t)((r >> 20) % 5000);
            piece[i].at = pool_take(p, piece[i].size);
            crooked += (uintptr_t)piece[i].at % 64 != 0;
            memset(piece[i].at, i, (size_t)piece[i].size);
            sum += (piece[i].size + 63) / 64 * 64;
        }
        bad += pool_used(p) != sum;
    }
    tap_ok(bad == 0 && crooked == 0,
           "pool: %d turns, %lld pieces damaged, %lld crooked", TURNS, (long long)bad,
           (long long)crooked);
    tap_ok(pool_peak(p) < 2 * PIECES * 5000 / 2 + 100000, "pool: peak %lld bytes",
           (long long)pool_peak(p));
    void *first = pool_take(p, 100);
    pool_reset(p);
    tap_ok(pool_used(p) == 0 && first != NULL, "pool: a reset takes everything back");
    for (int i = 0; i < 3; i++)
        piece[i].at = pool_take(p, 1000);
    pool_give(p, piece[0].at);
    pool_give(p, piece[1].at);
    tap_ok(pool_take(p, 2000) == piece[0].at, "pool: free neighbours are joined");
    pool_destroy(p);
}

static const char config[] =
    "{\"_class_name\": \"UNet2DModel\", \"sample_size\": 16, \"in_channels\": 3,"
    " \"out_channels\": 3, \"block_out_channels\": [16, 32], \"layers_per_block\": 1,"
    " \"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\"],"
    " \"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"], \"norm_num_groups\": 4,"
    " \"attention_head_dim\": 8}";

struct result {
    int64_t bytes, n;
    float *grads, *dx;
};

enum { BATCH = 5, VALUES = BATCH * 3 * 16 * 16 };

/* One training step on a fixed input. */
static struct result step(struct model *m, const char *backend, enum dtype type,
                          bool recompute)
{
    struct tape *t = tape_create(backend_get(backend, 2));
    struct param_set *s = model_params(m);
    float *x = mem_alloc(VALUES, sizeof *x), when[BATCH];
    struct tensor *given;
    struct model_input in = {.batch = BATCH,
                             .height = 16,
                             .width = 16,
                             .x = x,
                             .timesteps = when,
                             .want_dx = true};
    rng_normal(5, x, VALUES);
    for (int i = 0; i < BATCH; i++)
        when[i] = (float)(200 * i);
    tape_set_dtype(t, type);
    tape_set_recompute(t, recompute);
    struct result r = {.n = param_total(s)};
    for (int again = 0; again < 2; again++) {
        memset(param_grads(s), 0, (size_t)r.n * sizeof(float));
        tape_begin(t, true);
        struct tensor *y = model_forward(m, t, &in, &given);
        tape_backward(t, y, x);
    }
    r.bytes = tape_bytes(t) - tape_scratch_bytes(t);
    r.grads = memcpy(mem_alloc(r.n, sizeof(float)), param_grads(s),
                     (size_t)r.n * sizeof(float));
    r.dx =
        memcpy(mem_alloc(VALUES, sizeof(float)), given->grad, VALUES * sizeof(float));
    tape_destroy(t);
    mem_free(x);
    return r;
}

static void result_free(struct result r)
{
    mem_free(r.grads);
    mem_free(r.dx);
}

static void test_recompute(struct model *m, const char *backend, enum dtype type)
{
    struct result a = step(m, backend, type, false), b = step(m, backend, type, true);
    tap_ok(memcmp(a.grads, b.grads, (size_t)a.n * sizeof *a.grads) == 0 &&
               memcmp(a.dx, b.dx, VALUES * sizeof *a.dx) == 0,
           "%s, %s: gradient checkpointing changes no bit", backend, dtype_name(type));
    tap_ok(b.bytes < a.bytes * 3 / 4, "%s, %s: it needs %lld bytes instead of %lld",
           backend, dtype_name(type), (long long)b.bytes, (long long)a.bytes);
    result_free(a);
    result_free(b);
}

/* Half the bytes for activations in bfloat16, nearly. */
static void test_dtype(struct model *m)
{
    struct result a = step(m, "emulated", DTYPE_F32, false),
                  b = step(m, "emulated", DTYPE_BF16, false);
    tap_ok(b.bytes < a.bytes * 6 / 10, "bf16 needs %lld bytes instead of %lld",
           (long long)b.bytes, (long long)a.bytes);
    result_free(a);
    result_free(b);
}

/* x -> norm (given up, made again) -> silu, both used twice; against keeping all. */
static void test_remake(void)
{
    const int64_t dim[4] = {3, 5, 4, 8};
    float grad[2][3 * 5 * 4 * 8];
    struct param_set *p = param_create();
    param_declare(p, "n.weight", 1, (int64_t[]){8});
    param_declare(p, "n.bias", 1, (int64_t[]){8});
    param_allocate(p, 1);
    rng_normal(7, param_values(p), param_total(p));
    for (int keep = 0; keep < 2; keep++) {
        struct tape *t = tape_create(backend_get("onednn", 2));
        tape_begin(t, true);
        struct tensor *x = tape_tensor(t, 4, dim, true);
        rng_normal(3, x->data, tensor_count(x));
        struct inputs one = {.first = x};
        struct tensor *a =
            op_group_norm(t, one, param_at(p, 0), param_at(p, 1), 2, 1e-5f, true);
        one.first = a;
        struct tensor *b =
            op_group_norm(t, one, param_at(p, 0), param_at(p, 1), 4, 1e-5f, false);
        struct tensor *view = op_view(t, b, 3, (int64_t[]){3, 20, 8});
        struct tensor *c = op_silu(t, view), *d = op_silu(t, a);
        struct tensor *flat = op_view(t, d, 3, (int64_t[]){3, 20, 8});
        struct tensor *y = op_add(t, c, flat, 1);
        struct tensor *const all[] = {a, b, view, c, d, flat};
        for (int i = 0; i < 6 && !keep; i++)
            tape_release(t, all[i]);
        tap_ok(keep ? a->raw != NULL : a->raw == NULL && b->raw == NULL,
               keep ? "values stay while they are owned"
                    : "values that can be made again go");
        rng_normal(9, param_grads(p), param_total(p));
        float seed[3 * 5 * 4 * 8];
        rng_normal(11, seed, 3 * 5 * 4 * 8);
        tape_backward(t, y, seed);
        memcpy(grad[keep], x->grad, sizeof grad[keep]);
        tape_destroy(t);
    }
    tap_ok(memcmp(grad[0], grad[1], sizeof grad[0]) == 0,
           "and have the same bits again");
    param_destroy(p);
}

int main(void)
{
    backend_get("onednn", 2);
    int64_t start = mem_live();
    test_pool();
    test_remake();
    struct model *m = model_from_config(config, "config", false, true);
    if (m == NULL)
        return 1;
    for (int64_t i = 0; i < param_number(model_params(m)); i++) {
        struct param *p = param_at(model_params(m), i);
        rng_detinit(p->name, 3, p->t.nd, p->t.dim, p->t.data);
    }
    param_touch(model_params(m));
    test_recompute(m, "onednn", DTYPE_F32);
    test_recompute(m, "emulated", DTYPE_BF16);
    test_recompute(m, "reference", DTYPE_BF16);
    test_dtype(m);
    model_destroy(m);
    tap_ok(mem_live() == start, "nothing is left: %lld",
           (long long)(mem_live() - start));
    return tap_done();
}
