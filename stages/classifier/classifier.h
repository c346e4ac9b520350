/* Classifiers p(y | x) of samples: networks with one softmax per label, trained from offline
 * data (stages/classify.h) and used as rewards (CTRL, Zhao et al. 2024). Several labels are
 * taken for independent given x: log p(y1, y2 | x) = log p(y1 | x) + log p(y2 | x).
 *
 * A joint label numbers them with the last label running fastest: y = y1 * K2 + y2.
 *
 * Two networks, both on samples [C, H, W] as the policy's network takes them:
 *   MLPClassifier    the sample as one vector; residual layers x + linear(silu(x))
 *   ConvClassifier   pictures; per level a 3 x 3 convolution and one that halves, each with
 *                    group norm and silu, widths doubling; then all pixels into the heads
 * io/FORMAT.md has the folder. */
#ifndef SLUICE_STAGES_CLASSIFIER_CLASSIFIER_H
#define SLUICE_STAGES_CLASSIFIER_CLASSIFIER_H

#include "io/coding.h"
#include "stages/nn/ops.h"

enum { CLASSIFIER_HEADS = 8, CLASSIFIER_CLASSES = 4096 };

struct classifier;

/* What a new one is made for. */
struct classifier_design {
    bool convolutional;
    int64_t dim[3]; /* channels, height, width of a sample */
    int64_t hidden, layers;
    int heads;
    const int64_t *classes; /* [heads], 2 or more each */
    struct coding coding;
};

/* A new network with gradients, weights keyed by seed, temperatures 1. NULL: ERR_INPUT, a
 * design that makes no sense. */
struct classifier *classifier_new(const struct classifier_design *d, uint64_t seed);
/* From a folder; NULL: ERR_INPUT naming file and key (also weights that are not those that
 * config.json was written for). */
struct classifier *classifier_open(const char *folder, bool with_grad);
/* Writes the weights, then config.json with their digest: what opens is whole. ERR_IO. */
int classifier_save(struct classifier *c, const char *folder);
void classifier_destroy(struct classifier *c);

struct param_set *classifier_params(struct classifier *c);
void classifier_shape(const struct classifier *c, int64_t dim[3]);
const struct coding *classifier_coding(const struct classifier *c);
const char *classifier_kind(const struct classifier *c); /* "MLPClassifier" */

/* Its heads and their classes; the number of joint labels, and of logits. */
int classifier_heads(const struct classifier *c);
int64_t classifier_classes(const struct classifier *c, int head);
int64_t classifier_labels(const struct classifier *c);
int64_t classifier_logits(const struct classifier *c);
/* [heads] the temperatures: p = softmax(logits / temperature). May be written. */
double *classifier_temperature(struct classifier *c);
/* Head h's part of a joint label. */
int64_t classifier_part(const struct classifier *c, int64_t label, int head);

/* Logits [n, classifier_logits] of x [n, C, H, W] on the tape, the heads one after another;
 * *given (NULL: no gradient wanted) receives the input, whose grad is d/dx after
 * tape_backward. An item's result does not depend on the others. */
struct tensor *classifier_forward(struct classifier *c, struct tape *t, int64_t n,
                                  const float *x, struct tensor **given);

/* log softmax(logit[0..k) / temperature)[y]; slope (NULL-able) receives scale times its
 * derivatives with respect to the logits. */
double classifier_log_prob(const float *logit, int64_t k, double temperature, int64_t y,
                           double scale, float *slope);

#endif
