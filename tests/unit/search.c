/* Searches at sampling time: published weights, closed forms on the exact denoiser of
 * Gaussian data, gradients by differences, and what must not change a bit. */
#include "stages/search/search.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/linalg/petsc.h"
#include "stages/nn/backend.h"
#include "stages/reward/brightness.h"
#include "stages/search/best_of.h"
#include "stages/search/dps.h"
#include "stages/search/flight.h"
#include "stages/search/noise.h"
#include "stages/search/smc.h"
#include "stages/search/svdd.h"
#include "stages/search/typical.h"
#include "tests/tap.h"

#include <mpi.h>

#define MEAN .4990602184 /* of x_0 under 50 steps of the SD schedule, eta 1 */
#define VARIANCE .2057383543
#define TABLE                                        \
    "\"beta_start\": 0.00085, \"beta_end\": 0.012, " \
    "\"beta_schedule\": \"scaled_linear\", \"num_train_timesteps\": 1000"
#define SCHEDULE                                                                       \
    "{\"prediction_type\": \"epsilon\", \"timestep_spacing\": \"leading\", "           \
    "\"steps_offset\": 1, \"set_alpha_to_one\": false, \"clip_sample\": false, " TABLE \
    "}"

struct bench {
    struct schedule schedule;
    struct sampler sampler;
    struct chain c;
    struct draw w;
    int64_t *label, *copy;
};

static void must(int rc)
{
    if (rc != 0)
        ERR_BUG("%s", err_text());
}

/* A chain over a network of this config, for n samples of labels i / copies mod
 * classes. */
static void bench_open(struct bench *b, const char *config, int64_t steps, int64_t n,
                       int64_t copies, const struct reward *reward)
{
    int64_t dim[3];
    *b = (struct bench){0};
    must(schedule_parse(&b->schedule, SCHEDULE, "schedule"));
    must(sampler_init(&b->sampler, &b->schedule,
                      &(struct sampler_options){.steps = steps,
                                                .eta = 1,
                                                .clamp_last = true,
                                                .spacing = -1,
                                                .clip_sample = -1}));
    b->c = (struct chain){.sampler = &b->sampler, .reward = reward, .seed = 11};
    b->c.model = model_from_config(config, "config", false, false);
    if (b->c.model == NULL)
        ERR_BUG("%s", err_text());
    struct param_set *set = model_params(b->c.model);
    for (int64_t i = 0; i < param_number(set) && strstr(config, "Gaussian") == NULL;
         i++) {
        struct param *p = param_at(set, i); /* a new network's output may be 0 */
        rng_detinit(p->name, 7, p->t.nd, p->t.dim, p->t.data);
    }
    param_touch(set);
    b->c.tape = tape_create(backend_get("onednn", 1));
    model_sample_shape(b->c.model, dim);
    b->c.channels = dim[0];
    b->c.height = dim[1];
    b->c.width = dim[2];
    b->c.d = dim[0] * dim[1] * dim[2];
    b->c.micro_batch = n;
    b->c.labelled = model_classes(b->c.model) > 0;
    b->label = mem_alloc(n, sizeof *b->label);
    b->copy = mem_alloc(n, sizeof *b->copy);
    for (int64_t i = 0; i < n; i++) {
        b->label[i] = b->c.labelled ? i / copies % model_classes(b->c.model) : 0;
        b->copy[i] = b->c.labelled ? i % copies : i;
    }
    b->w = (struct draw){.iteration = 3,
                         .n = n,
                         .label = b->label,
                         .copy = b->copy,
                         .states = steps + 1,
                         .latents = mem_alloc(n * (steps + 1) * b->c.d, sizeof(float)),
                         .sample = mem_alloc(n * b->c.d, sizeof(float)),
                         .log_prob = mem_alloc(n * steps, sizeof(double)),
                         .cost = mem_alloc(n, sizeof(double)),
                         .plain = mem_alloc(n, sizeof(double))};
    chain_open(&b->c);
}

static void bench_close(struct bench *b)
{
    void *const all[] = {b->label,      b->copy,   b->w.latents, b->w.sample,
                         b->w.log_prob, b->w.cost, b->w.plain};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    chain_close(&b->c);
    tape_destroy(b->c.tape);
    model_destroy(b->c.model);
    sampler_free(&b->sampler);
    schedule_free(&b->schedule);
}

#define GAUSSIAN(size)                                                            \
    "{\"_class_name\": \"GaussianDenoiser\", \"mean\": 0.5, \"variance\": 0.25, " \
    "\"channels\": 1, \"sample_size\": " size ", " TABLE "}"
#define MLP                                                                       \
    "{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 3, \"sample_size\": 2, " \
    "\"hidden_size\": 16, \"num_layers\": 2, \"num_class_embeds\": 2}"
#define UNET                                                                \
    "{\"_class_name\": \"UNet2DModel\", \"act_fn\": \"silu\", "             \
    "\"attention_head_dim\": 8, \"block_out_channels\": [8, 16], "          \
    "\"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\"], "        \
    "\"in_channels\": 3, \"layers_per_block\": 1, \"norm_num_groups\": 4, " \
    "\"out_channels\": 3, \"sample_size\": 8, "                             \
    "\"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"]}"

/* -mean of (x - 2)^2 / 2; below -1000 there is no score, nor anywhere with ctx. */
static int score_square(void *ctx, const struct reward_batch *b)
{
    int64_t d = b->channels * b->height * b->width;
    for (int64_t i = 0; i < b->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < d; j++) {
            double far = (double)b->sample[i * d + j] - 2;
            sum -= far * far / 2 / (double)d;
            if (b->gradient != NULL)
                b->gradient[i * d + j] = (float)(-far / (double)d);
        }
        b->status[i] = ctx == NULL ? REWARD_OK : REWARD_FAILED;
        b->score[i] = ctx == NULL ? sum : (double)NAN;
    }
    return 0;
}

static const struct reward square = {
    .name = "square", .deterministic = 1, .differentiable = 1, .score = score_square};

static void test_draws(void)
{
    const double v[3] = {.10, .15, .05}, even[2] = {-INFINITY, -INFINITY};
    const double sharp[3] = {.00669, .99326, .00005}, soft[3] = {.3072, .50648, .18632};
    const double four[4] = {.1, .2, .3, .4};
    double w[4], far = 0;
    int64_t index[4];
    search_weights(3, v, .01, w);
    for (int i = 0; i < 3; i++)
        far = fmax(far, fabs(w[i] - sharp[i]));
    search_weights(3, v, .1, w);
    for (int i = 0; i < 3; i++)
        far = fmax(far, fabs(w[i] - soft[i]));
    tap_near(far, 0, 6e-6, "the example weights of SVDD");
    search_weights(3, v, 0, w);
    tap_ok(w[0] == 0 && w[1] == 1 && w[2] == 0, "temperature 0: the best");
    search_weights(2, even, .1, w);
    tap_ok(w[0] == .5 && w[1] == .5, "no score at all: equal weights");
    search_systematic(4, four, .13, index);
    tap_ok(index[0] == 0 && index[1] == 1 && index[2] == 2 && index[3] == 3,
           "the example of systematic resampling");
    search_systematic(4, four, .9, index);
    tap_ok(index[0] == 1 && index[1] == 2 && index[2] == 3 && index[3] == 3,
           "and with another number");
}

static void moments(const struct bench *b, double *mean, double *variance)
{
    double sum = 0, sum2 = 0, n = (double)(b->w.n * b->c.d);
    for (int64_t j = 0; j < b->w.n * b->c.d; j++) {
        sum += (double)b->w.sample[j];
        sum2 += (double)b->w.sample[j] * (double)b->w.sample[j];
    }
    *mean = sum / n;
    *variance = sum2 / n - *mean * *mean;
}

/* x_{k+1} = G x_k + ...: slopes of the chain's mean and of the prediction of x_0. */
static void slopes(const struct bench *b, int64_t k, double *step, double *clean)
{
    const struct sampler_step *e = &b->sampler.step[k];
    double a = (double)e->abar, s = (double)e->sigma;
    double eps = sqrt(1 - a) / (a * .25 + 1 - a);
    *clean = (1 - sqrt(1 - a) * eps) / sqrt(a);
    *step = sqrt((double)e->abar_p) * *clean +
            sqrt(fmax(1 - (double)e->abar_p - s * s, 0)) * eps;
}

/* The controls that a chain was driven with, against weight sigma_k G_{k+1}. */
static double control_error(const struct bench *b, double weight, int64_t i)
{
    int64_t steps = b->sampler.steps;
    double far = 0, G = 1;
    for (int64_t k = steps - 1; k >= 0; k--) {
        double sigma = (double)b->sampler.step[k].sigma, step, clean;
        float o, mu, z, x = *chain_state(&b->c, &b->w, i, k);
        struct bench *open = (struct bench *)b; /* evaluation is no change */
        must(chain_output(&open->c, &b->w, i, 1, k, &x, &o));
        sampler_mean(&b->sampler, k, 1, &x, &o, &mu, NULL);
        chain_noise(&b->c, &b->w, i, 0, k + 1, &z);
        double u = ((double)*chain_state(&b->c, &b->w, i, k + 1) - (double)mu) / sigma -
                   (double)z;
        far = fmax(far, fabs(u - weight * sigma * G));
        slopes(b, k, &step, &clean);
        G *= step;
    }
    return far;
}

/* Reward x, weight 2 (that is, alpha = 1/2). */
static void test_control(enum minimise_method method, const char *name)
{
    struct bench b;
    double before, after, variance, far = 0;
    struct search_options o = {.kind = &search_noise,
                               .weight = 2,
                               .iterations = 100,
                               .tolerance = 1e-5,
                               .method = method};
    bench_open(&b, GAUSSIAN("1"), 50, 3, 1, &brightness);
    must(search_draw(&o, &b.c, &b.w));
    for (int64_t i = 0; i < b.w.n; i++) {
        far = fmax(far, fabs((double)b.w.sample[i] - b.w.plain[i] - (.9098044 - MEAN)));
        tap_near(control_error(&b, 2, i), 0, 1e-4,
                 "open-loop controls are (w/alpha) sigma_k G_{k+1}");
    }
    tap_near(far, 0, 1e-4, name);
    tap_near(b.w.cost[0], .41074413, 1e-4, "the cost is the path KL");
    o.start = true;
    must(search_draw(&o, &b.c, &b.w));
    far = 0;
    for (int64_t i = 0; i < b.w.n; i++)
        far = fmax(far, fabs((double)b.w.sample[i] - b.w.plain[i] - (.9105369 - MEAN)));
    tap_near(far, 0, 1e-4, "with the start: the tilted target's mean");
    tap_near(b.w.cost[0], 2 * VARIANCE, 1e-4, "at its KL");
    o.kind = search_find("none");
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &before, &variance);
    o.kind = &search_noise;
    o.weight = 0;
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &after, &variance);
    tap_ok(before == after && b.w.cost[0] == 0, "with weight 0 nothing moves");
    bench_close(&b);
}

/* Means over many samples against what each search should give. */
static void test_means(void)
{
    enum { N = 4096, M = 8 };
    struct bench b;
    double mean, variance, error = sqrt(VARIANCE / N), shift = 0, G = 1;
    struct search_options o = {.candidates = 4, .alpha = .5, .resample = .5};
    bench_open(&b, GAUSSIAN("1"), 50, N, 1, &brightness);
    o.kind = &best_of;
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &mean, &variance);
    tap_near(mean, MEAN + 1.0293753730 * sqrt(VARIANCE), 4 * error,
             "best of 4: the mean of the largest of 4 normal numbers");

    o.kind = &svdd;
    o.candidates = M;
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &mean, &variance);
    for (int64_t k = b.sampler.steps - 1; k >= 0; k--) {
        double sigma = (double)b.sampler.step[k].sigma, step, clean = 0;
        if (k + 1 < b.sampler.steps) {
            slopes(&b, k + 1, &step, &clean);
            shift += sigma * sigma * clean / o.alpha * (1 - 1. / M) * G;
        }
        slopes(&b, k, &step, &clean);
        G *= step;
    }
    tap_near(mean, MEAN + shift, 4 * error, "SVDD: tilted by the predicted reward");

    o.kind = &smc;
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &mean, &variance);
    tap_near(mean, .9105369, 8 * error, "SMC: the tilted Gaussian's mean");
    tap_near(variance, VARIANCE, 8 * VARIANCE * sqrt(2. / N), "and variance");
    b.c.reward = &square;
    must(search_draw(&o, &b.c, &b.w));
    moments(&b, &mean, &variance);
    double precision = 1 / VARIANCE + 2;
    tap_near(mean, (MEAN / VARIANCE + 4) / precision, 8 * error,
             "SMC under a quadratic reward: mean");
    tap_near(variance, 1 / precision, 8 * sqrt(2. / N) / precision, "and variance");
    bench_close(&b);
}

/* Reward x: every step's noise prediction moves by -weight sqrt(1 - abar) times the slope of
 * the predicted sample, and the chain is linear. */
static void test_guided(void)
{
    struct bench b;
    double far = 0, shift = 0, cost = 0;
    struct search_options o = {.weight = .75};
    bench_open(&b, GAUSSIAN("1"), 50, 5, 1, &brightness);
    o.kind = search_find("none");
    must(search_draw(&o, &b.c, &b.w));
    float plain[5];
    memcpy(plain, b.w.sample, sizeof plain);
    o.kind = &dps;
    must(search_draw(&o, &b.c, &b.w));
    for (int64_t k = 0; k < b.sampler.steps; k++) {
        const struct sampler_step *e = &b.sampler.step[k];
        double step, clean;
        float by_x, by_o;
        slopes(&b, k, &step, &clean);
        sampler_slopes(&b.sampler, k, &by_x, &by_o);
        double move = -o.weight * sqrt(1 - (double)e->abar) * clean * (double)by_o;
        shift = step * shift + move;
        if (e->mask)
            cost += move * move / (2 * (double)e->sigma * (double)e->sigma);
    }
    for (int64_t i = 0; i < b.w.n; i++)
        far = fmax(far, fabs((double)b.w.sample[i] - (double)plain[i] - shift));
    tap_near(far, 0, 2e-5, "guidance: the shift of every sample");
    tap_near(b.w.cost[0], cost, 1e-5 * cost, "and its KL");
    tap_ok(shift > .1, "it is %.4f", shift);
    bench_close(&b);
}

/* One step through a network: with the other noise prediction that differences of the
 * reward at the predicted sample give. */
static void test_guided_step(void)
{
    const double h = 2e-3;
    struct bench b;
    double worst = 0;
    const struct search_options o = {.kind = &dps, .weight = .05};
    bench_open(&b, MLP, 4, 2, 1, &square);
    must(search_draw(&o, &b.c, &b.w));
    const int64_t d = b.c.d, k = 1;
    const double abar = (double)b.sampler.step[k].abar;
    float *x = chain_state(&b.c, &b.w, 0, k), *v = mem_alloc(8 * d, sizeof *v);
    float *out = v + d, *mu = out + d, *clean = mu + d, *next = clean + d, *z = next + d;
    for (int64_t j = 0; j < d; j++) {
        double r[2];
        for (int side = 0; side < 2; side++) {
            memcpy(v, x, (size_t)d * sizeof *v);
            v[j] += (float)(side == 0 ? h : -h);
            must(chain_output(&b.c, &b.w, 0, 1, k, v, out));
            sampler_mean(&b.sampler, k, d, v, out, mu, clean);
            must(chain_score(&b.c, &b.w, 0, 1, clean, &r[side], NULL));
        }
        next[j] = (float)(-o.weight * sqrt(1 - abar) * (r[0] - r[1]) / (2 * h));
    }
    must(chain_output(&b.c, &b.w, 0, 1, k, x, out));
    for (int64_t j = 0; j < d; j++)
        out[j] += next[j];
    sampler_mean(&b.sampler, k, d, x, out, mu, NULL);
    chain_noise(&b.c, &b.w, 0, 0, k + 1, z);
    sampler_advance(&b.sampler, k, d, mu, z, next);
    for (int64_t j = 0; j < d; j++)
        worst = fmax(worst, fabs((double)next[j] -
                                 (double)chain_state(&b.c, &b.w, 0, k + 1)[j]));
    tap_near(worst, 0, 2e-4, "guidance: a step by differences of the reward");
    mem_free(v);
    bench_close(&b);
}

/* The published example, typical numbers, and the gradient by differences. */
static void test_typical(void)
{
    enum { N = 1024, LONG = 16384 };
    float *x = mem_alloc(LONG, sizeof *x);
    double *z = mem_alloc(2 * LONG, sizeof *z), *g = z + LONG, worst = 0;
    struct typical *t = typical_create(LONG, 3);
    rng_normal(rng_key(2, RNG_TEST, 0, 0, 0, 0), x, LONG);
    for (int i = 0; i < LONG; i++)
        z[i] = (double)x[i];
    tap_near(typical_penalty(t, z, NULL), 0, 0.1, "normal numbers are typical");
    typical_destroy(t);
    t = typical_create(N, 3);
    for (int i = 0; i < N; i++)
        z[i] = 1.1 * (double)x[i] + .1;
    double *at = mem_alloc(N, sizeof *at), slope = 0, h = 1e-4;
    for (int trial = 0; trial < 3; trial++) {
        rng_normal(rng_key(2, RNG_TEST, 1, trial, 0, 0), x, N);
        double low, high, value = typical_penalty(t, z, g);
        slope = 0;
        for (int i = 0; i < N; i++) {
            slope += g[i] * (double)x[i];
            at[i] = z[i] - h * (double)x[i];
        }
        low = typical_penalty(t, at, NULL);
        for (int i = 0; i < N; i++)
            at[i] = z[i] + h * (double)x[i];
        high = typical_penalty(t, at, NULL);
        worst = fmax(worst, fabs((high - low) / (2 * h) - slope) / value);
    }
    tap_near(worst, 0, 1e-4,
             "the gradient of the penalty on shifted and scaled numbers");
    for (int i = 0; i < N; i++)
        z[i] = .2; /* moment .04 everywhere */
    double want = 0;
    for (int k = 4; k * k <= N; k *= 4) {
        double n = (double)N / k, far;
        want += n * .04 / 2 - log(2);
        far = sqrt(1 + fmax(1, fabs(.04 * k - 1))) - 1 - sqrt(k / n);
        want += fmax(n * far * far / 2 * (far > 0) - log(2), 0);
    }
    tap_near(typical_penalty(t, z, NULL), want, 1e-9 * want, "equal numbers, by hand");
    mem_free(at);
    mem_free(z);
    mem_free(x);
    typical_destroy(t);
}

/* Directional derivatives of the cost through a network. */
static void test_gradient(const char *config, bool typical, const char *name)
{
    enum { STEPS = 4 };
    const double h = 5e-3;
    struct bench b;
    double worst = 0;
    const struct search_options o = {.weight = 3, .start = true, .typical = typical};
    bench_open(&b, config, STEPS, 3, 1, &square);
    struct flight *f = flight_create(&b.c, &o, &b.w);
    int64_t n = flight_aim(f, 1);
    double *u = mem_alloc(3 * n, sizeof *u), *at = u + n, *g = at + n, low, high, value;
    float *v = mem_alloc(n, sizeof *v);
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), v, n);
    for (int64_t j = 0; j < n; j++)
        u[j] = 0.3 * (double)v[j];
    for (int trial = 0; trial < 5; trial++) {
        double slope = 0, size = 0;
        rng_normal(rng_key(1, RNG_TEST, 1, trial, 0, 0), v, n);
        must(flight_cost(f, u, &value, g));
        for (int64_t j = 0; j < n; j++) {
            slope += g[j] * (double)v[j];
            size += g[j] * g[j];
        }
        for (int64_t j = 0; j < n; j++)
            at[j] = u[j] - h * (double)v[j];
        must(flight_cost(f, at, &low, g));
        for (int64_t j = 0; j < n; j++)
            at[j] = u[j] + h * (double)v[j];
        must(flight_cost(f, at, &high, g));
        worst = fmax(worst, fabs((high - low) / (2 * h) - slope) / sqrt(size));
    }
    tap_near(worst, 0, 1e-3, name);
    mem_free(u);
    mem_free(v);
    flight_destroy(f);
    bench_close(&b);
}

/* Bits of all outputs. */
static uint64_t bits(const struct bench *b)
{
    const struct {
        const void *at;
        int64_t bytes;
    } part[] = {
        {b->w.latents, b->w.n * b->w.states * b->c.d * (int64_t)sizeof(float)},
        {b->w.sample, b->w.n * b->c.d * (int64_t)sizeof(float)},
        {b->w.log_prob, b->w.n * b->sampler.steps * (int64_t)sizeof(double)},
        {b->w.cost, b->w.n * (int64_t)sizeof(double)},
    };
    uint64_t h = 0;
    for (size_t p = 0; p < sizeof part / sizeof *part; p++)
        for (int64_t i = 0; i < part[p].bytes; i++)
            h = rng_mix64(h ^ ((const unsigned char *)part[p].at)[i]);
    return h;
}

static double density_error(struct bench *b)
{
    int64_t steps = b->sampler.steps, d = b->c.d;
    double far = 0;
    float *o = mem_alloc(2 * d, sizeof *o), *mu = o + d;
    for (int64_t i = 0; i < b->w.n; i++)
        for (int64_t k = 0; k < steps; k++) {
            const float *x = chain_state(&b->c, &b->w, i, k);
            must(chain_output(&b->c, &b->w, i, 1, k, x, o));
            sampler_mean(&b->sampler, k, d, x, o, mu, NULL);
            double p = sampler_log_prob(&b->sampler, k, d, mu,
                                        chain_state(&b->c, &b->w, i, k + 1));
            far = fmax(far, fabs(p - b->w.log_prob[i * steps + k]));
        }
    mem_free(o);
    return far;
}

/* The same bits for any micro-batch, exact densities, and a better reward. */
static void test_bits(const char *kind)
{
    struct bench b;
    struct search_options o = {.kind = search_find(kind),
                               .candidates = 3,
                               .alpha = .05,
                               .resample = .9,
                               .weight = 20,
                               .iterations = 5,
                               .start = true};
    double mean[2] = {0};
    if (o.kind == &dps)
        o.weight = .02; /* this network predicts far away */
    bench_open(&b, MLP, 5, 12, 4, &square);
    must(search_draw(&o, &b.c, &b.w));
    uint64_t all = bits(&b);
    tap_ok(density_error(&b) == 0, "%s: stored log-densities are the policy's", kind);
    for (int64_t j = 0; j < b.w.n * b.c.d; j++)
        mean[0] -= pow((double)b.w.sample[j] - 2, 2);
    chain_close(&b.c);
    b.c.micro_batch = 5;
    chain_open(&b.c);
    must(search_draw(&o, &b.c, &b.w));
    tap_ok(bits(&b) == all, "%s: the same bits for another micro-batch", kind);
    o.kind = search_find("none");
    must(search_draw(&o, &b.c, &b.w));
    for (int64_t j = 0; j < b.w.n * b.c.d; j++)
        mean[1] -= pow((double)b.w.sample[j] - 2, 2);
    tap_ok(mean[0] > mean[1], "%s: the reward rises from %.3f to %.3f", kind,
           mean[1] / (double)(b.w.n * b.c.d), mean[0] / (double)(b.w.n * b.c.d));
    uint64_t plain = bits(&b);
    o.kind = search_find(kind);
    o.candidates = 1;
    o.resample = 0;
    o.iterations = 0;
    if (o.kind == &dps)
        o.weight = 0;
    must(search_draw(&o, &b.c, &b.w));
    tap_ok(strcmp(kind, "smc") == 0 || bits(&b) == plain,
           "%s: without choice, the bits of plain samples", kind);
    o.candidates = 3;
    o.iterations = 5;
    b.c.reward_ctx = &b; /* every score fails */
    must(search_draw(&o, &b.c, &b.w));
    tap_ok(density_error(&b) == 0 && isnan(b.w.plain[0]),
           "%s: without any score it still samples", kind);
    bench_close(&b);
}

static void refuses(const struct search_options *o, const struct chain *c,
                    int64_t copies, const char *want)
{
    int rc = search_check(o, c, copies);
    tap_ok(rc == -1 && err_code() == ERR_USAGE && strstr(err_text(), want) != NULL,
           "refused: %s", rc == 0 ? "(it is not)" : err_text());
    err_clear();
}

static void test_checks(void)
{
    struct bench b;
    struct reward other = square;
    struct search_options o = {.kind = &search_noise};
    bench_open(&b, GAUSSIAN("2"), 3, 2, 1, &other);
    tap_ok(search_check(&o, &b.c, 1) == 0, "what fits is not refused");
    other.differentiable = 0;
    refuses(&o, &b.c, 1, "gradient");
    other.differentiable = 1;
    b.sampler.clip_sample = true;
    refuses(&o, &b.c, 1, "clip_sample=false");
    b.sampler.clip_sample = false;
    b.sampler.live_steps = 0;
    refuses(&o, &b.c, 1, "eta=1");
    o.kind = &smc;
    b.sampler.live_steps = 3;
    refuses(&o, &b.c, 1, "copies");
    other.deterministic = 0;
    refuses(&o, &b.c, 4, "noisy");
    tap_ok(search_find("sdvd") == NULL && strstr(err_text(), "svdd") != NULL,
           "an unknown search: %s", err_text());
    bench_close(&b);
}

int main(void)
{
    MPI_Init(NULL, NULL);
    test_draws();
    test_control(MINIMISE_LMVM, "lmvm finds the mean .9098044");
    int64_t live = mem_live(); /* the back end's own */
    test_control(MINIMISE_CG, "cg finds the mean .9098044");
    test_means();
    test_typical();
    test_gradient(MLP, false, "the gradient through an MLP's chain, by differences");
    test_gradient(UNET, false, "the gradient through a U-Net's chain, by differences");
    test_gradient(UNET, true, "the same with the penalty on untypical noise");
    test_bits("best_of");
    test_bits("svdd");
    test_bits("smc");
    test_bits("noise");
    test_bits("dps");
    test_guided();
    test_guided_step();
    test_checks();
    tap_ok(mem_live() == live, "no memory is left");
    petsc_end();
    MPI_Finalize();
    return tap_done();
}
