/* Particle entropy. Each rank reads its part of the shards and takes its part of the
 * samples; distances are summed and compared in sample order. */
#include "stages/particles.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/mem.h"
#include "stages/metric/fidelity.h"

#include <math.h>

static int read_part(struct task *t, int64_t iteration, int64_t first, int64_t last,
                     float *x)
{
    char rel[96];
    for (int64_t s = first; s < last; s++) {
        struct shard *in =
            task_open(t, rundir_rollout(rel, iteration, s), SHARD_ROLLOUT);
        int rc = in == NULL ? -1
                            : shard_get_rows(in, "final_sample", COLUMN_F32, 0,
                                             task_shard_size(t, s),
                                             x + s * t->shard_samples * t->d);
        shard_close(in);
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* The distances of sample i to its nearest others, ascending; how many of k there are. */
static int64_t nearest_of(const struct particles *p, const struct entropy_options *o,
                          int64_t i, double *nearest)
{
    const int64_t k = o->neighbour;
    int64_t found = 0;
    for (int64_t j = 0; j < p->n; j++) {
        if (j == i || (o->by_prompt && p->label[j] != p->label[i]))
            continue;
        double r = fidelity_distance(p->x + i * p->d, p->x + j * p->d, p->d);
        if (!isfinite(r) || (found == k && r >= nearest[k - 1]))
            continue; /* a sample that is not finite is nobody's neighbour */
        int64_t at = found < k ? found++ : k - 1;
        for (; at > 0 && nearest[at - 1] > r; at--)
            nearest[at] = nearest[at - 1];
        nearest[at] = r;
    }
    return found;
}

void particles_score(const struct particles *p, const struct entropy_options *o,
                     int64_t first, int64_t last, double *bonus)
{
    const int64_t k = o->neighbour < p->n ? o->neighbour : p->n;
    const struct entropy_options few = {o->weight, k, o->by_prompt};
    double *nearest = mem_alloc(k, sizeof *nearest);
    for (int64_t i = first; i < last; i++)
        bonus[i] = nearest_of(p, &few, i, nearest) == o->neighbour
                       ? o->weight * log(fmax(nearest[k - 1], 1e-6))
                       : 0;
    mem_free(nearest);
}

int particles_bonus(struct task *t, const struct comm *c, int64_t iteration,
                    const int64_t *label, double *bonus)
{
    float *x = mem_alloc(t->samples * t->d, sizeof *x);
    int64_t *rows = mem_alloc(c->size, sizeof *rows), mine = 0;
    for (int r = 0; r < c->size; r++) {
        int64_t from = t->shards * r / c->size * t->shard_samples;
        int64_t to = t->shards * (r + 1) / c->size * t->shard_samples;
        from = from < t->samples ? from : t->samples;
        rows[r] = (to < t->samples ? to : t->samples) - from;
        mine = r == c->rank ? from : mine;
    }
    int rc = comm_agree(c, read_part(t, iteration, t->shards * c->rank / c->size,
                                     t->shards * (c->rank + 1) / c->size, x));
    if (rc == 0)
        rc = comm_gather_all(c, x + mine * t->d, rows, (size_t)t->d * sizeof *x, x);
    if (rc == 0) {
        const struct particles p = {t->samples, t->d, x, label};
        particles_score(&p, &t->entropy, mine, mine + rows[c->rank], bonus);
    }
    if (rc == 0)
        rc = comm_gather_all(c, bonus + mine, rows, sizeof *bonus, bonus);
    mem_free(x);
    mem_free(rows);
    return rc;
}
