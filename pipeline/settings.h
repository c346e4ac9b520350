/* From a configuration to a task: everything that the stages need, checked. */
#ifndef SLUICE_PIPELINE_SETTINGS_H
#define SLUICE_PIPELINE_SETTINGS_H

#include "io/config.h"
#include "scheduler/layout.h"
#include "stages/task.h"

/* Fills the parts of *t that come from the configuration alone (not the network). dir is
 * borrowed from c. ERR_USAGE names the key. */
int settings_read(struct task *t, const struct config *c);

/* Iterations until the run is finished: run.iterations, or as many as reward.budget has
 * samples for. */
int64_t settings_iterations(const struct config *c);

/* Opens the network of policy `version` in t->dir, the sampler over its scheduler, the
 * tape and the reward, and checks that they fit together. with_grad: for update ranks.
 * ERR_INPUT, ERR_USAGE. */
int settings_open_network(struct task *t, const struct config *c, int64_t version,
                          bool with_grad);

/* Writes policy 0 from the model folder model.path: weights, zero moments. Nothing is
 * written when network, sampler, method and reward do not fit together. *t is as
 * settings_read left it. */
int settings_first_policy(const struct task *t, const struct config *c);

/* The schedule's sampler with the overrides of section `sampler`. */
int settings_sampler(struct sampler *s, const struct schedule *schedule,
                     const struct config *c);

/* Whether a run of this configuration would begin, run.dir apart: the errors of the two
 * above, of model.path only where it is set. */
int settings_check(const struct config *c);

/* Which of so many ranks do what, by section `groups`. ERR_ENV as layout_make. */
int settings_layout(struct layout *l, const struct config *c, int world);

void settings_close(struct task *t);

#endif
