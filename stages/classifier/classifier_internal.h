/* Inside of a classifier, for stages/classifier/ only. */
#ifndef SLUICE_STAGES_CLASSIFIER_CLASSIFIER_INTERNAL_H
#define SLUICE_STAGES_CLASSIFIER_CLASSIFIER_INTERNAL_H

#include "stages/classifier/classifier.h"
#include "stages/model/dense.h"

enum { CLASSIFIER_LAYERS = 32, CLASSIFIER_VALUES = 1 << 20 };

struct conv {
    int64_t weight, bias, gamma, beta; /* parameters; gamma and beta of the norm behind */
};

struct classifier {
    bool convolutional;
    int64_t channels, size[2], hidden, layers;
    int heads;
    int64_t classes[CLASSIFIER_HEADS];
    double temperature[CLASSIFIER_HEADS];
    struct coding coding;
    struct param_set *params;
    struct dense in, layer[CLASSIFIER_LAYERS], out;
    struct conv level[8][2];
};

/* Sizes and classes make sense, or -1 with ERR_INPUT. */
int classifier_check(const struct classifier *c, const char *path);
/* Makes c->params, not allocated. */
void classifier_declare(struct classifier *c);

#endif
