/* Networks of other policy versions, evaluated on the inputs of the one that is trained:
 * the pretrained one (version 0) for a KL, the one that made the samples for methods that
 * compare with it. Weights only, no gradients. */
#ifndef SLUICE_STAGES_COMPANION_H
#define SLUICE_STAGES_COMPANION_H

#include "stages/task.h"

struct companion;

/* Brings `version` into *c, made on the first call: from t->model where that version is
 * loaded, else from the policy file. 0 or -1 (ERR_INPUT). */
int companion_load(struct companion **c, struct task *t, int64_t version);
/* The same from a policy file, RELATIVE to the run directory, whatever is loaded. */
int companion_load_file(struct companion **c, struct task *t, const char *relative,
                        int64_t version);
/* The running average of the policies up to `version`, from that policy file. */
int companion_load_average(struct companion **c, struct task *t, int64_t version);
/* c = decay c + (1 - decay) t->model, the average up to version. Every rank computes the
 * same bits. */
void companion_average(struct companion *c, struct task *t, double decay, int64_t version);
/* Its weights, as param_values. */
const float *companion_values(const struct companion *c);
void companion_destroy(struct companion *c);

/* One evaluation on t->tape, which must not be in use. *out [in->batch, d] stays valid
 * until the next one; NULL where c is NULL. 0 or -1 as model_forward. */
int companion_forward(struct companion *c, struct task *t, const struct model_input *in,
                      const float **out);

/* One evaluation and dx[in->batch, d] = J' seed, with J its Jacobian by x; *out as above
 * (c is not NULL), seed and dx [in->batch, d]. 0 or -1 as model_forward. */
int companion_pull(struct companion *c, struct task *t, const struct model_input *in,
                   const float *seed, const float **out, float *dx);

/* Its guidance from now on; companions begin with that of t->model. */
void companion_guide(struct companion *c, double weight);

/* The content digest of the policy file of its version. */
const char *companion_content(const struct companion *c);

#endif
