/* The analytic denoiser. Its schedule comes from the code that the sampler uses, so
 * both have the same bits of alpha-bar. */
#include "stages/model/gaussian.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/diffusion/schedule.h"

#include <math.h>
#include <string.h>

#define SIDE_MAX 65536

struct gaussian {
    double mean, variance;
    int64_t channels, height, width;
    struct schedule schedule;
};

static const char *const beta_names[] = {"linear", "scaled_linear",
                                         "squaredcos_cap_v2"};

static int read_number(const struct json *config, const char *key, double lo, double hi,
                       double *out)
{
    const struct json *v = json_get(config, key);
    if (v == NULL || !json_to_f64(v, out) || !(*out >= lo && *out <= hi))
        return err_set(ERR_INPUT, "%s: must be a number from %g to %g", key, lo, hi);
    return 0;
}

static int read_count(const struct json *v, const char *key, int64_t hi, int64_t *out)
{
    if (v == NULL || !json_to_i64(v, out) || *out < 1 || *out > hi)
        return err_set(ERR_INPUT, "%s: must be an integer from 1 to %lld", key,
                       (long long)hi);
    return 0;
}

static int read_shape(struct gaussian *g, const struct json *config)
{
    const struct json *size = json_get(config, "sample_size"), *h = size, *w = size;
    if (size != NULL && json_kind(size) == JSON_LIST_T && json_count(size) == 2) {
        h = json_item(size, 0);
        w = json_item(size, 1);
    }
    return read_count(json_get(config, "channels"), "channels", SIDE_MAX,
                      &g->channels) ||
                   read_count(h, "sample_size", SIDE_MAX, &g->height) ||
                   read_count(w, "sample_size", SIDE_MAX, &g->width)
               ? -1
               : 0;
}

static int read_schedule(struct schedule *s, const struct json *config)
{
    const char *beta = json_text(json_get(config, "beta_schedule"));
    int i = 0;
    while (i < 3 && (beta == NULL || strcmp(beta, beta_names[i]) != 0))
        i++;
    if (i == 3)
        return err_set(ERR_INPUT, "beta_schedule: must be %s, %s or %s", beta_names[0],
                       beta_names[1], beta_names[2]);
    s->beta = (enum schedule_beta)i;
    if (read_number(config, "beta_start", 0, 1, &s->beta_start) ||
        read_number(config, "beta_end", 0, 1, &s->beta_end) ||
        read_count(json_get(config, "num_train_timesteps"), "num_train_timesteps",
                   100000, &s->train_steps))
        return -1;
    return schedule_build(s);
}

/* Every key is needed, and there are no others but those with an underscore. */
static int check_keys(const struct json *config)
{
    static const char *const keys[] = {
        "mean",       "variance", "channels",      "sample_size",
        "beta_start", "beta_end", "beta_schedule", "num_train_timesteps"};
    enum { KEYS = sizeof keys / sizeof *keys };
    for (int64_t i = 0; i < json_count(config); i++) {
        const char *name = NULL;
        int k = 0;
        json_entry(config, i, &name);
        while (k < KEYS && strcmp(keys[k], name) != 0)
            k++;
        if (k < KEYS || name[0] == '_')
            continue;
        const char *near = text_nearest(name, keys, KEYS);
        return err_set(ERR_INPUT, "key '%s' is not known for GaussianDenoiser%s%s%s",
                       name, near != NULL ? ", did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
    }
    return 0;
}

static void destroy(void *net)
{
    struct gaussian *g = net;
    schedule_free(&g->schedule);
    mem_free(g);
}

static void *create(const struct json *config, const char *path)
{
    struct gaussian *g = mem_alloc(1, sizeof *g);
    if (check_keys(config) != 0 ||
        read_number(config, "mean", -1e6, 1e6, &g->mean) != 0 ||
        read_number(config, "variance", 0, 1e12, &g->variance) != 0 ||
        read_shape(g, config) != 0 || read_schedule(&g->schedule, config) != 0) {
        err_add("%s", path);
        destroy(g);
        return NULL;
    }
    return g;
}

static int declare(void *net, struct param_set *s, bool old_names)
{
    (void)net;
    (void)old_names; /* there is no attention */
    param_declare(s, "shift", 1, (int64_t[]){1});
    return 0;
}

static void sample_shape(const void *net, int64_t dim[3])
{
    const struct gaussian *g = net;
    dim[0] = g->channels;
    dim[1] = g->height;
    dim[2] = g->width;
}

static int64_t classes(const void *net)
{
    (void)net;
    return 0;
}

static double flops(const void *net)
{
    const struct gaussian *g = net;
    return 3 * (double)g->channels * (double)g->height * (double)g->width;
}

/* eps = scale * x + offset at a timestep. */
static int line_at(const struct gaussian *g, float timestep, float *scale,
                   float *offset)
{
    double t = (double)timestep;
    if (!(t >= 0 && t < (double)g->schedule.train_steps && t == floor(t)))
        return err_set(ERR_INPUT, "timestep %g is not one of 0..%lld", t,
                       (long long)g->schedule.train_steps - 1);
    double abar = (double)g->schedule.alpha_bar[(int64_t)t];
    double slope = sqrt(1 - abar) / (abar * g->variance + 1 - abar);
    *scale = (float)slope;
    *offset = (float)(-slope * sqrt(abar) * g->mean);
    return 0;
}

static struct tensor *forward(const void *net, struct param_set *set, struct tape *t,
                              const struct model_input *in, struct tensor **x)
{
    const struct gaussian *g = net;
    const int64_t dim[4] = {in->batch, g->channels, in->height, in->width};
    struct tensor *out = NULL;
    if (in->batch < 1 || in->height < 1 || in->width < 1) {
        err_set(ERR_INPUT, "an empty batch [%lld, %lld, %lld, %lld]",
                (long long)in->batch, (long long)g->channels, (long long)in->height,
                (long long)in->width);
        return NULL;
    }
    const int64_t pair[2] = {2, in->batch};
    float *scale = tape_tensor(t, 2, pair, false)->data, *offset = scale + in->batch;
    int rc = 0;
    for (int64_t i = 0; i < in->batch && rc == 0; i++)
        rc = line_at(g, in->timesteps[i], &scale[i], &offset[i]);
    if (rc == 0) {
        struct tensor *given = tape_tensor(t, 4, dim, in->want_dx);
        memcpy(given->data, in->x, (size_t)tensor_count(given) * sizeof *in->x);
        if (x != NULL)
            *x = given;
        out = op_add_scalar(t, op_affine_items(t, given, scale, offset),
                            param_at(set, 0));
    }
    return out;
}

const struct model_kind gaussian_kind = {
    .class_name = "GaussianDenoiser",
    .create = create,
    .destroy = destroy,
    .declare = declare,
    .sample_shape = sample_shape,
    .classes = classes,
    .flops = flops,
    .forward = forward,
};
