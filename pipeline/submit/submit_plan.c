/* What `sluice plan` knows, for --mem and --time: estimates, so memory gets a margin
 * and a time limit is only spoken about. */
#include "pipeline/submit/submit.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/plan/plan_crowd.h"
#include "pipeline/plan/plan_memory.h"
#include "pipeline/plan/plan_model.h"
#include "pipeline/settings.h"

#include <math.h>
#include <stdio.h>

/* Estimates are within a tenth where they could be measured; buffers of MPI grow with
 * the number of ranks. */
static const double part_more = 0.25, rank_more = 128 << 20;

double submit_margin(double bytes, int64_t ranks)
{
    return bytes <= 0 ? 0 : bytes * (1 + part_more) + rank_more * (double)ranks;
}

/* Iterations that are left take so many seconds, by the accounts of those that are
 * there. */
static int time_left(const struct submit *s, const struct plan *p,
                     const struct layout *l, double *seconds)
{
    struct plan_rates r;
    struct simulate_options o;
    struct simulate_result result;
    if (plan_rates_read(&r, s->dir, p) != 0 || plan_crowd_remove(&r, p) != 0)
        return -1;
    plan_costs(&o, p, &r, l, 1);
    simulate_run(&o, &result);
    *seconds =
        result.iteration_s * (double)(settings_iterations(s->config) - r.iterations);
    return 0;
}

static void say_time(const struct submit *s, const struct plan *p,
                     const struct layout *l)
{
    double seconds = 0, each = (double)(s->time_s - s->signal_s);
    char *accounts = text_new("%s/accounting.json", s->dir);
    bool known = s->time_s > 0 && file_exists(accounts) &&
                 time_left(s, p, l, &seconds) == 0 && seconds > 0;
    mem_free(accounts);
    if (!known)
        return;
    double starts = ceil(seconds / each);
    fprintf(
        stderr,
        "sluice submit: by the iterations so far, the rest takes %.3g hours on these "
        "ranks: %.0f start(s) of the job%s\n",
        seconds / 3600, starts,
        starts > (double)s->requeue_max + 1 ? ", more than --requeue-max allows" : "");
}

void submit_plan(struct submit *s)
{
    struct plan p = {.c = s->config, .ranks = s->ranks > 0 ? s->ranks : GROUPS};
    struct plan_memory m;
    struct layout l;
    int64_t nodes = s->nodes > 0 ? s->nodes : 1;
    if (settings_layout(&l, s->config, (int)p.ranks) == 0 && plan_derive(&p) == 0 &&
        p.model != NULL) {
        plan_memory(&p, &l, nodes, &m);
        s->memory.rank = submit_margin(m.rank, 1);
        for (int g = 0; g < GROUPS; g++)
            s->memory.group[g] = submit_margin(m.group[g], 1);
        if (s->nodes > 0)
            s->memory.node = submit_margin(m.node, plan_parts(s->ranks, s->nodes));
        if (s->kind != SUBMIT_STAGES)
            say_time(s, &p, &l);
    }
    plan_close(&p);
    err_clear(); /* the configuration was checked; an estimate is no condition */
}
