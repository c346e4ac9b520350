/* What a network costs: memory and speed, tried out on one sample. */
#ifndef SLUICE_PIPELINE_PROBE_H
#define SLUICE_PIPELINE_PROBE_H

#include "pipeline/compute.h"
#include "stages/model/model.h"

/* Plain data. All zero where nothing could be tried. */
struct probe {
    int64_t height, width; /* of the sample that was tried */
    /* bytes per full sample: of an evaluation, of one with its backward pass, of one with
     * its backward pass and gradient checkpointing */
    double forward, trained, checkpointed;
    double scratch; /* working memory of the kernels, whatever the batch */
    double rate;    /* floating-point operations per second of this core */
};

/* Evaluates one sample, forward and backward, on one thread. Networks of more than
 * about 1e9 operations are tried on a quarter, a sixteenth, ... of the area, so that
 * this takes well under a second; activations grow with the area. The model needs
 * gradients. */
void probe_model(struct probe *p, struct model *m, struct compute o);

/* Seconds of a micro-batch of full samples, evaluated, and evaluated with its backward
 * pass: the better of two turns after one that prepares the kernels. 0 or -1. */
int probe_micro_batch(struct model *m, struct compute o, int64_t batch, double *forward_s,
                      double *trained_s);

#endif
