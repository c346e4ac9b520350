/* New labels on a trained network: at first they change no bit; "no label" has no gradient;
 * numbering beside old classes; the table's own learning rate. */
#include "io/sys/comm.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/model/label.h"
#include "stages/nn/backend.h"
#include "stages/trainer.h"
#include "tests/tap.h"

enum { N = 4, MOST = 3 * 16 * 16 };

static const char *const networks[] = {
    "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 2, \"sample_size\": 3, "
    "\"hidden_size\": 16, \"num_layers\": 2}",
    "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 2, \"sample_size\": 3, "
    "\"hidden_size\": 16, \"num_layers\": 2, \"num_class_embeds\": 3, \"null_class\": true}",
    "{\"_class_name\": \"SequenceTransformer\", \"in_channels\": 4, \"sample_size\": [1, 8], "
    "\"hidden_size\": 16, \"num_layers\": 2, \"num_class_embeds\": 3}",
    "tests/data/unet_tiny_config.json",
    "tests/data/unet_tiny_class_config.json",
};

static struct model *network(const char *what)
{
    char *text = NULL;
    int64_t len;
    if (what[0] != '{' && file_read(what, 1 << 20, &text, &len) != 0)
        return NULL;
    struct model *m = model_from_config(text != NULL ? text : what, "config", false, true);
    mem_free(text);
    for (int64_t i = 0; m != NULL && i < param_number(model_params(m)); i++) {
        struct param *p = param_at(model_params(m), i);
        rng_detinit(p->name, 5, p->t.nd, p->t.dim, p->t.data);
    }
    if (m != NULL)
        param_touch(model_params(m));
    return m;
}

static struct model_input input(struct model *m, float *x, const int64_t *labels)
{
    static const float times[N] = {1, 250, 500, 999};
    int64_t dim[3];
    model_sample_shape(m, dim);
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), x, N * dim[0] * dim[1] * dim[2]);
    return (struct model_input){.batch = N, .height = dim[1], .width = dim[2], .x = x,
                                .timesteps = times,
                                .labels = model_classes(m) > 0 ? labels : NULL};
}

static void test_network(const char *what, struct tape *t)
{
    enum { K = 4 };
    static float x[N * MOST], seed[N * MOST];
    int64_t old[N], joined[N], dim[3];
    struct model *m = network(what), *g = m != NULL ? model_graft(m, K) : NULL;
    if (!tap_ok(g != NULL, "%.40s is grafted: %s", what, err_text()))
        return;
    const int64_t c = model_classes(m), null = model_null_label(m);
    const int64_t all = c + (null >= 0);
    tap_ok(model_classes(g) == (all > 0 ? all : 1) * K &&
               model_null_label(g) == (c == 0 || null >= 0 ? model_classes(g) : -1),
           "%s: %lld classes become %lld", model_class_name(m), (long long)c,
           (long long)model_classes(g));
    for (int64_t i = 0; i < N; i++) {
        old[i] = all > 0 ? i % all : 0;
        joined[i] = old[i] * K + (i + 1) % K;
    }
    if (model_null_label(g) >= 0) { /* neither class nor label */
        old[3] = null;
        joined[3] = model_null_label(g);
    }
    model_sample_shape(m, dim);
    const int64_t count = N * dim[0] * dim[1] * dim[2];
    float *want = mem_alloc(count, sizeof *want);
    struct model_input in = input(m, x, old);
    tape_begin(t, false);
    struct tensor *out = model_forward(m, t, &in, NULL);
    memcpy(want, out->data, (size_t)count * sizeof *want);
    in = input(g, x, joined);
    tape_begin(t, false);
    out = model_forward(g, t, &in, NULL);
    tap_ok(out != NULL && memcmp(want, out->data, (size_t)count * sizeof *want) == 0,
           "zero embeddings change no bit");

    struct param *table = param_find(model_params(g), LABEL_TABLE);
    tap_ok(table->offset + tensor_count(&table->t) == param_total(model_params(g)),
           "the table is the last parameter");
    rng_normal(9, table->t.data, tensor_count(&table->t));
    param_touch(model_params(g));
    tape_begin(t, false);
    out = model_forward(g, t, &in, NULL);
    const size_t last = (size_t)(count / N) * sizeof *want;
    const bool same = memcmp(want + 3 * count / N, out->data + 3 * count / N, last) == 0;
    tap_ok(memcmp(want, out->data, last) != 0 && same == (model_null_label(g) >= 0),
           "labels count then, \"no label\" still does not");
    mem_free(want);

    char *text = mem_text(model_config(g));
    struct model *trained = model_from_config(text, "config", false, true);
    memcpy(param_values(model_params(trained)), param_values(model_params(g)),
           (size_t)param_total(model_params(g)) * sizeof(float));
    param_touch(model_params(trained));
    table = param_find(model_params(trained), LABEL_TABLE);
    if (model_null_label(g) >= 0)
        for (int64_t i = 0; i < N; i++)
            joined[i] = i == 0 ? 2 : model_null_label(g);
    tape_begin(t, true);
    out = model_forward(trained, t, &in, NULL);
    rng_normal(11, seed, count);
    double zero = 0, row = 0;
    if (tape_backward(t, out, seed) == 0)
        for (int64_t i = 0; i < tensor_count(&table->t); i++)
            *(i / table->t.dim[1] == 2 ? &row : &zero) += fabs((double)table->t.grad[i]);
    if (model_null_label(g) >= 0)
        tap_ok(zero == 0 && row > 0, "only the label given has a gradient");
    mem_free(text);
    model_destroy(trained);
    model_destroy(m);
    model_destroy(g);
}

static int ones(void *ctx, int64_t leaf)
{
    float *g = param_grads(ctx);
    (void)leaf;
    for (int64_t i = 0; i < param_total(ctx); i++)
        g[i] = 1;
    return 0;
}

/* The first step of Adam moves each parameter by its rate. */
static void test_rate(void)
{
    struct param_set *s = param_create();
    const struct comm self = comm_self();
    const int64_t n = 5000;
    double norm;
    param_declare(s, "body", 1, &n);
    param_declare(s, "table", 1, (const int64_t[]){10});
    param_allocate(s, 1);
    struct trainer *t = trainer_create(&self, s, false);
    const struct trainer_options o = {
        .adamw = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-12}};
    int64_t first, number;
    trainer_tail_rate(t, param_at(s, 1)->offset, 10);
    trainer_plan(t, 1, &first, &number);
    tap_ok(trainer_step(t, &o, 1, ones, s, &norm) == 0, "a step");
    tap_near((double)param_values(s)[n - 1], -0.01, 1e-7, "the body's rate");
    tap_near((double)param_values(s)[n], -0.1, 1e-6, "the table's is ten times that");
    trainer_destroy(t);
    param_destroy(s);
}

int main(void)
{
    struct tape *t = tape_create(backend_get("reference", 1));
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        test_network(networks[i], t);
    struct model *m = network(networks[0]), *g = model_graft(m, 2);
    tap_ok(model_graft(g, 2) == NULL, "refuses: %s", err_text());
    model_destroy(m);
    model_destroy(g);
    m = network("{\"_class_name\": \"GaussianDenoiser\", \"mean\": 0, \"variance\": 1, "
                "\"channels\": 1, \"sample_size\": 1, \"beta_schedule\": \"linear\", "
                "\"beta_start\": 1e-4, \"beta_end\": 0.02, \"num_train_timesteps\": 100}");
    tap_ok(m != NULL && model_graft(m, 2) == NULL, "refuses: %s", err_text());
    model_destroy(m);
    test_rate();
    tape_destroy(t);
    return tap_done();
}
