/* One sample's chain as a function of its noise: the numbers z = zbar + u that drive
 * it, zbar those of a plain rollout, u the controls, and
 *
 *     J(u) = -weight r(x_N(u)) + |u|^2 / 2
 *
 * with its gradient, back through the chain (SEARCH.md). With o->typical the penalty of
 * typical.h on z, as far as it has controls, stands in place of |u|^2 / 2. */
#ifndef SLUICE_STAGES_SEARCH_FLIGHT_H
#define SLUICE_STAGES_SEARCH_FLIGHT_H

#include "stages/search/search.h"

struct flight;

/* The lowest point that flight_cost met since flight_aim. */
struct flight_best {
    double *u;    /* [controls, d]; 0 where no point had a score */
    double value; /* infinite where no point had a score */
    double plain; /* reward of the first point; NaN where it has none */
    bool lost;    /* the last point had no score */
};

/* Borrows all; steps that draw noise have controls, and with o->start the start. */
struct flight *flight_create(struct chain *c, const struct search_options *o,
                             const struct draw *w);
void flight_destroy(struct flight *f);

/* Turns to sample i. Returns the number of controls, (live steps + start) * d. */
int64_t flight_aim(struct flight *f, int64_t i);

/* minimise_f of u[controls] in the order of the states they lead to; ctx is the flight.
 * A point without a score, or far above the best one, is replaced by a parabola around
 * that one, from which a line search turns back. The first point has none: ERR_NUMERIC,
 * and best->lost. */
int flight_cost(void *ctx, const double *u, double *value, double *gradient);
const struct flight_best *flight_best(const struct flight *f);

/* Keeps the chain of controls u in w: latents, log_prob, sample and cost. */
int flight_land(struct flight *f, struct draw *w, const double *u);

#endif
