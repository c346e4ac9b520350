/* Parameters of a network: one flat vector of values and one of gradients, cut into
 * named tensors in the layout of the checkpoint file (OIHW convolutions, [out, in]
 * matrices). Back ends keep packed copies per parameter; they are valid while the set's
 * version is unchanged. */
#ifndef SLUICE_STAGES_NN_PARAM_H
#define SLUICE_STAGES_NN_PARAM_H

#include "stages/nn/tensor.h"

struct param_set;
struct packed;

/* One parameter; name as in the checkpoint file. t.data and t.grad point into the flat
 * vectors. */
struct param {
    char *name;
    struct tensor t;
    int64_t offset; /* of its first value in the flat vectors */
    struct param_set *set; /* for the stamp */
    struct packed *packed; /* kernels' (nn/kernels.h), NULL for none */
};

/* Declare all parameters first, then allocate once. */
struct param_set *param_create(void);
void param_destroy(struct param_set *s);
/* Returns the parameter's index; shape as in the file. */
int64_t param_declare(struct param_set *s, const char *name, int nd, const int64_t *dim);
/* Allocates values (zero) and, where wanted, gradients. */
void param_allocate(struct param_set *s, int with_grad);

struct param *param_at(struct param_set *s, int64_t index);
struct param *param_find(struct param_set *s, const char *name); /* NULL when absent */
int64_t param_number(const struct param_set *s);                 /* of tensors */
int64_t param_total(const struct param_set *s);                  /* of values */
float *param_values(struct param_set *s); /* [param_total], in declaration order */
float *param_grads(struct param_set *s);  /* same; NULL without gradients */
/* Must be called after every change of values: packed copies are stale from then on. */
void param_touch(struct param_set *s);
uint64_t param_stamp(const struct param_set *s); /* changes with every touch */

#endif
