/* Policy files over io/shard.h. */
#include "stages/policy.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct policy {
    struct shard *in;
    int64_t total; /* values of a vector */
    char *path;
};

static const char *const vector_name[POLICY_VECTORS] = {"weights", "adam_m", "adam_v",
                                                         "ema", "anchor"};
enum { COUNTERS = 6 };
static const char *const counter_name[COUNTERS] = {
    "version", "optimizer_step", "samples_seen", "ema_updates", "best_version",
    "iteration",
};

static int put_scalar_i64(struct shard_writer *w, const char *name, int64_t v)
{
    return shard_put(w, &(struct column){.name = name, .type = COLUMN_I64, .nd = 1,
                                         .dim = {1}, .axis = {"one"}, .units = "1",
                                         .long_name = name, .data = &v});
}

static int put_scalar_f64(struct shard_writer *w, const char *name, double v)
{
    return shard_put(w, &(struct column){.name = name, .type = COLUMN_F64, .nd = 1,
                                         .dim = {1}, .axis = {"one"}, .units = "1",
                                         .long_name = name, .data = &v});
}

static int put_text(struct shard_writer *w, const char *name, const char *text)
{
    return shard_put(w, &(struct column){.name = name, .type = COLUMN_TEXT, .nd = 1,
                                         .dim = {1}, .axis = {"one"}, .units = "1",
                                         .long_name = name, .data = text,
                                         .text_len = (int64_t)strlen(text) + 1});
}

static int put_vectors(struct shard_writer *w, const struct task *t,
                       const struct policy_content *c)
{
    static const char *const title[POLICY_VECTORS] = {
        "parameters, tensor after tensor in C order", "AdamW first moment",
        "AdamW second moment", "exponential moving average of the parameters",
        "running average that the distance of the loss is measured to"};
    int64_t n = param_total(model_params(t->model));
    float *zero = NULL;
    int rc = 0;
    for (int k = 0; k < POLICY_VECTORS && rc == 0; k++) {
        const float *v = c->vector[k];
        if (v == NULL && k == POLICY_ANCHOR)
            continue;
        if (v == NULL && k == POLICY_EMA)
            v = c->vector[POLICY_WEIGHTS];
        if (v == NULL)
            v = zero = zero != NULL ? zero : mem_alloc(n, sizeof *zero);
        rc = shard_put(w, &(struct column){.name = vector_name[k], .type = COLUMN_F32,
                                           .nd = 1, .dim = {n}, .axis = {"value"},
                                           .units = "1", .long_name = title[k],
                                           .data = v});
    }
    mem_free(zero);
    return rc;
}

static int put_table(struct shard_writer *w, struct param_set *s)
{
    int64_t n = param_number(s), width = 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t len = (int64_t)strlen(param_at(s, i)->name) + 1;
        width = len > width ? len : width;
    }
    char *name = mem_alloc(n * width, 1);
    int64_t *at = mem_alloc(n, sizeof *at), *nd = mem_alloc(n, sizeof *nd);
    int64_t *dim = mem_alloc(n * 4, sizeof *dim);
    for (int64_t i = 0; i < n; i++) {
        const struct param *p = param_at(s, i);
        snprintf(name + i * width, (size_t)width, "%s", p->name);
        at[i] = p->offset;
        nd[i] = p->t.nd;
        for (int k = 0; k < 4; k++)
            dim[i * 4 + k] = k < p->t.nd ? p->t.dim[k] : 1;
    }
    const struct column col[] = {
        {.name = "param_name", .type = COLUMN_TEXT, .nd = 1, .dim = {n},
         .axis = {"parameter"}, .units = "1", .long_name = "parameter", .data = name,
         .text_len = width},
        {.name = "param_offset", .type = COLUMN_I64, .nd = 1, .dim = {n},
         .axis = {"parameter"}, .units = "1", .data = at,
         .long_name = "first value in the vectors"},
        {.name = "param_nd", .type = COLUMN_I64, .nd = 1, .dim = {n},
         .axis = {"parameter"}, .units = "1", .data = nd,
         .long_name = "number of dimensions"},
        {.name = "param_dim", .type = COLUMN_I64, .nd = 2, .dim = {n, 4},
         .axis = {"parameter", "dimension"}, .units = "1", .data = dim,
         .long_name = "shape, padded with ones"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof col / sizeof *col && rc == 0; i++)
        rc = shard_put(w, &col[i]);
    mem_free(name);
    mem_free(at);
    mem_free(nd);
    mem_free(dim);
    return rc;
}

static int put_all(struct shard_writer *w, const struct task *t,
                   const struct policy_content *c)
{
    const struct policy_counters *k = &c->counters;
    const int64_t value[COUNTERS] = {k->version,      k->optimizer_step,
                                     k->samples_total, k->ema_updates,
                                     k->best_version, k->version - 1};
    if (put_vectors(w, t, c) != 0 || put_table(w, model_params(t->model)) != 0 ||
        put_text(w, "model_config", model_config(t->model)) != 0 ||
        put_text(w, "scheduler_config", t->schedule.json) != 0)
        return -1;
    for (int i = 0; i < COUNTERS; i++)
        if (put_scalar_i64(w, counter_name[i], value[i]) != 0)
            return -1;
    if (put_scalar_f64(w, "best_reward", k->best_reward) != 0 ||
        put_scalar_f64(w, "guard_first", k->guard_first) != 0 ||
        put_scalar_f64(w, "guard_first_error", k->guard_first_error) != 0)
        return -1;
    for (int i = 0; i < METRICS; i++) {
        char name[64];
        snprintf(name, sizeof name, "metric_%s", metric_name((enum metric)i));
        if (put_scalar_f64(w, name, c->metric[i]) != 0)
            return -1;
    }
    return 0;
}

int policy_write(const struct task *t, const struct policy_content *c,
                 char digest[DIGEST_HEX])
{
    char rel[96], path[4096];
    int64_t version = c->counters.version;
    struct shard_head head = task_head(t, SHARD_POLICY, version - 1, -1, version);
    head.parent = c->parent;
    head.parents = c->parents;
    struct shard_writer *w =
        shard_create(task_path(t, rundir_policy(rel, version), path), &head);
    if (w == NULL)
        return -1;
    if (put_all(w, t, c) != 0) {
        shard_abort(w);
        return -1;
    }
    return shard_seal(w, digest);
}

struct policy *policy_open(const char *path)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND], total = -1;
    struct shard *in = shard_open(path, SHARD_POLICY);
    for (int k = 0; in != NULL && k < 4; k++) {
        bool good = shard_has(in, vector_name[k], &type, &nd, dim) &&
                    type == COLUMN_F32 && nd == 1;
        if (good && k == 0)
            total = dim[0];
        if (good && dim[0] == total)
            continue;
        err_set(ERR_INPUT, "%s: has no column '%s' of float32 in the weights' number",
                path, vector_name[k]);
        shard_close(in);
        in = NULL;
    }
    if (in == NULL)
        return NULL;
    struct policy *p = mem_alloc(1, sizeof *p);
    *p = (struct policy){.in = in, .total = total, .path = mem_text(path)};
    return p;
}

void policy_close(struct policy *p)
{
    if (p == NULL)
        return;
    shard_close(p->in);
    mem_free(p->path);
    mem_free(p);
}

int policy_weights(struct policy *p, struct model *m, enum policy_vector which)
{
    struct param_set *s = model_params(m);
    if (param_total(s) != p->total)
        return err_set(ERR_INPUT, "%s: holds %lld weights, the network has %lld", p->path,
                       (long long)p->total, (long long)param_total(s));
    if (policy_slice(p, which, 0, p->total, param_values(s)) != 0)
        return -1;
    param_touch(s);
    return 0;
}

int policy_slice(struct policy *p, enum policy_vector which, int64_t first, int64_t count,
                 float *out)
{
    if (first < 0 || count < 0 || first + count > p->total)
        return err_set(ERR_INPUT, "%s: holds %lld values", p->path, (long long)p->total);
    if (which == POLICY_ANCHOR && !shard_has(p->in, vector_name[which], NULL, NULL, NULL))
        which = POLICY_WEIGHTS;
    return count == 0 ? 0
                      : shard_get_rows(p->in, vector_name[which], COLUMN_F32, first, count,
                                       out);
}

/* The one number of a column. */
static int get_one(struct policy *p, const char *name, enum column_type type, void *out)
{
    void *v = shard_get(p->in, name, type, 1, (int64_t[]){1}, NULL);
    if (v != NULL)
        memcpy(out, v, 8);
    mem_free(v);
    return v != NULL ? 0 : -1;
}

int policy_counters(struct policy *p, struct policy_counters *out)
{
    int64_t v[COUNTERS];
    for (int i = 0; i < COUNTERS; i++)
        if (get_one(p, counter_name[i], COLUMN_I64, &v[i]) != 0)
            return -1;
    *out = (struct policy_counters){.version = v[0], .optimizer_step = v[1],
                                    .samples_total = v[2], .ema_updates = v[3],
                                    .best_version = v[4]};
    if (out->version != shard_head(p->in)->policy_version || out->version < 0 ||
        out->optimizer_step < 0)
        return err_set(ERR_INPUT, "%s: its counters contradict its head", p->path);
    out->guard_first = out->guard_first_error = NAN; /* files of older versions */
    if (shard_has(p->in, "guard_first", NULL, NULL, NULL) &&
        (get_one(p, "guard_first", COLUMN_F64, &out->guard_first) != 0 ||
         get_one(p, "guard_first_error", COLUMN_F64, &out->guard_first_error) != 0))
        return -1;
    return get_one(p, "best_reward", COLUMN_F64, &out->best_reward);
}

int policy_metrics(struct policy *p, double metric[METRICS])
{
    for (int i = 0; i < METRICS; i++) {
        char name[64];
        snprintf(name, sizeof name, "metric_%s", metric_name((enum metric)i));
        metric[i] = NAN; /* files of older versions lack some */
        if (shard_has(p->in, name, NULL, NULL, NULL) &&
            get_one(p, name, COLUMN_F64, &metric[i]) != 0)
            return -1;
    }
    return 0;
}

const char *policy_content_digest(const struct policy *p)
{
    return shard_content(p->in);
}

const struct shard_head *policy_head(const struct policy *p)
{
    return shard_head(p->in);
}

/* The one text of a column; freed with mem_free. */
static char *text_of(struct policy *p, const char *name)
{
    int64_t n = 0, len = 0;
    char *text = shard_get_text(p->in, name, &n, &len);
    if (text != NULL && n != 1) {
        mem_free(text);
        err_set(ERR_INPUT, "%s: column '%s' should hold one text", p->path, name);
        return NULL;
    }
    return text;
}

/* The file's tensors must be the network's, in order. */
static int check_table(struct policy *p, struct param_set *s)
{
    int64_t n = 0, stride = 0;
    int rc = -1;
    char *name = shard_get_text(p->in, "param_name", &n, &stride);
    int64_t *at =
        name == NULL ? NULL
                     : shard_get(p->in, "param_offset", COLUMN_I64, 1, (int64_t[]){n}, NULL);
    if (at == NULL)
        goto done;
    if (n != param_number(s) || param_total(s) != p->total) {
        err_set(ERR_INPUT, "%s: its tensors are not those of its own model_config",
                p->path);
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        if (strcmp(name + i * stride, param_at(s, i)->name) != 0 ||
            at[i] != param_at(s, i)->offset) {
            err_set(ERR_INPUT, "%s: tensor %lld is '%s', the network has '%s' there",
                    p->path, (long long)i, name + i * stride, param_at(s, i)->name);
            goto done;
        }
    rc = 0;
done:
    mem_free(name);
    mem_free(at);
    return rc;
}

struct model *policy_model(struct policy *p, enum policy_vector which, bool with_grad)
{
    int64_t n = 0, stride = 0;
    bool old_names = false;
    char *json = text_of(p, "model_config");
    char *name = json == NULL ? NULL : shard_get_text(p->in, "param_name", &n, &stride);
    for (int64_t i = 0; name != NULL && i < n; i++)
        old_names |= strstr(name + i * stride, ".query.") != NULL;
    struct model *m =
        name == NULL ? NULL : model_from_config(json, p->path, old_names, with_grad);
    mem_free(json);
    mem_free(name);
    if (m != NULL && (check_table(p, model_params(m)) != 0 ||
                      policy_weights(p, m, which) != 0)) {
        model_destroy(m);
        return NULL;
    }
    return m;
}

char *policy_scheduler(struct policy *p)
{
    return text_of(p, "scheduler_config");
}
