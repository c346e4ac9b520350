/* A forward pass unrecorded, one recorded, then backward passes: the difference in
 * memory between them tells what grows with the batch and what does not. */
#include "pipeline/probe.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/backend.h"
#include "stages/nn/tape.h"

#include <time.h>

#define PROBE_FLOPS 4e8 /* of the forward pass that is aimed at */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One turn on a tape: forward and, where wanted, backward. */
static int turn(const struct probe *p, struct model *m, struct tape *tape, bool record,
                bool backward)
{
    float when = 1, *seed = NULL;
    int64_t label = 0, dim[3];
    model_sample_shape(m, dim);
    float *x = mem_alloc(dim[0] * p->height * p->width, sizeof *x);
    struct model_input in = {.batch = 1,
                             .height = p->height,
                             .width = p->width,
                             .x = x,
                             .timesteps = &when,
                             .labels = model_classes(m) > 0 ? &label : NULL};
    tape_begin(tape, record);
    struct tensor *y = model_forward(m, tape, &in, NULL);
    int rc = y == NULL ? -1 : 0;
    if (rc == 0 && backward) {
        seed = mem_alloc(tensor_count(y), sizeof *seed);
        rc = tape_backward(tape, y, seed);
    }
    mem_free(seed);
    mem_free(x);
    return rc;
}

/* Fills p for the size in it, which is 1/area of a full sample. */
static int try_size(struct probe *p, struct model *m, const struct backend *b,
                    int64_t area)
{
    struct tape *plain = tape_create(b), *record = tape_create(b);
    int rc = turn(p, m, plain, false, false);
    p->forward = (double)(tape_bytes(plain) * area);
    if (rc == 0)
        rc = turn(p, m, record, true, false);
    int64_t recorded = tape_bytes(record);
    p->recorded = (double)(recorded * area);
    if (rc == 0) /* prepares the kernels of the backward pass */
        rc = turn(p, m, record, true, true);
    p->scratch = (double)(tape_bytes(record) - recorded);
    double start = now();
    if (rc == 0)
        rc = turn(p, m, record, true, true);
    p->rate = 3 * model_flops(m) / (double)area / (now() - start);
    tape_destroy(record);
    tape_destroy(plain);
    return rc;
}

void probe_model(struct probe *p, struct model *m, const char *backend)
{
    const struct backend *b = backend_get(backend, 1);
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
    for (; b != NULL && area >= 1 && flops / (double)area < 8 * PROBE_FLOPS;
         area /= 4) {
        *p = (struct probe){.height = dim[1], .width = dim[2]};
        if (try_size(p, m, b, area) == 0)
            return;
        dim[1] *= 2;
        dim[2] *= 2;
    }
    *p = (struct probe){0};
    err_clear();
}
