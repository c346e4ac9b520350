/* DDIM and DDPM steps against the peer's, the gradient against differences. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/diffusion/sampler.h"
#include "tests/tap.h"

#define D 48 /* elements of one sample in the goldens */
#define ITEMS 4

static float *floats(const struct st_file *f, const char *name)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL)
        ERR_BUG("no tensor %s", name);
    float *v = mem_alloc(t->count, sizeof *v);
    st_to_f32(t, v);
    return v;
}

static double *doubles(const struct st_file *f, const char *name)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL)
        ERR_BUG("no tensor %s", name);
    double *v = mem_alloc(t->count, sizeof *v);
    st_to_f64(t, v);
    return v;
}

static int64_t *integers(const struct st_file *f, const char *name)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL)
        ERR_BUG("no tensor %s", name);
    int64_t *v = mem_alloc(t->count, sizeof *v);
    st_to_i64(t, v);
    return v;
}

static int word(const struct json *c, const char *key, const char *const *names)
{
    const char *text = json_text(json_get(c, key));
    for (int i = 0; names[i] != NULL; i++)
        if (text != NULL && strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

static double number(const struct json *c, const char *key)
{
    double x = 0;
    bool b = false;
    const struct json *v = json_get(c, key);
    if (v != NULL && json_to_bool(v, &b))
        return b;
    if (v != NULL)
        json_to_f64(v, &x);
    return x;
}

static const char *const betas[] = {"linear", "scaled_linear", "squaredcos_cap_v2",
                                    NULL};
static const char *const predictions[] = {"epsilon", "sample", "v_prediction", NULL};
static const char *const spacings[] = {"leading", "trailing", "linspace", NULL};
static const char *const variances[] = {"fixed_small", "fixed_small_log", "fixed_large",
                                        "fixed_large_log", NULL};

static struct schedule schedule_of(const struct json *c)
{
    struct schedule s;
    if (schedule_read(&s, NULL) != 0)
        ERR_BUG("%s", err_text());
    s.beta = (enum schedule_beta)word(c, "beta_schedule", betas);
    s.beta_start = number(c, "beta_start");
    s.beta_end = number(c, "beta_end");
    s.prediction = (enum schedule_prediction)word(c, "prediction_type", predictions);
    s.spacing = (enum schedule_spacing)word(c, "timestep_spacing", spacings);
    s.clip_sample = number(c, "clip_sample") != 0;
    s.steps_offset = (int64_t)number(c, "steps_offset");
    s.set_alpha_to_one = number(c, "set_alpha_to_one") != 0;
    if (schedule_build(&s) != 0)
        ERR_BUG("%s", err_text());
    return s;
}

static struct sampler sampler_of(const struct schedule *schedule,
                                 const struct sampler_options *o)
{
    struct sampler s;
    if (sampler_init(&s, schedule, o) != 0)
        ERR_BUG("%s", err_text());
    return s;
}

static int64_t step_at(const struct sampler *s, int64_t t)
{
    for (int64_t i = 0; i < s->steps; i++)
        if (s->step[i].t == t)
            return i;
    ERR_BUG("timestep %lld is in no step", (long long)t);
}

/* Largest |got - want| / (1 + max |want|). */
static double apart(const float *got, const float *want)
{
    double most = 0, size = 0;
    for (int j = 0; j < D; j++) {
        double e = fabs((double)got[j] - (double)want[j]);
        most = e > most || isnan(e) ? e : most;
        size = fmax(size, fabs((double)want[j]));
    }
    return most / (1 + size);
}

struct ddim_golden {
    float *o, *x, *noise, *given, *mean, *std, *prev, *hf, *hf_x0;
    double *given_logp, *slope; /* float64 from the same float tables */
    float *new_logp, *given_logp_peer, *slope_peer;
    int64_t *t;
};

struct worst {
    double mean, std, prev, hf, x0, new_logp;
    double given_logp, slope;           /* distance from the peer's float */
    double given_logp_64, slope_64;     /* from float64 */
    double given_logp_peer, slope_peer; /* the peer's float from float64 */
    int64_t live, masked, wrong_mask, same_bits;
};

static void raise_to(double *worst, double v)
{
    *worst = v > *worst || isnan(v) ? v : *worst;
}

/* One item of one case with ddpo-pytorch's clamp. */
static void ddim_item(const struct sampler *s, const struct ddim_golden *g, int64_t k,
                      struct worst *w)
{
    float mu[D], next[D], grad[D];
    int64_t i = step_at(s, g->t[k]);
    const float *x = g->x + k * D, *o = g->o + k * D, *given = g->given + k * D;
    sampler_mean(s, i, D, x, o, mu, NULL);
    raise_to(&w->mean, apart(mu, g->mean + k * D));
    w->same_bits += memcmp(mu, g->mean + k * D, sizeof mu) == 0;
    raise_to(&w->std, fabs((double)s->step[i].sigma - (double)g->std[k]));
    sampler_advance(s, i, D, mu, g->noise + k * D, next);
    raise_to(&w->prev, apart(next, g->prev + k * D));
    double now = sampler_log_prob(s, i, D, mu, next) / D;
    double of_given = sampler_log_prob(s, i, D, mu, given) / D;
    sampler_log_prob_grad(s, i, D, x, o, given, 1.0 / D, grad);
    if (isnan(g->given_logp[k])) {
        w->masked++;
        w->wrong_mask += s->step[i].mask || now != 0 || of_given != 0 || grad[0] != 0;
        return;
    }
    w->live++;
    w->wrong_mask += !s->step[i].mask;
    raise_to(&w->new_logp, fabs(now - (double)g->new_logp[k]));
    double exact = g->given_logp[k], peer = (double)g->given_logp_peer[k];
    raise_to(&w->given_logp, fabs(of_given - peer) / (1 + fabs(peer)));
    raise_to(&w->given_logp_64, fabs(of_given - exact) / (1 + fabs(exact)));
    raise_to(&w->given_logp_peer, fabs(peer - exact) / (1 + fabs(exact)));
    double most[3] = {0}, size = 1e-3;
    for (int64_t j = 0; j < D; j++) {
        double slope = g->slope[k * D + j], theirs = (double)g->slope_peer[k * D + j];
        raise_to(&most[0], fabs((double)grad[j] - theirs));
        raise_to(&most[1], fabs((double)grad[j] - slope));
        raise_to(&most[2], fabs(theirs - slope));
        size = fmax(size, fabs(slope));
    }
    raise_to(&w->slope, most[0] / size);
    raise_to(&w->slope_64, most[1] / size);
    raise_to(&w->slope_peer, most[2] / size);
}

static void ddim_case(const struct json *c, const struct ddim_golden *g, int64_t row,
                      struct worst *w)
{
    struct schedule schedule = schedule_of(c);
    struct sampler_options o = {.kind = SAMPLER_DDIM,
                                .steps = (int64_t)number(c, "num_inference_steps"),
                                .eta = number(c, "eta"),
                                .clamp_last = true,
                                .spacing = -1,
                                .clip_sample = -1};
    struct sampler s = sampler_of(&schedule, &o);
    for (int64_t k = row * ITEMS; k < (row + 1) * ITEMS; k++)
        ddim_item(&s, g, k, w);
    sampler_free(&s);
    o.clamp_last = false;
    s = sampler_of(&schedule, &o);
    for (int64_t k = row * ITEMS; k < (row + 1) * ITEMS; k++) {
        float mu[D], x0[D], next[D];
        int64_t i = step_at(&s, g->t[k]);
        sampler_mean(&s, i, D, g->x + k * D, g->o + k * D, mu, x0);
        sampler_advance(&s, i, D, mu, g->noise + k * D, next);
        raise_to(&w->hf, apart(next, g->hf + k * D));
        raise_to(&w->x0, apart(x0, g->hf_x0 + k * D));
    }
    sampler_free(&s);
    schedule_free(&schedule);
}

static void ddim_goldens(void)
{
    const char *path = tap_shared("goldens/ddim/ddim_logprob.safetensors");
    struct st_file *f = path != NULL ? st_open(path) : NULL;
    path = tap_shared("goldens/ddim/ddim_logprob_cases.json");
    struct json *cases = path != NULL ? json_read(path, 1 << 20) : NULL;
    if (f == NULL || cases == NULL) {
        tap_skip("DDIM", "the reference numbers are absent");
        return;
    }
    struct ddim_golden g = {
        floats(f, "model_output"),
        floats(f, "sample"),
        floats(f, "noise"),
        floats(f, "given_prev"),
        floats(f, "mean"),
        floats(f, "std"),
        floats(f, "prev_sample"),
        floats(f, "hf_prev_sample"),
        floats(f, "hf_pred_x0"),
        doubles(f, "log_prob_given_f64"),
        doubles(f, "dlogp_dmodel_f64"),
        floats(f, "log_prob_new"),
        floats(f, "log_prob_given"),
        floats(f, "dlogp_dmodel"),
        integers(f, "timesteps"),
    };
    struct worst w = {0};
    int64_t n = json_count(cases);
    for (int64_t row = 0; row < n; row++)
        ddim_case(json_item(cases, row), &g, row, &w);
    tap_ok(n == 81 && w.wrong_mask == 0 && w.live > 100 && w.masked > 50,
           "%lld cases: %lld items with a density, %lld masked, %lld wrongly",
           (long long)n, (long long)w.live, (long long)w.masked,
           (long long)w.wrong_mask);
    tap_ok(w.mean <= 1e-6, "mean: %.3g (%lld of %lld items to the bit)", w.mean,
           (long long)w.same_bits, (long long)(n * ITEMS));
    tap_near(w.std, 0, 1e-7, "sigma");
    tap_near(w.prev, 0, 1e-6, "prev_sample");
    tap_near(w.hf, 0, 1e-6, "diffusers' prev_sample");
    tap_near(w.x0, 0, 1e-6, "diffusers' x0");
    tap_near(w.new_logp, 0, 2e-6, "log-prob of the own next");
    tap_near(w.given_logp, 0, 2e-6, "log-prob of a given next, relative");
    tap_near(w.slope, 0, 2e-5, "d log-prob / d output, relative");
    /* Sigma is a float with cancellation, so float64 is further away than the peer. */
    tap_near(w.given_logp_64, 0, 1.01 * w.given_logp_peer, "log-prob from float64");
    tap_near(w.slope_64, 0, 1.01 * w.slope_peer, "slope from float64");
    void *all[] = {g.o,
                   g.x,
                   g.noise,
                   g.given,
                   g.mean,
                   g.std,
                   g.prev,
                   g.hf,
                   g.hf_x0,
                   g.given_logp,
                   g.slope,
                   g.new_logp,
                   g.given_logp_peer,
                   g.slope_peer,
                   g.t};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    st_close(f);
    json_free(cases);
}

static void ddpm_case(const struct json *c, const struct st_file *f, int64_t row,
                      double worst[4])
{
    struct schedule schedule = schedule_of(c);
    schedule.variance = (enum schedule_variance)word(c, "variance_type", variances);
    struct sampler_options o = {.kind = SAMPLER_DDPM,
                                .steps = (int64_t)number(c, "num_inference_steps"),
                                .spacing = -1,
                                .clip_sample = -1};
    struct sampler s = sampler_of(&schedule, &o);
    float *x = floats(f, "sample"), *out = floats(f, "model_output");
    float *z = floats(f, "noise"), *prev = floats(f, "prev_sample");
    float *x0 = floats(f, "pred_x0"), *noisy = floats(f, "noisy");
    float *velocity = floats(f, "velocity");
    int64_t *t = integers(f, "timesteps");
    schedule.prediction = PREDICT_V;
    for (int64_t k = row * ITEMS; k < (row + 1) * ITEMS; k++) {
        float mu[D], clean[D], next[D];
        int64_t i = step_at(&s, t[k]), at = k * D;
        sampler_mean(&s, i, D, x + at, out + at, mu, clean);
        sampler_advance(&s, i, D, mu, z + at, next);
        raise_to(&worst[0], apart(next, prev + at));
        raise_to(&worst[1], apart(clean, x0 + at));
        schedule_add_noise(&schedule, t[k], x + at, z + at, mu, next, D);
        raise_to(&worst[2], apart(mu, noisy + at));
        raise_to(&worst[3], apart(next, velocity + at));
    }
    void *all[] = {x, out, z, prev, x0, noisy, velocity, t};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    sampler_free(&s);
    schedule_free(&schedule);
}

/* fixed_large_log is left out: the peer takes the root of a negative logarithm there.
 */
static void ddpm_goldens(void)
{
    const char *path = tap_shared("goldens/ddim/ddpm_step.safetensors");
    struct st_file *f = path != NULL ? st_open(path) : NULL;
    path = tap_shared("goldens/ddim/ddpm_step_cases.json");
    struct json *cases = path != NULL ? json_read(path, 1 << 20) : NULL;
    if (f == NULL || cases == NULL) {
        tap_skip("DDPM", "the reference numbers are absent");
        return;
    }
    double worst[4] = {0};
    int64_t n = 0;
    for (int64_t row = 0; row < json_count(cases); row++) {
        const struct json *c = json_item(cases, row);
        if (word(c, "variance_type", variances) > VARIANCE_FIXED_LARGE)
            continue;
        ddpm_case(c, f, row, worst);
        n++;
    }
    tap_ok(n == 54, "%lld DDPM cases", (long long)n);
    tap_near(worst[0], 0, 1e-6, "DDPM prev_sample");
    tap_near(worst[1], 0, 1e-6, "DDPM x0");
    tap_near(worst[2], 0, 1e-6, "add_noise");
    tap_near(worst[3], 0, 1e-6, "velocity");
    st_close(f);
    json_free(cases);
}

static struct schedule stable_diffusion(void)
{
    struct schedule s;
    if (schedule_read(&s, NULL) != 0)
        ERR_BUG("%s", err_text());
    s.beta = BETA_SCALED_LINEAR;
    s.beta_start = 0.00085;
    s.beta_end = 0.012;
    s.steps_offset = 1;
    s.set_alpha_to_one = s.clip_sample = false;
    if (schedule_build(&s) != 0)
        ERR_BUG("%s", err_text());
    return s;
}

/* Algorithms reference 21.1 and the table of 1.5. */
static void worked_step(void)
{
    static const float x[3] = {0.5f, -1, 0.25f}, o[3] = {0.1f, -0.2f, 0.3f};
    static const float next[3] = {0.55f, -1.1f, 0.2f};
    static const double want_mu[3][3] = {{.5122704598, -1.0245409197, .2291154740},
                                         {.4654967468, -.9309934936, .2505336927},
                                         {.4719975232, -.9439950465, .2211429160}};
    static const double want_logp[3] = {.9327277297, .7497207195, .7943585086};
    struct schedule schedule = stable_diffusion();
    struct sampler_options options = {
        .steps = 50, .eta = 1, .spacing = -1, .clip_sample = -1};
    float mu[3], x0[3];
    for (int p = 0; p < 3; p++) {
        schedule.prediction = (enum schedule_prediction)p;
        struct sampler s = sampler_of(&schedule, &options);
        sampler_mean(&s, 25, 3, x, o, mu, NULL);
        double worst = 0;
        for (int j = 0; j < 3; j++)
            worst = fmax(worst, fabs((double)mu[j] - want_mu[p][j]));
        tap_near(worst, 0, 3e-7, "worked step: mean");
        tap_near(sampler_log_prob(&s, 25, 3, mu, next), want_logp[p], 1e-5,
                 "worked step: log-prob");
        sampler_free(&s);
    }
    schedule.prediction = PREDICT_EPSILON;
    options.clip_sample = 1;
    struct sampler s = sampler_of(&schedule, &options);
    tap_near(s.step[25].sigma, 0.287685273714, 1e-6, "sigma of 481 -> 461");
    tap_near(s.step[48].kl_weight, 5.3621, 2e-3, "KL weight of 21 -> 1");
    tap_near(s.step[49].sigma, 0.02064832, 1e-5, "sigma of the last step");
    tap_ok(s.live_steps == 50 && s.step[49].p == -19, "50 live steps, the last to -19");
    sampler_mean(&s, 25, 3, (const float[3]){3, -1, 0.25f}, o, mu, x0);
    tap_near(mu[0], .65176804, 3e-7, "clipped mean");
    tap_near(x0[0], 1, 0, "clipped x0");
    sampler_free(&s);
    schedule_free(&schedule);
}

static void refuse(const struct schedule *schedule, struct sampler_options o,
                   const char *what)
{
    struct sampler s;
    tap_ok(sampler_init(&s, schedule, &o) == -1 && err_code() == ERR_USAGE,
           "%s is refused: %s", what, err_text());
    err_clear();
}

static void options(void)
{
    struct schedule sd = stable_diffusion();
    struct sampler_options o = {
        .steps = 50, .eta = 1, .spacing = -1, .clip_sample = -1};
    struct sampler_options bad = o;
    bad.steps = 0;
    refuse(&sd, bad, "no steps");
    bad.steps = 1001;
    refuse(&sd, bad, "too many steps");
    bad.steps = 1000;
    refuse(&sd, bad, "an offset beyond the table");
    bad = o;
    bad.eta = 2;
    refuse(&sd, bad, "eta 2");
    sd.zero_snr = true;
    schedule_build(&sd);
    bad = o;
    bad.spacing = SPACING_TRAILING;
    refuse(&sd, bad, "epsilon at alpha-bar 0");
    sd.prediction = PREDICT_V;
    struct sampler s = sampler_of(&sd, &bad);
    tap_ok(s.step[0].abar == 0 && s.step[0].mask && isfinite(s.step[0].kl_weight),
           "v prediction at alpha-bar 0 is fine");
    sampler_free(&s);
    sd.zero_snr = false;
    sd.set_alpha_to_one = true;
    schedule_build(&sd);
    s = sampler_of(&sd, &o);
    tap_ok(s.live_steps == 49 && !s.step[49].mask && s.step[49].sigma == 0,
           "the step onto alpha-bar 1 is masked");
    sampler_free(&s);
    bad = o;
    bad.sigma_min = 0.1;
    s = sampler_of(&sd, &bad);
    tap_ok(s.live_steps == 47 && s.step[48].sigma == 0, "sigma_min masks small steps");
    sampler_free(&s);
    bad = o;
    bad.clamp_last = true;
    s = sampler_of(&sd, &bad);
    tap_ok(s.live_steps == 50 && s.step[49].p == 0 &&
               s.step[49].abar_p == sd.alpha_bar[0],
           "clamp_last lands on alpha-bar[0]");
    sampler_free(&s);
    bad = o;
    bad.kind = SAMPLER_DDPM;
    bad.spacing = SPACING_LINSPACE;
    bad.steps = 30;
    s = sampler_of(&sd, &bad);
    int64_t wrong = 0;
    for (int i = 0; i < 29; i++)
        wrong += s.step[i].p != s.step[i + 1].t;
    tap_ok(wrong == 0 && s.step[29].p == -1 && !s.step[29].mask,
           "DDPM lands on the next entry of the list");
    sampler_free(&s);
    schedule_free(&sd);
}

/* Central differences of the log-prob in each output element. */
static double difference_error(const struct sampler *s, int64_t i, int64_t d)
{
    float x[64], o[64], next[64], mu[64], grad[64];
    uint64_t key = rng_key(5, RNG_TEST, i, d, s->thresholding, 0);
    rng_normal(key, x, d);
    rng_normal(key + 1, o, d);
    rng_normal(key + 2, next, d);
    sampler_mean(s, i, d, x, o, mu, NULL);
    sampler_advance(s, i, d, mu, next, next);
    sampler_log_prob_grad(s, i, d, x, o, next, 1, grad);
    double worst = 0, size = 0;
    for (int64_t j = 0; j < d; j++) {
        float keep = o[j], h = 4e-3f, up = keep + h, down = keep - h;
        o[j] = up;
        sampler_mean(s, i, d, x, o, mu, NULL);
        double a = sampler_log_prob(s, i, d, mu, next);
        o[j] = down;
        sampler_mean(s, i, d, x, o, mu, NULL);
        double b = sampler_log_prob(s, i, d, mu, next);
        o[j] = keep;
        worst = fmax(worst, fabs((a - b) / (double)(up - down) - (double)grad[j]));
        size = fmax(size, fabs((double)grad[j]));
    }
    return worst / size;
}

static void gradients(void)
{
    struct schedule sd = stable_diffusion();
    struct sampler_options o = {.steps = 50, .eta = 1, .spacing = -1, .clip_sample = 0};
    for (int kind = 0; kind < 2; kind++)
        for (int p = 0; p < 3; p++) {
            o.kind = (enum sampler_kind)kind;
            sd.prediction = (enum schedule_prediction)p;
            struct sampler s = sampler_of(&sd, &o);
            double e = difference_error(&s, 20, 37);
            tap_ok(e < 3e-4, "gradient, kind %d, prediction %d: %.3g", kind, p, e);
            s.thresholding = true;
            s.threshold_ratio = 0.9f;
            s.sample_max = 10;
            e = difference_error(&s, 20, 37);
            tap_ok(e < 3e-3, "gradient, dynamic thresholding: %.3g", e);
            sampler_free(&s);
        }
    schedule_free(&sd);
}

/* Dynamic thresholding on numbers whose quantile is known. */
static void thresholding(void)
{
    struct schedule sd = stable_diffusion();
    struct sampler_options o = {.steps = 50, .eta = 1, .spacing = -1, .clip_sample = 1};
    float out[11], x[11] = {0}, mu[11], x0[11];
    for (int j = 0; j < 11; j++)
        out[j] = j % 2 ? (float)j : -(float)j;
    sd.prediction = PREDICT_SAMPLE;
    sd.thresholding = true;
    sd.threshold_ratio = 0.75; /* rank 7.5 of 0..10: 7.5 */
    sd.sample_max = 100;
    struct sampler s = sampler_of(&sd, &o);
    sampler_mean(&s, 10, 11, x, out, mu, x0);
    tap_near(x0[10], -1, 0, "thresholded, beyond the quantile");
    tap_near(x0[3], 3 / 7.5, 1e-7, "thresholded, within the quantile");
    s.sample_max = 1;
    sampler_mean(&s, 10, 11, x, out, mu, x0);
    tap_near(x0[3], 1, 0, "the limit stays below sample_max");
    sampler_free(&s);
    schedule_free(&sd);
}

/* d mu / d x and d mu / d o of every step against differences. */
static void slopes(void)
{
    struct schedule schedule;
    double worst = 0;
    for (int p = 0; p < 3; p++)
        for (int kind = 0; kind < 2; kind++) {
            struct sampler s;
            if (schedule_read(&schedule, NULL) != 0)
                ERR_BUG("%s", err_text());
            schedule.prediction = (enum schedule_prediction)p;
            if (sampler_init(&s, &schedule,
                             &(struct sampler_options){.kind = (enum sampler_kind)kind,
                                                       .steps = 20,
                                                       .eta = 0.7,
                                                       .spacing = -1,
                                                       .clip_sample = 0}) != 0)
                ERR_BUG("%s", err_text());
            for (int64_t i = 0; i < s.steps; i++) {
                const float x[3] = {.5f, 1.5f, .5f}, o[3] = {-.25f, -.25f, .75f};
                float mu[3], by_x, by_o;
                sampler_mean(&s, i, 3, x, o, mu, NULL); /* each element by itself */
                sampler_slopes(&s, i, &by_x, &by_o);
                double scale = fabs((double)by_x) + fabs((double)by_o);
                worst = fmax(worst, fabs((double)(mu[1] - mu[0] - by_x)) / scale);
                worst = fmax(worst, fabs((double)(mu[2] - mu[0] - by_o)) / scale);
            }
            tap_ok(!sampler_clips(&s), "prediction %d, kind %d: nothing is clipped", p, kind);
            sampler_free(&s);
            schedule_free(&schedule);
        }
    tap_ok(worst < 2e-6, "slopes of the mean: %.2g", worst);
}

int main(void)
{
    slopes();
    worked_step();
    options();
    thresholding();
    gradients();
    ddim_goldens();
    ddpm_goldens();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}
