/* Classifier training. Item b of step s is element ((s - 1) * batch + b) of an endless
 * sequence of permutations of the training part; its damage and noise are keyed by (s, b),
 * those of held-out items by their row. */
#include "stages/classify.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/classifier/corrupt.h"

#include <math.h>
#include <string.h>

/* A step on more passes over the data than these teaches nothing more; small batches are
 * always taken. */
enum { PASSES_MOST = 16, BATCH_SMALL = 64 };
enum { KEY_SPLIT = 1, KEY_ORDER, KEY_DAMAGE, KEY_NOISE, KEY_HELD };

struct classify {
    const struct comm *c;
    struct classifier *net;
    struct tape *tape;
    const struct dataset *d;
    struct classify_options o;
    struct trainer *trainer;
    int64_t dim[3], each, logits;   /* shape and size of a sample */
    int64_t *row;                   /* [n] the held-out rows, then the others */
    int64_t held, copies;           /* held-out rows; items made of each */
    int64_t step, *item, *label;    /* [batch] rows, [B] joint labels */
    double *loss;                   /* [leaves * B] */
    float *x, *noise, *seed;        /* [B, each], [each], [B, logits] */
    float *held_logit;              /* [held * copies, logits] */
    int64_t *held_label, *part;     /* [held * copies], [heads, held * copies] */
    int64_t *count;                 /* [ranks] */
};

static int check(const struct classifier *net, const struct dataset *d,
                 const struct classify_options *o)
{
    if (d->n < 2)
        return err_set(ERR_USAGE, "classifier.data: %lld samples are too few",
                       (long long)d->n);
    if (o->batch > BATCH_SMALL && o->batch / PASSES_MOST > d->n)
        return err_set(ERR_USAGE,
                       "classifier.batch: %lld samples per step are more than %d passes over "
                       "the %lld that there are: lower it",
                       (long long)o->batch, PASSES_MOST, (long long)d->n);
    if (o->corrupt)
        return 0;
    if (d->factors != classifier_heads(net))
        return err_set(ERR_USAGE,
                       "classifier.labels: the data have %d labels, the network %d heads",
                       d->factors, classifier_heads(net));
    for (int h = 0; h < d->factors; h++)
        if (d->factor[h] != classifier_classes(net, h))
            return err_set(ERR_USAGE,
                           "classifier.labels: label %d has %lld classes, the head %lld",
                           h + 1, (long long)d->factor[h],
                           (long long)classifier_classes(net, h));
    return 0;
}

struct classify *classify_create(const struct comm *c, struct classifier *net,
                                 struct tape *t, const struct dataset *d,
                                 const struct classify_options *o, double held_out)
{
    if (check(net, d, o) != 0)
        return NULL;
    struct classify *k = mem_alloc(1, sizeof *k);
    *k = (struct classify){.c = c, .net = net, .tape = t, .d = d, .o = *o};
    const int64_t b = o->micro_batch, leaves = (o->batch + b - 1) / b;
    classifier_shape(net, k->dim);
    k->each = k->dim[0] * k->dim[1] * k->dim[2];
    k->logits = classifier_logits(net);
    k->held = (int64_t)ceil(held_out * (double)d->n);
    k->held = k->held < d->n ? k->held : d->n - 1;
    k->copies = o->corrupt ? 2 : 1;
    k->row = mem_alloc(d->n, sizeof *k->row);
    rng_permutation(rng_key(o->seed, RNG_CLASSIFIER, KEY_SPLIT, 0, 0, 0), k->row, d->n);
    k->item = mem_alloc(o->batch, sizeof *k->item);
    k->label = mem_alloc(b, sizeof *k->label);
    k->loss = mem_alloc(leaves * b, sizeof *k->loss);
    k->x = mem_alloc(b * k->each, sizeof *k->x);
    k->noise = mem_alloc(k->each, sizeof *k->noise);
    k->seed = mem_alloc(b * k->logits, sizeof *k->seed);
    const int64_t items = k->held * k->copies, whole = (items + b - 1) / b * b;
    k->held_logit = mem_alloc(whole * k->logits, sizeof *k->held_logit);
    k->held_label = mem_alloc(items, sizeof *k->held_label);
    k->part = mem_alloc(items * classifier_heads(net), sizeof *k->part);
    k->count = mem_alloc(c->size, sizeof *k->count);
    k->trainer = trainer_create(c, classifier_params(net), false);
    return k;
}

void classify_destroy(struct classify *k)
{
    if (k == NULL)
        return;
    void *const all[] = {k->row,  k->item,       k->label,      k->loss, k->x,    k->noise,
                         k->seed, k->held_logit, k->held_label, k->part, k->count};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    trainer_destroy(k->trainer);
    mem_free(k);
}

int64_t classify_held(const struct classify *k)
{
    return k->held;
}

/* Which rows this step takes. */
static void choose(struct classify *k)
{
    int64_t n = k->d->n - k->held, first = (k->step - 1) * k->o.batch, epoch = -1;
    int64_t *perm = mem_alloc(n, sizeof *perm);
    for (int64_t i = 0; i < k->o.batch; i++) {
        int64_t g = first + i;
        if (g / n != epoch) {
            epoch = g / n;
            rng_permutation(rng_key(k->o.seed, RNG_CLASSIFIER, KEY_ORDER, epoch, 0, 0),
                            perm, n);
        }
        k->item[i] = k->row[k->held + perm[g % n]];
    }
    mem_free(perm);
}

static const float *sample(const struct classify *k, int64_t row)
{
    return k->d->sample + row * k->each;
}

/* Item i of the step in slot b of the micro-batch. */
static void fill(struct classify *k, int64_t i, int64_t b)
{
    const float *from = sample(k, k->item[i]);
    float *x = k->x + b * k->each;
    uint64_t key = rng_key(k->o.seed, RNG_CLASSIFIER, KEY_DAMAGE, k->step, i, 0);
    k->label[b] = k->o.corrupt ? (int64_t)(rng_u64(key, 0) >> 63) : k->d->label[k->item[i]];
    if (k->o.corrupt && k->label[b] == 1)
        corrupt_sample(k->dim, rng_mix64(key), from, x);
    else
        memcpy(x, from, (size_t)k->each * sizeof *x);
    if (k->o.noise == 0)
        return;
    rng_normal(rng_key(k->o.seed, RNG_CLASSIFIER, KEY_NOISE, k->step, i, 0), k->noise,
               k->each);
    for (int64_t j = 0; j < k->each; j++)
        x[j] += (float)k->o.noise * k->noise[j];
}

/* Minus the log-probability of a joint label at temperature 1, the sum over heads; seed
 * receives scale times its slope with respect to the logits. */
static double item_loss(struct classify *k, const float *logit, int64_t label, double scale,
                        float *seed)
{
    double loss = 0;
    for (int h = 0, at = 0; h < classifier_heads(k->net); h++) {
        int64_t n = classifier_classes(k->net, h);
        loss -= classifier_log_prob(logit + at, n, 1, classifier_part(k->net, label, h),
                                    -scale, seed + at);
        at += (int)n;
    }
    return loss;
}

static int leaf_gradient(void *ctx, int64_t leaf)
{
    struct classify *k = ctx;
    int64_t size = k->o.micro_batch, from = leaf * size;
    int64_t m = k->o.batch - from < size ? k->o.batch - from : size;
    const double weight = 1.0 / (double)k->o.batch;
    for (int64_t b = 0; b < m; b++)
        fill(k, from + b, b);
    tape_begin(k->tape, true);
    struct tensor *out = classifier_forward(k->net, k->tape, m, k->x, NULL);
    for (int64_t b = 0; b < m; b++)
        k->loss[from + b] =
            weight * item_loss(k, out->data + b * k->logits, k->label[b], weight,
                               k->seed + b * k->logits);
    return tape_backward(k->tape, out, k->seed);
}

/* Everyone's parts of `all`, `number` micro-batches of item bytes from micro-batch `first`
 * on by this rank. Collective. */
static int gather(struct classify *k, void *all, int64_t first, int64_t number, size_t item)
{
    for (int r = 0; r < k->c->size; r++)
        k->count[r] = 0;
    k->count[k->c->rank] = number;
    if (comm_sum_i64(k->c, k->count, k->c->size) != 0)
        return -1;
    return comm_gather_all(k->c, (char *)all + (size_t)first * item, k->count, item, all);
}

int classify_step(struct classify *k, int64_t step, double *loss, double *norm)
{
    const int64_t size = k->o.micro_batch, leaves = (k->o.batch + size - 1) / size;
    struct trainer_options to = {.adamw = k->o.adamw, .max_grad_norm = 1};
    int64_t first, number;
    k->step = step;
    choose(k);
    to.adamw.lr *= 0.5 * (1 + cos(M_PI * (double)(step - 1) / (double)k->o.steps));
    trainer_plan(k->trainer, leaves, &first, &number);
    if (trainer_step(k->trainer, &to, step, leaf_gradient, k, norm) != 0 ||
        gather(k, k->loss, first, number, (size_t)size * sizeof *k->loss) != 0)
        return -1;
    *loss = 0;
    for (int64_t i = 0; i < k->o.batch; i++)
        *loss += k->loss[i];
    return 0;
}

/* Logits of the held-out items of micro-batch `leaf`. */
static void held_leaf(struct classify *k, int64_t leaf, int64_t items)
{
    int64_t size = k->o.micro_batch, from = leaf * size;
    int64_t m = items - from < size ? items - from : size;
    for (int64_t b = 0; b < m; b++) {
        int64_t row = k->row[(from + b) / k->copies];
        float *x = k->x + b * k->each;
        if (k->o.corrupt && (from + b) % 2 == 1)
            corrupt_sample(k->dim,
                           rng_key(k->o.seed, RNG_CLASSIFIER, KEY_HELD, row, 0, 0),
                           sample(k, row), x);
        else
            memcpy(x, sample(k, row), (size_t)k->each * sizeof *x);
    }
    tape_begin(k->tape, false);
    const struct tensor *out = classifier_forward(k->net, k->tape, m, k->x, NULL);
    memcpy(k->held_logit + from * k->logits, out->data,
           (size_t)(m * k->logits) * sizeof *out->data);
}

int classify_evaluate(struct classify *k, struct calibrate_set *set)
{
    const int64_t items = k->held * k->copies, size = k->o.micro_batch;
    const int64_t leaves = (items + size - 1) / size, ranks = k->c->size;
    const int64_t first = leaves * k->c->rank / ranks;
    const int64_t last = leaves * (k->c->rank + 1) / ranks;
    for (int64_t leaf = first; leaf < last; leaf++)
        held_leaf(k, leaf, items);
    if (gather(k, k->held_logit, first, last - first,
               (size_t)(size * k->logits) * sizeof *k->held_logit) != 0)
        return -1;
    for (int64_t i = 0; i < items; i++)
        k->held_label[i] = k->o.corrupt ? i % 2 : k->d->label[k->row[i]];
    for (int h = 0, at = 0; h < classifier_heads(k->net); h++) {
        int64_t *part = k->part + h * items, n = classifier_classes(k->net, h);
        for (int64_t i = 0; i < items; i++)
            part[i] = classifier_part(k->net, k->held_label[i], h);
        set[h] = (struct calibrate_set){.n = items,
                                        .k = n,
                                        .stride = k->logits,
                                        .logit = k->held_logit + at,
                                        .label = part};
        at += (int)n;
    }
    return 0;
}
