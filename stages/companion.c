/* Companions. A network's result for an item does not depend on its batch nor on whether
 * a backward is recorded, so a companion of the same version gives the same bits. */
#include "stages/companion.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/policy.h"

#include <string.h>

struct companion {
    struct model *model;
    int64_t version;
    char content[DIGEST_HEX];
    float *out; /* [micro_batch, d] */
};

static int from_file(struct companion *c, const struct task *t, struct policy *p,
                     enum policy_vector which)
{
    int rc = 0;
    if (p == NULL)
        return -1;
    if (c->model != NULL)
        rc = policy_weights(p, c->model, which);
    else if ((c->model = policy_model(p, which, false)) == NULL)
        rc = -1;
    if (rc == 0) /* the null label is known: it is t's network */
        rc = model_set_guidance(c->model, model_guidance(t->model));
    memcpy(c->content, policy_content_digest(p), DIGEST_HEX);
    policy_close(p);
    return rc;
}

static int from_memory(struct companion *c, struct task *t, int64_t version)
{
    struct param_set *to = model_params(c->model), *from = model_params(t->model);
    memcpy(param_values(to), param_values(from),
           (size_t)param_total(from) * sizeof(float));
    param_touch(to);
    return task_policy_content(t, version, c->content);
}

/* Whether *c, made on the first call, is of that version already. */
static bool is_loaded(struct companion **c, const struct task *t, int64_t version)
{
    if (*c != NULL && (*c)->version == version)
        return true;
    if (*c == NULL) {
        *c = mem_alloc(1, sizeof **c);
        (*c)->out = mem_alloc(t->micro_batch * t->d, sizeof(float));
    }
    (*c)->version = -1;
    return false;
}

int companion_load(struct companion **c, struct task *t, int64_t version)
{
    if (is_loaded(c, t, version))
        return 0;
    double start = task_now(t);
    bool here = (*c)->model != NULL && t->loaded_version == version;
    int rc = here ? from_memory(*c, t, version) : from_file(*c, t, task_open_policy(t, version), POLICY_WEIGHTS);
    if (rc == 0)
        (*c)->version = version;
    task_spend(t, TIME_IO, start);
    return rc;
}

int companion_load_file(struct companion **c, struct task *t, const char *relative,
                        int64_t version)
{
    char path[4096];
    if (is_loaded(c, t, version))
        return 0;
    double start = task_now(t);
    int rc = from_file(*c, t, policy_open(task_path(t, relative, path)), POLICY_WEIGHTS);
    if (rc == 0)
        (*c)->version = version;
    task_spend(t, TIME_IO, start);
    return rc;
}

int companion_load_average(struct companion **c, struct task *t, int64_t version)
{
    if (is_loaded(c, t, version))
        return 0;
    double start = task_now(t);
    int rc = from_file(*c, t, task_open_policy(t, version), POLICY_ANCHOR);
    if (rc == 0)
        (*c)->version = version;
    task_spend(t, TIME_IO, start);
    return rc;
}

void companion_average(struct companion *c, struct task *t, double decay, int64_t version)
{
    struct param_set *to = model_params(c->model), *from = model_params(t->model);
    float *average = param_values(to);
    const float *now = param_values(from);
    for (int64_t i = 0; i < param_total(to); i++)
        average[i] = (float)(decay * (double)average[i] + (1 - decay) * (double)now[i]);
    param_touch(to);
    c->version = version;
}

const float *companion_values(const struct companion *c)
{
    return param_values(model_params(c->model));
}

void companion_destroy(struct companion *c)
{
    if (c == NULL)
        return;
    if (c->model != NULL)
        model_destroy(c->model);
    mem_free(c->out);
    mem_free(c);
}

int companion_forward(struct companion *c, struct task *t, const struct model_input *in,
                      const float **out)
{
    *out = NULL;
    if (c == NULL)
        return 0;
    double start = task_now(t);
    tape_begin(t->tape, false);
    struct tensor *y = model_forward(c->model, t->tape, in, NULL);
    if (y != NULL) {
        memcpy(c->out, y->data, (size_t)(in->batch * t->d) * sizeof *c->out);
        *out = c->out;
    }
    task_spend(t, TIME_NETWORK, start);
    return y != NULL ? 0 : -1;
}

int companion_pull(struct companion *c, struct task *t, const struct model_input *in,
                   const float *seed, const float **out, float *dx)
{
    double start = task_now(t);
    struct tensor *x = NULL;
    struct model_input with = *in;
    with.want_dx = true;
    tape_begin(t->tape, true);
    struct tensor *y = model_forward(c->model, t->tape, &with, &x);
    int rc = y != NULL ? tape_backward(t->tape, y, seed) : -1;
    if (rc == 0) {
        memcpy(c->out, y->data, (size_t)(in->batch * t->d) * sizeof *c->out);
        *out = c->out;
        model_dx(x, in->batch, dx);
    }
    task_spend(t, TIME_NETWORK, start);
    return rc;
}

void companion_guide(struct companion *c, double weight)
{
    ERR_BUG_IF(model_set_guidance(c->model, weight) != 0);
}

const char *companion_content(const struct companion *c)
{
    return c->content;
}
