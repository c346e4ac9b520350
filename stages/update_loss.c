/* Gradients of the leaves of an optimizer step: forward, loss, backward of a
 * micro-batch of pairs. */
#include "stages/update_internal.h"

#include "io/sys/err.h"
#include "stages/algo/surrogate.h"

/* The loss of pair k of a micro-batch that starts at pair `from`; its gradient. */
static int pair_loss(struct update *u, int64_t from, int64_t k, const float *predicted)
{
    struct task *t = u->t;
    struct algo_result r = {0};
    u->pair[k].o = predicted + k * t->d;
    int rc = t->algo->loss(&t->algo_options, &u->pair[k], &r, u->seed + k * t->d);
    if (rc == 0 && u->previous != NULL)
        rc = surrogate_add_previous(&t->algo_options, &u->pair[k], u->previous + k * t->d, &r,
                                    u->seed + k * t->d);
    double *s = u->stat + (from + k) * STATS;
    s[STAT_LOG_RATIO2] = r.approx_kl;
    s[STAT_RATIO] = r.ratio;
    s[STAT_CLIPPED] = r.clipped;
    s[STAT_LOSS] = r.loss;
    s[STAT_KL] = r.kl;
    s[STAT_KL_PREVIOUS] = r.kl_previous;
    return rc;
}

/* The loss of every pair [from, from + m). An error stays with the thread that met it,
 * so the first pair that fails is looked at again by this one. */
static int batch_loss(struct update *u, int64_t from, int64_t m, const float *predicted)
{
    int64_t failed = m;
#pragma omp parallel for schedule(static) reduction(min : failed)
    for (int64_t k = 0; k < m; k++)
        if (pair_loss(u, from, k, predicted) != 0) {
            err_clear();
            failed = k < failed ? k : failed;
        }
    return failed < m ? pair_loss(u, from, failed, predicted) : 0;
}

/* trainer_leaf_f: forward, loss and backward of one micro-batch. */
int update_loss_leaf(void *ctx, int64_t leaf)
{
    struct update *u = ctx;
    struct task *t = u->t;
    struct model_input in;
    int64_t from = leaf * t->micro_batch;
    int rc = update_pairs_batch(u, leaf, &in);
    int64_t m = in.batch;
    const float *reference = NULL, *behaviour = NULL;
    if (rc == 0)
        rc = companion_forward(u->reference, t, &in, &reference);
    if (rc == 0)
        rc = companion_forward(t->behaviour, t, &in, &behaviour);
    if (rc == 0)
        rc = companion_forward(t->previous, t, &in, &u->previous);
    double start = task_now(t);
    tape_begin(t->tape, true);
    struct tensor *out = rc == 0 ? model_forward(t->model, t->tape, &in, NULL) : NULL;
    if (out == NULL)
        rc = -1;
    task_spend(t, TIME_NETWORK, start);
    for (int64_t k = 0; k < m && rc == 0; k++) {
        u->pair[k].reference = reference != NULL ? reference + k * t->d : NULL;
        u->pair[k].behaviour = behaviour != NULL ? behaviour + k * t->d : NULL;
    }
    if (rc == 0 && u->ends != NULL)
        rc = update_ends_score(u, from, m, out->data);
    if (rc == 0 && u->natural != NULL)
        update_natural_keep(u, from, m, out->data);
    if (rc == 0)
        rc = batch_loss(u, from, m, out->data);
    start = task_now(t);
    if (rc == 0)
        rc = tape_backward(t->tape, out, u->seed);
    task_spend(t, TIME_NETWORK, start);
    return rc;
}
