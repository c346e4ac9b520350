/* What a network costs: memory and speed, tried out on one sample. */
#ifndef SLUICE_PIPELINE_PROBE_H
#define SLUICE_PIPELINE_PROBE_H

#include "stages/model/model.h"

/* Plain data. All zero where nothing could be tried. */
struct probe {
    int64_t height, width; /* of the sample that was tried */
    double forward,
        recorded;   /* bytes per full sample: activations alone, with gradients */
    double scratch; /* bytes more while the backward pass runs */
    double rate;    /* floating-point operations per second of this core */
};

/* Evaluates one sample, forward and backward, on one thread. Networks of more than
 * about 1e9 operations are tried on a quarter, a sixteenth, ... of the area, so that
 * this takes well under a second; activations grow with the area. The model needs
 * gradients. */
void probe_model(struct probe *p, struct model *m, const char *backend);

#endif
