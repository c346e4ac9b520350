/* Turns of one item: with gradient checkpointing, forward only, and as it is trained.
 */
#include "pipeline/probe.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#define PROBE_FLOPS 4e8 /* of the forward pass that is aimed at */

/* One turn of `batch` items on a tape: forward and, where recorded, backward. */
static int turn(const struct probe *p, int64_t batch, struct model *m, struct tape *tape,
                bool record)
{
    float *seed = NULL;
    int64_t dim[3];
    model_sample_shape(m, dim);
    float *x = mem_alloc(batch * dim[0] * p->height * p->width, sizeof *x);
    float *when = mem_alloc(batch, sizeof *when);
    int64_t *label = mem_alloc(batch, sizeof *label);
    for (int64_t i = 0; i < batch; i++)
        when[i] = 1;
    struct model_input in = {.batch = batch,
                             .height = p->height,
                             .width = p->width,
                             .x = x,
                             .timesteps = when,
                             .labels = model_classes(m) > 0 ? label : NULL};
    tape_begin(tape, record);
    struct tensor *y = model_forward(m, tape, &in, NULL);
    int rc = y == NULL ? -1 : 0;
    if (rc == 0 && record) {
        seed = mem_alloc(tensor_count(y), sizeof *seed);
        rc = tape_backward(tape, y, seed);
    }
    mem_free(seed);
    mem_free(when);
    mem_free(label);
    mem_free(x);
    return rc;
}

/* Bytes of the tensors of one turn, backward where `record`. */
static int need(const struct probe *p, struct model *m, struct compute o, bool record,
                double *bytes, double *scratch)
{
    struct tape *t = compute_open(&o, NULL);
    int rc = t == NULL ? -1 : turn(p, 1, m, t, record);
    if (rc == 0) {
        *bytes = (double)tape_bytes(t) - (double)tape_scratch_bytes(t);
        *scratch = (double)tape_scratch_bytes(t);
    }
    tape_destroy(t);
    return rc;
}

/* Fills p for the size in it, which is 1/area of a full sample. */
static int try_size(struct probe *p, struct model *m, struct compute o, double area)
{
    double start = 0;
    o.threads = 1;
    o.gradient_checkpointing = true;
    int rc = need(p, m, o, true, &p->checkpointed, &p->scratch);
    o.gradient_checkpointing = false;
    if (rc == 0)
        rc = need(p, m, o, false, &p->forward, &p->scratch);
    start = clock_s(); /* kernels of both passes are made by now */
    if (rc == 0)
        rc = need(p, m, o, true, &p->trained, &p->scratch);
    p->rate = 3 * model_flops(m) / area / (clock_s() - start);
    p->forward *= area;
    p->trained *= area;
    p->checkpointed *= area;
    return rc;
}

void probe_model(struct probe *p, struct model *m, struct compute o)
{
    double flops = model_flops(m);
    int64_t dim[3], area = 1;
    *p = (struct probe){0};
    model_sample_shape(m, dim);
    while (flops / (double)area > PROBE_FLOPS && dim[1] % 2 == 0 && dim[2] % 2 == 0) {
        dim[1] /= 2;
        dim[2] /= 2;
        area *= 4;
    }
    /* A size that the network cannot halve is refused by it: the next larger one. */
    for (; area >= 1 && flops / (double)area < 8 * PROBE_FLOPS; area /= 4) {
        *p = (struct probe){.height = dim[1], .width = dim[2]};
        if (try_size(p, m, o, (double)area) == 0)
            return;
        dim[1] *= 2;
        dim[2] *= 2;
    }
    *p = (struct probe){0};
    err_clear();
}

int probe_micro_batch(struct model *m, struct compute o, int64_t batch, double *forward_s,
                      double *trained_s)
{
    int64_t dim[3];
    model_sample_shape(m, dim);
    const struct probe p = {.height = dim[1], .width = dim[2]};
    double *const out[] = {forward_s, trained_s};
    struct tape *t = compute_open(&o, NULL);
    int rc = t == NULL ? -1 : 0;
    for (int record = 0; record < 2; record++)
        for (int k = 0; k < 3 && rc == 0; k++) {
            double start = clock_s();
            rc = turn(&p, batch, m, t, record != 0);
            double s = clock_s() - start;
            if (k == 1 || (k > 1 && s < *out[record]))
                *out[record] = s;
        }
    tape_destroy(t);
    return rc;
}
