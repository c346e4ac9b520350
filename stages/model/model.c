/* Networks by class name, their parameters, and their way in and out of folders. */
#include "stages/model/model.h"

#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "stages/model/folder.h"
#include "stages/model/gaussian.h"
#include "stages/model/kind.h"
#include "stages/model/label.h"
#include "stages/model/mlp.h"
#include "stages/model/transformer1d.h"
#include "stages/model/unet2d.h"

#include <math.h>
#include <string.h>

#define CONFIG_MAX (1 << 20)

static const struct model_kind *const kinds[] = {
    &unet2d_kind,
    &gaussian_kind,
    &mlp_kind,
    &transformer1d_kind,
};

struct model {
    const struct model_kind *kind;
    void *net;
    struct param_set *params;
    char *config; /* the text of config.json */
    struct coding coding;
    double guidance; /* 1: none */
};

void model_destroy(struct model *m)
{
    if (m == NULL)
        return;
    if (m->net != NULL)
        m->kind->destroy(m->net);
    param_destroy(m->params);
    mem_free(m->config);
    mem_free(m);
}

/* A config without "_class_name" is taken for the first kind. */
static const struct model_kind *find_kind(const struct json *config, const char *path)
{
    const char *name = json_text(json_get(config, "_class_name"));
    struct text all = {0};
    if (name == NULL)
        return kinds[0];
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->class_name, name) == 0) {
            text_free(&all);
            return kinds[i];
        }
        text_add(&all, "%s%s", i > 0 ? ", " : "", kinds[i]->class_name);
    }
    err_set(ERR_INPUT, "%s: _class_name: '%s' is not supported; supported: %s", path,
            name, all.s);
    text_free(&all);
    return NULL;
}

/* Text has a channel for each character. */
static int check_coding(const struct model *m, const char *path)
{
    int64_t dim[3], letters = (int64_t)strlen(m->coding.alphabet);
    m->kind->sample_shape(m->net, dim);
    if (m->coding.kind == CODING_TEXT && (dim[0] != letters || dim[1] != 1))
        return err_set(ERR_INPUT,
                       "%s: data: an alphabet of %lld needs samples of %lld x 1 x length, "
                       "the network has %lld x %lld x %lld",
                       path, (long long)letters, (long long)letters, (long long)dim[0],
                       (long long)dim[1], (long long)dim[2]);
    return 0;
}

/* The network of a config's text (taken over), parameters declared but not allocated. */
static struct model *create_from(char *text, const char *config_path, bool old_names)
{
    struct model *m = mem_alloc(1, sizeof *m);
    int rc = -1;
    m->params = param_create();
    m->guidance = 1;
    m->config = text;
    struct json *config = json_parse(text, (int64_t)strlen(text), config_path);
    if (config == NULL)
        goto done;
    if (json_kind(config) != JSON_MAP_T) {
        err_set(ERR_INPUT, "%s: is no JSON object", config_path);
        goto done;
    }
    m->kind = find_kind(config, config_path);
    if (m->kind == NULL)
        goto done;
    m->net = m->kind->create(config, config_path);
    if (m->net == NULL)
        goto done;
    if (coding_read(config, config_path, &m->coding) != 0 ||
        check_coding(m, config_path) != 0)
        goto done;
    rc = m->kind->declare(m->net, m->params, old_names);
    if (rc != 0)
        err_add("%s", config_path);
done:
    json_free(config);
    if (rc == 0)
        return m;
    model_destroy(m);
    return NULL;
}

static struct model *create(const char *config_path, bool old_names)
{
    char *text;
    int64_t len;
    if (file_read(config_path, CONFIG_MAX, &text, &len) != 0)
        return NULL;
    return create_from(text, config_path, old_names);
}

struct model *model_from_config(const char *json, const char *name, bool old_names,
                                bool with_grad)
{
    struct model *m = create_from(mem_text(json), name, old_names);
    if (m != NULL)
        param_allocate(m->params, with_grad);
    return m;
}

const char *model_config(const struct model *m)
{
    return m->config;
}

/* Weights from a file; its names and shapes are checked before anything is allocated.
 */
static struct model *open_file(const struct folder *f, bool with_grad)
{
    struct st_file *st = st_open(f->weights);
    struct model *m = NULL;
    if (st == NULL)
        return NULL;
    m = create(f->config, folder_old_names(st));
    if (m != NULL) {
        int rc = folder_check(f->weights, st, m->params);
        if (rc == 0) {
            param_allocate(m->params, with_grad);
            rc = folder_load(f->weights, st, m->params);
        }
        if (rc != 0) {
            model_destroy(m);
            m = NULL;
        }
    }
    st_close(st);
    return m;
}

static struct model *open_seeded(const struct folder *f, int64_t seed, bool with_grad)
{
    struct model *m = create(f->config, false);
    if (m == NULL)
        return NULL;
    param_allocate(m->params, with_grad);
    for (int64_t i = 0; i < param_number(m->params); i++) {
        struct param *p = param_at(m->params, i);
        rng_detinit(p->name, (uint64_t)seed, p->t.nd, p->t.dim, p->t.data);
    }
    param_touch(m->params);
    return m;
}

struct model *model_open(const char *path, int64_t seed, bool with_grad)
{
    struct folder f;
    struct model *m = NULL;
    if (folder_find(path, &f) != 0)
        return NULL;
    if (f.weights != NULL)
        m = open_file(&f, with_grad);
    else if (seed >= 0)
        m = open_seeded(&f, seed, with_grad);
    else
        err_set(ERR_INPUT,
                "%s: has no weights: diffusion_pytorch_model.safetensors is missing",
                path);
    folder_free(&f);
    return m;
}

/* Parameter i by the peer's default: convolutions and matrices, and their biases,
 * uniform within 1/sqrt(fan_in); norms 1 and 0; tables of embeddings standard normal. A
 * bias follows its weight. */
static void init(struct param_set *s, int64_t i, uint64_t seed)
{
    struct param *p = param_at(s, i);
    const struct tensor *w = &p->t;
    int64_t n = tensor_count(&p->t), fan_in = 1;
    size_t len = strlen(p->name);
    uint64_t key = rng_key(seed, RNG_INIT, (int64_t)rng_fnv1a64(p->name), 0, 0, 0);
    bool bias = len >= 5 && strcmp(p->name + len - 5, ".bias") == 0;
    if (strcmp(p->name, "class_embedding.weight") == 0) {
        rng_normal(key, p->t.data, n);
        return;
    }
    if (bias)
        w = &param_at(s, i - 1)->t;
    for (int d = 1; d < w->nd; d++)
        fan_in *= w->dim[d];
    double bound = 1 / sqrt((double)fan_in);
    for (int64_t k = 0; k < n; k++) {
        if (w->nd == 1)
            p->t.data[k] = bias ? 0 : 1;
        else
            p->t.data[k] = (float)((2 * rng_uniform(key, k) - 1) * bound);
    }
}

static void init_small(struct param *p, uint64_t seed)
{
    uint64_t key = rng_key(seed, RNG_INIT, (int64_t)rng_fnv1a64(p->name), 0, 0, 0);
    rng_normal(key, p->t.data, tensor_count(&p->t));
    for (int64_t k = 0; k < tensor_count(&p->t); k++)
        p->t.data[k] *= 0.02f;
}

struct model *model_new_text(const char *json, const char *name, uint64_t seed)
{
    struct model *m = create_from(mem_text(json), name, false);
    if (m == NULL)
        return NULL;
    param_allocate(m->params, true);
    for (int64_t i = 0; i < param_number(m->params); i++) {
        const char *parameter = param_at(m->params, i)->name;
        enum model_start how = MODEL_START_USUAL;
        if (strcmp(parameter, LABEL_TABLE) == 0)
            how = MODEL_START_ZERO;
        else if (m->kind->start != NULL)
            how = m->kind->start(m->net, parameter);
        if (how == MODEL_START_USUAL)
            init(m->params, i, seed);
        else if (how == MODEL_START_SMALL)
            init_small(param_at(m->params, i), seed);
    }
    param_touch(m->params);
    return m;
}

struct model *model_new(const char *config_json, uint64_t seed)
{
    char *text;
    int64_t len;
    if (file_read(config_json, CONFIG_MAX, &text, &len) != 0)
        return NULL;
    struct model *m = model_new_text(text, config_json, seed);
    mem_free(text);
    return m;
}

void model_sample_shape(const struct model *m, int64_t dim[3])
{
    m->kind->sample_shape(m->net, dim);
}

int64_t model_classes(const struct model *m)
{
    return m->kind->classes(m->net);
}

const char *model_class_name(const struct model *m)
{
    return m->kind->class_name;
}

struct param_set *model_params(struct model *m)
{
    return m->params;
}

const struct coding *model_coding(const struct model *m)
{
    return &m->coding;
}

int64_t model_null_label(const struct model *m)
{
    return m->kind->null_label != NULL ? m->kind->null_label(m->net) : -1;
}

double model_guidance(const struct model *m)
{
    return m->guidance;
}

int model_set_guidance(struct model *m, double weight)
{
    if (weight != 1 && model_null_label(m) < 0)
        return err_set(ERR_USAGE,
                       "a guidance of %g needs a network that knows \"no class\": its "
                       "config.json has no null_class",
                       weight);
    m->guidance = weight;
    return 0;
}

/* Both evaluations in one batch: all items with their labels, then all without. */
static struct tensor *forward_guided(struct model *m, struct tape *t,
                                     const struct model_input *in, struct tensor **given)
{
    int64_t dim[3], n = in->batch, null = model_null_label(m);
    model_sample_shape(m, dim);
    const int64_t each = dim[0] * in->height * in->width;
    float *x = tape_keepsake(t, 2 * n * each, sizeof *x);
    float *timesteps = tape_keepsake(t, 2 * n, sizeof *timesteps);
    int64_t *labels = tape_keepsake(t, 2 * n, sizeof *labels);
    for (int half = 0; half < 2; half++) {
        memcpy(x + half * n * each, in->x, (size_t)(n * each) * sizeof *x);
        memcpy(timesteps + half * n, in->timesteps, (size_t)n * sizeof *timesteps);
        for (int64_t i = 0; i < n; i++)
            labels[half * n + i] = half == 0 ? in->labels[i] : null;
    }
    struct model_input both = *in;
    both.batch = 2 * n;
    both.x = x;
    both.timesteps = timesteps;
    both.labels = labels;
    struct tensor *y = m->kind->forward(m->net, m->params, t, &both, given);
    if (y == NULL)
        return NULL;
    struct tensor *guided = op_guide(t, y, (float)m->guidance);
    tape_release(t, y);
    return guided;
}

struct tensor *model_forward(struct model *m, struct tape *t,
                             const struct model_input *in, struct tensor **x)
{
    if (m->guidance == 1)
        return m->kind->forward(m->net, m->params, t, in, x);
    if (in->labels == NULL || in->batch < 1) {
        err_set(ERR_INPUT, "guidance needs labels");
        return NULL;
    }
    return forward_guided(m, t, in, x);
}

/* Under guidance x holds both evaluations' inputs, which are the same. */
void model_dx(const struct tensor *x, int64_t batch, float *dx)
{
    int64_t n = tensor_count(x) / x->dim[0] * batch;
    ERR_BUG_IF(x->dim[0] != batch && x->dim[0] != 2 * batch);
    memcpy(dx, x->grad, (size_t)n * sizeof *dx);
    if (x->dim[0] == 2 * batch)
        for (int64_t i = 0; i < n; i++)
            dx[i] += x->grad[n + i];
}

double model_flops(const struct model *m)
{
    return m->kind->flops(m->net) * (m->guidance == 1 ? 1 : 2);
}

int model_export(struct model *m, const float *values, const char *scheduler_json,
                 const char *path)
{
    const struct folder_content c = {
        .class_name = m->kind->class_name,
        .config = m->config,
        .scheduler = scheduler_json,
        .values = values != NULL ? values : param_values(m->params),
    };
    return folder_write(path, &c, m->params);
}

char *model_scheduler_path(const char *path)
{
    return folder_scheduler(path);
}

void model_digest(struct model *m, const float *values, char hex[65])
{
    struct digest *d = digest_create();
    for (int64_t i = 0; i < param_number(m->params); i++) {
        const struct param *p = param_at(m->params, i);
        digest_add_text(d, p->name);
        digest_add_i64(d, p->t.nd);
        for (int k = 0; k < p->t.nd; k++)
            digest_add_i64(d, p->t.dim[k]);
        digest_add(d, values + p->offset,
                   tensor_count(&p->t) * (int64_t)sizeof *values);
    }
    digest_finish(d, hex);
}

/* The config's text with one more key. */
static char *with_labels(const char *config, int64_t labels)
{
    const char *end = strrchr(config, '}');
    while (strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    return text_new("%.*s%s\n  \"num_label_embeds\": %lld\n}\n", (int)(end - config), config,
                    end[-1] == '{' ? "" : ",", (long long)labels);
}

struct model *model_graft(struct model *m, int64_t labels)
{
    bool old_names = false;
    for (int64_t i = 0; i < param_number(m->params); i++)
        old_names = old_names || strstr(param_at(m->params, i)->name, ".query.") != NULL;
    if (param_find(m->params, LABEL_TABLE) != NULL) {
        err_set(ERR_INPUT, "this network has new labels already (num_label_embeds)");
        return NULL;
    }
    char *config = with_labels(m->config, labels);
    struct model *grafted = model_from_config(config, "config.json", old_names, false);
    mem_free(config);
    if (grafted == NULL)
        return NULL;
    for (int64_t i = 0; i < param_number(m->params); i++) {
        const struct param *from = param_at(m->params, i);
        struct param *to = param_find(grafted->params, from->name);
        memcpy(to->t.data, from->t.data, (size_t)tensor_count(&to->t) * sizeof(float));
    }
    param_touch(grafted->params);
    return grafted;
}
