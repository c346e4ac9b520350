/* Training of classifiers by softmax cross-entropy on offline data, data-parallel and with
 * bits that do not depend on the number of ranks. */
#ifndef SLUICE_STAGES_CLASSIFY_H
#define SLUICE_STAGES_CLASSIFY_H

#include "io/dataset.h"
#include "stages/classifier/calibrate.h"
#include "stages/classifier/classifier.h"
#include "stages/trainer.h"

struct classify_options {
    int64_t batch, micro_batch; /* samples per optimizer step, and per evaluation */
    int64_t steps;              /* total; the rate falls to 0 along a cosine over them */
    struct adamw adamw;
    double noise;  /* standard deviation added to training samples */
    bool corrupt;  /* labels are 1 for damaged copies, made on the fly; else the data's */
    uint64_t seed;
};

/* One training. Data, network, tape (float32) and comm are borrowed. */
struct classify;

/* Sets a fraction of the samples apart, at least one and not all. ERR_USAGE: the data have
 * no labels, not those of the network's heads, or too few samples, for the batch too.
 * Collective on c. */
struct classify *classify_create(const struct comm *c, struct classifier *net,
                                 struct tape *t, const struct dataset *d,
                                 const struct classify_options *o, double held_out);
void classify_destroy(struct classify *k);
int64_t classify_held(const struct classify *k); /* samples set apart */

/* Optimizer step number `step` (from 1); *loss and *norm receive its mean loss over items
 * (nat, sum over heads) and gradient norm. Collective. */
int classify_step(struct classify *k, int64_t step, double *loss, double *norm);

/* Evaluates the held-out samples (of a corruption detector: each as it is and damaged).
 * set[heads] receives them by head; what it points to stays valid until the next call.
 * Collective. */
int classify_evaluate(struct classify *k, struct calibrate_set *set);

#endif
