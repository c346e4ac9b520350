/* Pretraining steps. Item b of step k is element (k * batch + b) of an endless sequence of
 * permutations of the data; timestep, noise, flip and dropped labels are keyed by (step, item). */
#include "stages/pretrain.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

struct batch {
    struct task *t;
    const struct dataset *d;
    const struct pretrain_options *o;
    int64_t step;
    int64_t *item;  /* [batch] rows of the data */
    double *loss;   /* [batch] */
    float *x, *target, *eps, *x0, *timesteps; /* [B, d] x 2, [d] x 2, [B] */
    int64_t *label; /* [B] */
};

int pretrain_check(const struct model *m, const struct dataset *d,
                   const struct pretrain_options *o)
{
    int64_t dim[3];
    model_sample_shape(m, dim);
    if (dim[0] != d->channels || dim[1] != d->height || dim[2] != d->width)
        return err_set(ERR_USAGE,
                       "pretrain.data holds samples of %lld x %lld x %lld, the network "
                       "takes %lld x %lld x %lld (channels x height x width)",
                       (long long)d->channels, (long long)d->height, (long long)d->width,
                       (long long)dim[0], (long long)dim[1], (long long)dim[2]);
    if (model_classes(m) > 0 && d->label == NULL)
        return err_set(ERR_USAGE, "pretrain.data has no labels, the network needs them");
    if (model_classes(m) > 0 && d->classes > model_classes(m))
        return err_set(ERR_USAGE, "pretrain.data has %lld classes, the network %lld",
                       (long long)d->classes, (long long)model_classes(m));
    if (o->label_dropout > 0 && model_null_label(m) < 0)
        return err_set(ERR_USAGE,
                       "pretrain.label_dropout: the network knows no \"no class\"; set "
                       "null_class in its config.json, or 0");
    return d->n > 0 ? 0 : err_set(ERR_USAGE, "pretrain.data: no sample is left");
}

/* Which rows this step takes. */
static void choose(struct batch *b)
{
    int64_t n = b->d->n, first = (b->step - 1) * b->o->batch, epoch = -1;
    int64_t *perm = mem_alloc(n, sizeof *perm);
    for (int64_t i = 0; i < b->o->batch; i++) {
        int64_t g = first + i;
        if (g / n != epoch) {
            epoch = g / n;
            rng_permutation(rng_key(b->t->seed, RNG_DATA, 0, epoch, 0, 0), perm, n);
        }
        b->item[i] = perm[g % n];
    }
    mem_free(perm);
}

static void copy_item(const struct batch *b, int64_t i)
{
    const struct task *t = b->t;
    const float *from = b->d->sample + b->item[i] * t->d;
    uint64_t coin = rng_u64(rng_key(t->seed, RNG_DATA, 1, b->step, i, 0), 0);
    if (!b->o->flip || (coin & 1) == 0) {
        memcpy(b->x0, from, (size_t)t->d * sizeof *b->x0);
        return;
    }
    for (int64_t row = 0; row < t->channels * t->height; row++)
        for (int64_t k = 0; k < t->width; k++)
            b->x0[row * t->width + k] = from[row * t->width + t->width - 1 - k];
}

/* Noised input and target of item i in slot k of the micro-batch. */
static void fill(struct batch *b, int64_t i, int64_t k)
{
    struct task *t = b->t;
    int64_t time = rng_below(rng_key(t->seed, RNG_FORWARD, b->step, i, 0, 0), 0,
                             t->schedule.train_steps);
    copy_item(b, i);
    rng_normal(rng_key(t->seed, RNG_FORWARD, b->step, i, 1, 0), b->eps, t->d);
    schedule_add_noise(&t->schedule, time, b->x0, b->eps, b->x + k * t->d,
                       b->target + k * t->d, t->d);
    b->timesteps[k] = (float)time;
    b->label[k] = b->d->label == NULL ? 0 : b->d->label[b->item[i]];
    if (b->o->label_dropout > 0 &&
        rng_uniform(rng_key(t->seed, RNG_DATA, 2, b->step, i, 0), 0) < b->o->label_dropout)
        b->label[k] = model_null_label(t->model);
}

static int leaf_gradient(void *ctx, int64_t leaf)
{
    struct batch *b = ctx;
    struct task *t = b->t;
    int64_t size = t->micro_batch, from = leaf * size;
    int64_t m = b->o->batch - from < size ? b->o->batch - from : size;
    double norm = 1.0 / ((double)b->o->batch * (double)t->d);
    if (task_progress(t, "pretrain step %lld micro-batch %lld", (long long)b->step,
                      (long long)leaf) != 0)
        return -1;
    for (int64_t k = 0; k < m; k++)
        fill(b, from + k, k);
    struct model_input in = {.batch = m,
                             .height = t->height,
                             .width = t->width,
                             .x = b->x,
                             .timesteps = b->timesteps,
                             .labels = model_classes(t->model) > 0 ? b->label : NULL};
    tape_begin(t->tape, true);
    struct tensor *out = model_forward(t->model, t->tape, &in, NULL);
    if (out == NULL)
        return -1;
    const float *predicted = out->data;
    float *seed = b->target; /* overwritten in place: target -> d loss / d output */
    for (int64_t k = 0; k < m; k++) {
        double sum = 0;
        for (int64_t j = k * t->d; j < (k + 1) * t->d; j++) {
            double e = (double)predicted[j] - (double)b->target[j];
            sum += e * e;
            seed[j] = (float)(2 * e * norm);
        }
        b->loss[from + k] = sum * norm;
    }
    return tape_backward(t->tape, out, seed);
}

static double learning_rate(const struct pretrain_options *o, int64_t step)
{
    double warm = o->warmup > 0 ? fmin(1, (double)step / (double)o->warmup) : 1;
    double part = fmin(1, (double)(step - 1) / (double)o->steps);
    return o->trainer.adamw.lr * warm * 0.5 * (1 + cos(M_PI * part));
}

/* Mean loss over the batch, summed in item order on every rank. Collective. */
static int gather_loss(struct batch *b, const struct comm *c, int64_t first,
                       int64_t number, double *loss)
{
    int64_t size = b->t->micro_batch, *rows = mem_alloc(c->size, sizeof *rows);
    rows[c->rank] = number;
    int rc = comm_sum_i64(c, rows, c->size);
    if (rc == 0)
        rc = comm_gather_all(c, b->loss + first * size, rows,
                             (size_t)size * sizeof *b->loss, b->loss);
    *loss = 0;
    for (int64_t i = 0; i < b->o->batch; i++)
        *loss += b->loss[i];
    mem_free(rows);
    return rc;
}

int pretrain_step(struct task *t, const struct comm *c, const struct dataset *d,
                  const struct pretrain_options *o, int64_t step, double *loss,
                  double *norm)
{
    int64_t size = t->micro_batch, leaves = (o->batch + size - 1) / size, first, number;
    struct batch b = {.t = t, .d = d, .o = o, .step = step};
    struct trainer_options to = o->trainer;
    b.item = mem_alloc(o->batch, sizeof *b.item);
    b.loss = mem_alloc(leaves * size, sizeof *b.loss);
    b.x = mem_alloc(size * t->d, sizeof *b.x);
    b.target = mem_alloc(size * t->d, sizeof *b.target);
    b.eps = mem_alloc(t->d, sizeof *b.eps);
    b.x0 = mem_alloc(t->d, sizeof *b.x0);
    b.timesteps = mem_alloc(size, sizeof *b.timesteps);
    b.label = mem_alloc(size, sizeof *b.label);
    choose(&b);
    to.adamw.lr = learning_rate(o, step);
    to.ema_decay = optim_ema_decay(o->ema_decay, step, 1);
    trainer_plan(t->trainer, leaves, &first, &number);
    int rc = trainer_step(t->trainer, &to, step, leaf_gradient, &b, norm);
    if (rc == 0)
        rc = gather_loss(&b, c, first, number, loss);
    void *const all[] = {b.item, b.loss, b.x, b.target, b.eps, b.x0, b.timesteps, b.label};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    return rc;
}
