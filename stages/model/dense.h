/* A linear layer of a network: its two parameters, by index into the set. */
#ifndef SLUICE_STAGES_MODEL_DENSE_H
#define SLUICE_STAGES_MODEL_DENSE_H

#include "stages/nn/ops.h"

struct dense {
    int64_t weight, bias; /* [out, in], [out] */
};

/* Declares "NAME.weight" and "NAME.bias"; name by a format. */
struct dense dense_declare(struct param_set *s, int64_t in, int64_t out, const char *fmt,
                           ...) __attribute__((format(printf, 4, 5)));

/* x [.., in] -> [.., out]. */
struct tensor *dense_run(struct tape *t, struct param_set *s, struct dense d,
                         struct tensor *x);

#endif
