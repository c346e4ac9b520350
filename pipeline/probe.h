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

#endif
