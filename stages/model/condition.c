/* Time and class as one vector. Sinusoids are those of the U-Net: cosines first,
 * periods up to 10,000 times 2 pi. */
#include "stages/model/condition.h"

#include "io/sys/err.h"
#include "stages/model/unet2d.h"

#include <math.h>
#include <string.h>

int condition_check(const struct condition *c, const char *path)
{
    if (c->width % 2 != 0)
        return err_set(ERR_INPUT, "%s: hidden_size: %lld must be even", path,
                       (long long)c->width);
    if (c->null_class && c->classes == 0)
        return err_set(ERR_INPUT,
                       "%s: null_class: goes with num_class_embeds, which is not set",
                       path);
    return 0;
}

void condition_declare(struct condition *c, struct param_set *s)
{
    c->time1 = dense_declare(s, c->width, c->width, "time_embedding.linear_1");
    c->time2 = dense_declare(s, c->width, c->width, "time_embedding.linear_2");
    c->table = -1;
    c->label.old = c->classes;
    c->label.old_null = c->null_class;
    if (c->classes > 0)
        c->table =
            param_declare(s, "class_embedding.weight", 2,
                          (const int64_t[]){c->classes + c->null_class, c->width});
}

void condition_declare_labels(struct condition *c, struct param_set *s)
{
    label_declare(&c->label, s, c->width);
}

int condition_check_values(const struct model_input *in, int64_t classes,
                           int64_t labels)
{
    for (int64_t i = 0; i < in->batch; i++)
        if (!isfinite(in->timesteps[i]))
            return err_set(ERR_INPUT, "timestep %lld is not finite", (long long)i);
    if (classes > 0 && in->labels == NULL)
        return err_set(ERR_INPUT,
                       "this network is conditioned on %lld classes: class labels are "
                       "needed",
                       (long long)classes);
    for (int64_t i = 0; i < in->batch && classes > 0; i++)
        if (in->labels[i] < 0 || in->labels[i] >= labels)
            return err_set(ERR_INPUT, "class label %lld of item %lld is not in 0..%lld",
                           (long long)in->labels[i], (long long)i,
                           (long long)labels - 1);
    return 0;
}

int condition_check_input(const struct condition *c, const struct model_input *in,
                          const int64_t shape[3])
{
    if (in->batch < 1 || in->height != shape[1] || in->width != shape[2])
        return err_set(ERR_INPUT,
                       "x is [%lld, %lld, %lld, %lld]: this network takes samples of "
                       "%lld x %lld x %lld",
                       (long long)in->batch, (long long)shape[0], (long long)in->height,
                       (long long)in->width, (long long)shape[0], (long long)shape[1],
                       (long long)shape[2]);
    const int64_t n = condition_classes(c);
    return condition_check_values(in, n, n + (condition_null_label(c) >= 0));
}

struct tensor *condition_run(const struct condition *c, struct param_set *s,
                             struct tape *t, const struct model_input *in)
{
    const int64_t dim[2] = {in->batch, c->width};
    const struct unet2d_config sines = {.channels = {c->width},
                                        .flip_sin_to_cos = true};
    struct tensor *e = tape_tensor(t, 2, dim, false);
    unet2d_sinusoids(&sines, in->timesteps, in->batch, e->data);
    e = dense_run(t, s, c->time1, e);
    e = dense_run(t, s, c->time2, op_silu(t, e));
    if (c->table >= 0)
        e = op_add(t, e,
                   op_embedding(t, param_at(s, c->table),
                                label_old(&c->label, t, in->labels, in->batch), in->batch),
                   1);
    return op_silu(t, label_add(&c->label, s, t, in, e));
}

int64_t condition_null_label(const struct condition *c)
{
    return label_null(&c->label);
}

int64_t condition_classes(const struct condition *c)
{
    return label_classes(&c->label);
}

double condition_macs(const struct condition *c)
{
    return 2 * (double)c->width * (double)c->width;
}

enum model_start condition_start(const char *name)
{
    if (strstr(name, "modulation.") != NULL || strncmp(name, "out.", 4) == 0)
        return MODEL_START_ZERO;
    if (strcmp(name, "positions") == 0 || strcmp(name, "class_embedding.weight") == 0)
        return MODEL_START_SMALL;
    return MODEL_START_USUAL;
}

struct tensor *condition_given(struct tape *t, const struct model_input *in,
                               int64_t channels)
{
    const int64_t dim[4] = {in->batch, channels, in->height, in->width};
    struct tensor *given = tape_tensor(t, 4, dim, in->want_dx);
    memcpy(given->data, in->x, (size_t)tensor_count(given) * sizeof *in->x);
    return given;
}
