/* What networks of tokens and vectors are told beside x: the time and, where they have
 * classes, one label, as a vector that adaptive layer norms read (Peebles & Xie 2023).
 *
 * Keys of config.json: num_label_embeds (see label.h), num_class_embeds (0 or null: none) and
 * null_class; with
 * null_class the table has one more row, and label num_class_embeds means "no class", as
 * classifier-free guidance needs it. */
#ifndef SLUICE_STAGES_MODEL_CONDITION_H
#define SLUICE_STAGES_MODEL_CONDITION_H

#include "stages/model/dense.h"
#include "stages/model/kind.h"
#include "stages/model/label.h"

struct condition {
    int64_t width; /* of the vector, even */
    int64_t classes;
    bool null_class;
    struct dense time1, time2;
    int64_t table; /* [classes + null_class, width]; -1: no classes */
    struct label label; /* number: from the config; the rest by condition_declare */
};

/* -1: ERR_INPUT, an odd width or a null class without classes. */
int condition_check(const struct condition *c, const char *path);
/* time_embedding.linear_1, .linear_2, class_embedding.weight; and, after all else of the
 * network, label_embedding.weight. */
void condition_declare(struct condition *c, struct param_set *s);
void condition_declare_labels(struct condition *c, struct param_set *s);

/* Times are finite, and labels given where there are classes, each below `labels`, or -1
 * with ERR_INPUT. For every network. */
int condition_check_values(const struct model_input *in, int64_t classes, int64_t labels);

/* The input has this shape, finite times and known labels, or -1 with ERR_INPUT. */
int condition_check_input(const struct condition *c, const struct model_input *in,
                          const int64_t shape[3]);

/* silu(time2(silu(time1(sinusoids of t))) + table[class] + table of new labels[label])
 * -> [N, width], float32. */
struct tensor *condition_run(const struct condition *c, struct param_set *s,
                             struct tape *t, const struct model_input *in);

/* Numbers that model_kind asks for. */
int64_t condition_classes(const struct condition *c);
int64_t condition_null_label(const struct condition *c); /* -1: none */
double condition_macs(const struct condition *c);        /* per item */

/* How parameters of networks with adaptive layer norm start: modulations and the output
 * at zero, so that every block is the identity and the output 0; tables small. */
enum model_start condition_start(const char *name);

/* in->x as a tensor [N, C, H, W] of the tape. */
struct tensor *condition_given(struct tape *t, const struct model_input *in,
                               int64_t channels);

#endif
