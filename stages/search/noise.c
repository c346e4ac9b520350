/* Every sample is a problem of its own, so its result depends on no other sample. The
 * best point that was evaluated is kept; a sample without a score stays as it is. */
#include "stages/search/noise.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/search/flight.h"

static int draw_one(struct flight *f, const struct search_options *o, struct draw *w,
                    int64_t i)
{
    const struct minimise_options mo = {.method = o->method,
                                        .iterations = o->iterations,
                                        .gradient_tolerance = o->tolerance};
    const struct flight_best *best = flight_best(f);
    int64_t n = flight_aim(f, i);
    double *u = mem_alloc(n, sizeof *u);
    int rc = minimise_run(&mo, n, u, flight_cost, f, NULL);
    mem_free(u);
    if (rc != 0 && !best->lost)
        return -1;
    err_clear();
    w->plain[i] = best->plain;
    return flight_land(f, w, best->u);
}

static int draw(struct chain *c, const struct search_options *o, struct draw *w)
{
    struct flight *f = flight_create(c, o, w);
    int rc = 0;
    for (int64_t i = 0; i < w->n && rc == 0; i++)
        rc = draw_one(f, o, w, i);
    flight_destroy(f);
    return rc;
}

const struct search search_noise = {
    .name = "noise",
    .help = "trajectory optimisation: the noise of the chain is moved to raise "
            "search.weight reward - |move|^2 / 2 (TAO; needs the reward's gradient)",
    .needs = SEARCH_SCORES | SEARCH_GRADIENT | SEARCH_NOISE,
    .draw = draw,
};
