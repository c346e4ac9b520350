/* Memory by what a rank holds: the vectors of the parameters' length, counted; activations
 * of a micro-batch, tried out; samples of a shard; and the program itself, a constant. A
 * rank with several roles holds vectors, filters and activations once. */
#include "pipeline/plan/plan_memory.h"

#include "io/sys/err.h"
#include "pipeline/plan/plan_sizes.h"
#include "pipeline/settings.h"
#include "stages/nn/param.h"
#include "stages/nn/reduce.h"
#include "stages/nn/winograd.h"

#include <math.h>
#include <stdio.h>

#define MIB 1048576.0

enum { LARGE = 16 << 20 }; /* parameters, from which on filters are packed anew */

/* Measured: program, libraries, a small job's MPI and HDF5; compiled kernels of the backward
 * pass; an open file, of which an update keeps OPEN (stages/update_internal.h). */
static const double program_bytes = 50 * MIB, kernel_bytes = 5 * MIB, file_bytes = 0.75 * MIB;
enum { OPEN = 16 };

/* Bytes of weights as the kernels want them, kept with the parameters: 3 x 3 filters for
 * Winograd's algorithm, which large networks pack anew while they train
 * (stages/nn/fast_conv.c), and matrices. backward: with those of the backward pass. */
static double packed(const struct plan *p, bool backward)
{
    struct param_set *set = model_params(p->model);
    bool anew = backward && param_total(set) >= LARGE;
    double bytes = 0;
    for (int64_t i = 0; i < param_number(set); i++) {
        const struct tensor *w = &param_at(set, i)->t;
        if (w->nd == 4 && w->dim[2] == 3 && w->dim[3] == 3)
            bytes += anew ? 0
                          : (double)winograd_packed(w->dim[1], w->dim[0]) +
                                backward * (double)winograd_packed(w->dim[0], w->dim[1]);
        else if (w->nd >= 2)
            bytes += (1 + backward) * (double)tensor_count(w);
    }
    return (double)sizeof(float) * bytes;
}

/* Bytes of the regression of values: sums of all folds and of the past, equations, and
 * one shard's features (stages/value_features.h). */
static double value_memory(const struct plan *p)
{
    double knots = (double)config_int(p->c, "value.knots"), base = (double)plan_value_base(p);
    double sums = (double)config_int(p->c, "value.folds") + 3;
    return 8 * (sums * base * base * (2 * knots - 1) + 2 * knots * base * knots * base +
                2 * (double)(p->shard * p->steps) * base);
}

/* What the roles of a rank add up to; vectors are of the parameters' length. */
struct holding {
    double weights, slots, gradients, state, written; /* vectors */
    double packed, file, others, activations, samples, rest;
};

static double micro_batch(const struct plan *p, bool checkpoints)
{
    return (double)p->micro * (checkpoints ? p->probe.checkpointed : p->probe.trained);
}

static void hold_update(const struct plan *p, struct holding *h, int64_t ranks)
{
    double n = 4 * (double)p->parameters;
    bool ema = config_real(p->c, "update.ema_decay") > 0;
    int64_t leaves = plan_parts(p->pairs, p->micro);
    h->gradients =
        n + (double)reduce_bytes(p->parameters, leaves > 0 ? leaves : 1, (int)ranks);
    h->state = n * (ema ? 5 : 4) / (double)ranks;
    h->written = n * (ema ? 3 : 2);
    h->file = plan_policy_bytes(p);
    h->rest = kernel_bytes + file_bytes * (double)(p->shards < OPEN ? p->shards : OPEN);
    h->packed = packed(p, true);
    h->activations = micro_batch(p, config_bool(p->c, "model.gradient_checkpointing"));
    /* natural: 4 in float; in double 12, with those of conjugate gradients */
    if (config_is(p->c, "update.optimizer", "natural"))
        h->rest += n * (4 + 2 * 12) + 4 * (double)(plan_parts(p->pairs, ranks) * p->d);
    h->others = plan_companions(p) *
                (n + packed(p, false) + 4 * (double)(p->micro * p->d));
}

static void hold_rollout(const struct plan *p, struct holding *h)
{
    double n = 4 * (double)p->parameters, d = (double)p->d;
    bool chain = (p->needs & NEEDS_TRAJECTORY) != 0;
    h->activations = fmax(h->activations, (double)p->micro * p->probe.forward);
    h->packed = fmax(h->packed, packed(p, false));
    h->samples = (double)p->shard * d * 4 * (double)(chain ? p->steps + 2 : 3);
    if (plan_refers(p))
        h->others += n + packed(p, false) + 4 * (double)p->micro * d;
}

/* Versions of the weights that are kept (pipeline/run/handover.c): those that others use, all
 * where a rank makes and uses them; none where the window has more than 4. */
static double slots(const struct plan *p, bool all)
{
    int64_t window = config_int(p->c, "max_staleness") + 1;
    int64_t versions = settings_iterations(p->c) + (all ? 1 : -window);
    versions = versions < 0 ? 0 : versions > window ? window : versions;
    return window > 4 ? 0 : (double)versions;
}

/* roles: a bit for each group. sends: others wait for new weights. */
static void hold(const struct plan *p, unsigned roles, int64_t update_ranks, bool sends,
                 struct holding *h)
{
    bool updates = (roles >> GROUP_UPDATE & 1) != 0, draws = (roles >> GROUP_ROLLOUT & 1) != 0;
    double n = 4 * (double)p->parameters;
    bool stale = config_int(p->c, "max_staleness") > 0;
    *h = (struct holding){.weights = n};
    if (updates)
        hold_update(p, h, update_ranks);
    if (draws)
        hold_rollout(p, h);
    if (updates || draws)
        h->rest += p->probe.scratch;
    if (draws != updates ? draws || sends : draws && (sends || stale))
        h->slots = n * slots(p, draws && updates);
    if ((roles >> GROUP_REWARD & 1) != 0)
        h->samples = fmax(h->samples, (double)p->shard * (double)p->d * 4 * 2);
    if ((roles >> GROUP_ADVANTAGE & 1) == 0)
        return;
    h->rest += value_memory(p) + plan_learned_bytes(p) +
               8 * (double)p->features * (double)p->features;
    if ((p->needs & NEEDS_STEP_ADVANTAGE) != 0)
        h->rest += 48 * (double)(p->samples * p->steps);
    if (config_real(p->c, "algorithm.entropy_weight") > 0)
        h->rest += 4.0 * (double)p->samples * (double)p->d;
}

static double total(const struct holding *h)
{
    return program_bytes + h->weights + h->slots + h->gradients + h->state + h->written +
           h->packed + h->file + h->others + h->activations + h->samples + h->rest;
}

/* The coordinator writes policy 0: its weights, moments of zero, the file that is mapped for
 * its digest. */
static double first_policy(const struct plan *p)
{
    return program_bytes + 8 * (double)p->parameters + plan_policy_bytes(p);
}

static unsigned roles_of(const struct layout *l, int rank)
{
    unsigned roles = 0;
    for (int g = 0; g < GROUPS; g++)
        roles |= (unsigned)layout_has(l, (enum group)g, rank) << g;
    return roles;
}

/* Does a rank roll out without updating? */
static bool any_receives(const struct layout *l)
{
    for (int k = 0; k < l->world; k++)
        if (layout_has(l, GROUP_ROLLOUT, k) && !layout_has(l, GROUP_UPDATE, k))
            return true;
    return false;
}

void plan_memory(const struct plan *p, const struct layout *l, int64_t nodes,
                 struct plan_memory *out)
{
    struct holding h;
    double by_roles[1 << GROUPS] = {0}, node = 0;
    int64_t block = plan_parts(l->world, nodes);
    bool sends = any_receives(l);
    *out = (struct plan_memory){.program = program_bytes};
    for (unsigned roles = 0; roles < 1 << GROUPS; roles++) {
        hold(p, roles, l->size[GROUP_UPDATE], sends, &h);
        by_roles[roles] = total(&h);
    }
    for (int g = 0; g < GROUPS; g++)
        out->group[g] = by_roles[1u << g];
    out->group[GROUP_ADVANTAGE] = fmax(out->group[GROUP_ADVANTAGE], first_policy(p));
    for (int k = 0; k < l->world; k++) {
        double rank = by_roles[roles_of(l, k)];
        if (k == layout_coordinator(l))
            rank = fmax(rank, first_policy(p));
        node = k % block == 0 ? rank : node + rank;
        out->rank = fmax(out->rank, rank);
        out->node = fmax(out->node, node);
    }
}

int plan_memory_of(const struct config *c, int64_t ranks, int64_t nodes,
                   struct plan_memory *out)
{
    struct plan p = {.c = c, .ranks = ranks};
    struct layout l;
    int rc = settings_layout(&l, c, (int)ranks) != 0 || plan_derive(&p) != 0 ? -1 : 0;
    if (rc == 0 && p.model == NULL)
        rc = err_set(ERR_USAGE, "model.path is empty: nothing is known about memory");
    if (rc == 0)
        plan_memory(&p, &l, nodes, out);
    plan_close(&p);
    return rc;
}

static void print_update(const struct plan *p, const struct layout *l)
{
    struct holding h;
    hold(p, 1u << GROUP_UPDATE, l->size[GROUP_UPDATE], any_receives(l), &h);
    plan_line("update",
              "%.0f MiB: weights %.0f, gradients and their sums %.0f, AdamW%s over %lld rank(s) "
              "%.0f and whole while a policy is written %.0f, packed weights %.0f, "
              "micro-batch %.0f",
              total(&h) / MIB, (h.weights + h.slots) / MIB, h.gradients / MIB,
              config_real(p->c, "update.ema_decay") > 0 ? " and EMA" : "",
              (long long)l->size[GROUP_UPDATE], h.state / MIB, h.written / MIB,
              h.packed / MIB, h.activations / MIB);
    if (plan_companions(p) > 0)
        plan_line("", "%d other version(s) of the weights, %.0f MiB of it", plan_companions(p),
                  h.others / MIB);
    bool checkpoints = config_bool(p->c, "model.gradient_checkpointing");
    plan_line("", "model.gradient_checkpointing=%s: micro-batch %.0f instead of %.0f",
              checkpoints ? "false" : "true", micro_batch(p, !checkpoints) / MIB,
              h.activations / MIB);
}

void plan_memory_print(const struct plan *p, const struct layout *l,
                       const struct plan_memory *m)
{
    struct holding h;
    hold(p, 1u << GROUP_ROLLOUT, l->size[GROUP_UPDATE], true, &h);
    printf("memory per rank, estimate\n");
    plan_line("program", "%.0f MiB of each: libraries, MPI", m->program / MIB);
    plan_line("rollout",
              "%.0f MiB: weights %.0f, the next ones %.0f, packed weights %.0f, micro-batch "
              "%.0f, one shard %.0f",
              m->group[GROUP_ROLLOUT] / MIB, h.weights / MIB, h.slots / MIB, h.packed / MIB,
              h.activations / MIB, h.samples / MIB);
    if (plan_refers(p))
        plan_line("", "version 0 of the weights, %.0f MiB of it", h.others / MIB);
    plan_line("reward, advantage", "%.0f, %.0f MiB: weights, samples and scores",
              m->group[GROUP_REWARD] / MIB, m->group[GROUP_ADVANTAGE] / MIB);
    print_update(p, l);
    plan_line("the largest rank", "%.0f MiB", m->rank / MIB);
    if (p->probe.trained == 0)
        plan_line("",
                  "activations are not in these numbers: the trial evaluation is too large");
}
