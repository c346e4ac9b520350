/* New labels of a network that is already trained (CTRL, Zhao et al. 2024): an embedding
 * per label, zero at first, added to the time embedding. So p(x | c, y) starts as the
 * network's p(x | c), and training teaches it y.
 *
 * Key of config.json: num_label_embeds, K (0 or null: none). The label of a sample joins
 * the old class c and the new label y as c * K + y; c runs over the old classes and, where
 * the network has it, "no class" behind them; of an unconditional network only y is left.
 * The label behind the last means neither class nor label: it has no row in the table, so
 * its embedding is zero for ever. */
#ifndef SLUICE_STAGES_MODEL_LABEL_H
#define SLUICE_STAGES_MODEL_LABEL_H

#include "stages/model/kind.h"

/* The parameter of [K, width], declared last. */
#define LABEL_TABLE "label_embedding.weight"

struct label {
    int64_t number;   /* K */
    int64_t old;      /* old classes, without "no class"; 0: unconditional */
    bool old_null;    /* the network knew "no class" */
    int64_t table;    /* parameter */
};

/* Labels that the network takes, without "no class", and the number of that, -1: none. With
 * K = 0 the old ones. */
int64_t label_classes(const struct label *l);
int64_t label_null(const struct label *l);

/* Declares the table where there are new labels. */
void label_declare(struct label *l, struct param_set *s, int64_t width);

/* The old classes of labels[n], on the tape; labels itself without new ones. */
const int64_t *label_old(const struct label *l, struct tape *t, const int64_t *labels,
                         int64_t n);
/* e [N, width], float32, + the embeddings of the new labels; e itself without new ones. */
struct tensor *label_add(const struct label *l, struct param_set *s, struct tape *t,
                         const struct model_input *in, struct tensor *e);

#endif
