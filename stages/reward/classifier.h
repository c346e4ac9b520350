/* The log-probability of a label by a trained classifier (CTRL). */
#ifndef SLUICE_STAGES_REWARD_CLASSIFIER_H
#define SLUICE_STAGES_REWARD_CLASSIFIER_H

#include "stages/reward/reward.h"

/* reward.classifier (a folder), reward.target_class, reward.label_weights: the sum over
 * heads of weight * log softmax(logits / temperature)[y], y the sample's own label or the
 * target; nat. A sample's label counts modulo the classifier's joint labels: that is the new
 * label of a grafted network. */
extern const struct reward reward_classifier;

/* The same keys; 1 where the label is the most probable one of every head, else 0. */
extern const struct reward classifier_hard;

#endif
