/* Walks the batch once per candidate and keeps, of each sample, the chain whose final
 * sample scores best; the first of equals. */
#include "stages/search/best_of.h"

#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

/* Sample i of `from` (whose samples start at `at`) becomes w's. */
static void take(const struct chain *c, struct draw *w, const struct draw *from,
                 int64_t at, int64_t b)
{
    size_t row = (size_t)(w->states * c->d) * sizeof(float);
    int64_t i = at + b, steps = c->sampler->steps;
    memcpy(chain_state(c, w, i, 0), chain_state(c, from, b, 0), row);
    memcpy(w->sample + i * c->d, from->sample + b * c->d, (size_t)c->d * sizeof(float));
    memcpy(w->log_prob + i * steps, from->log_prob + b * steps,
           (size_t)steps * sizeof(double));
}

/* One micro-batch; try has room for it. */
static int draw_batch(struct chain *c, const struct search_options *o, struct draw *w,
                      struct draw *try, int64_t at, double *score)
{
    int64_t m = try->n;
    double *best = score + m, candidates = (double)o->candidates;
    try->first = w->first + at;
    try->label = w->label + at;
    try->copy = w->copy + at;
    for (int64_t k = 0; k < o->candidates; k++) {
        if (chain_walk(c, try, 0, m, k) != 0 ||
            chain_score(c, try, 0, m, try->sample, score, NULL) != 0)
            return -1;
        for (int64_t b = 0; b < m; b++) {
            if (k == 0)
                w->plain[at + b] = isfinite(score[b]) ? score[b] : (double)NAN;
            if (k > 0 && !(score[b] > best[b]))
                continue;
            best[b] = score[b];
            take(c, w, try, at, b);
        }
    }
    for (int64_t b = 0; b < m; b++)
        w->cost[at + b] = log(candidates) - (candidates - 1) / candidates;
    return 0;
}

static int draw(struct chain *c, const struct search_options *o, struct draw *w)
{
    int64_t size = w->n < c->micro_batch ? w->n : c->micro_batch,
            steps = c->sampler->steps;
    struct draw try = {.iteration = w->iteration, .states = w->states};
    try.latents = mem_alloc(size * w->states * c->d, sizeof *try.latents);
    try.sample = mem_alloc(size * c->d, sizeof *try.sample);
    try.log_prob = mem_alloc(size * steps, sizeof *try.log_prob);
    double *score = mem_alloc(2 * size, sizeof *score);
    int rc = 0;
    for (int64_t at = 0; at < w->n && rc == 0; at += size) {
        try.n = w->n - at < size ? w->n - at : size;
        rc = draw_batch(c, o, w, &try, at, score);
    }
    mem_free(try.latents);
    mem_free(try.sample);
    mem_free(try.log_prob);
    mem_free(score);
    return rc;
}

const struct search best_of = {
    .name = "best_of",
    .help = "the best of search.candidates chains",
    .needs = SEARCH_SCORES,
    .draw = draw,
};
