/* What the files of a run directory say about the run: rewards, groups, advantages,
 * steps, diversity, and whether the reward was over-optimised. Shards are read one by
 * one and in blocks of rows; what is kept of all samples at once is a few numbers of
 * one iteration. */
#ifndef SLUICE_PIPELINE_STATS_H
#define SLUICE_PIPELINE_STATS_H

#include "io/json.h"
#include "stages/metric/summary.h"
#include "stages/metric/sums.h"

enum {
    STATS_STATUSES = 6, /* enum reward_status */
    STATS_PARTS = 32,   /* components of a mixture */
    STATS_BEST = 5,
    STATS_BINS = 20,
    STATS_STEPS = 4096,
};

/* Everything is borrowed; NULL: not given. */
struct stats_options {
    const char *dir;
    int64_t first, last;         /* iterations, both included */
    const char *data, *training; /* data files */
    const char *policy; /* whose reward is estimated: a policy file or a version */
};

struct stats_iteration {
    int64_t iteration, samples, status[STATS_STATUSES], usable;
    struct summary reward, guard;
    struct moments advantage, part[STATS_PARTS], kl_path;
    struct pairs reward_guard, reward_part[STATS_PARTS]; /* within the iteration */
    int64_t groups, constant; /* prompts; those whose rewards are all the same */
    struct moments group_std; /* of groups of two samples and more */
    struct weights first;     /* of whole chains, for policy 0 */
    double approx_kl, clip_fraction, ratio_absdev_max; /* of metrics.jsonl */
};

struct stats_step { /* over the steps of the chain, usable samples or not */
    int64_t t;
    int live; /* it has a density */
    struct moments log_prob, kl, log_ratio,
        advantage;               /* log_ratio: policy 0 to its own */
    struct weights first, other; /* chains up to this step; other: options.policy */
};

struct stats_sample {
    double reward, guard;
    int64_t iteration, shard, row, index, prompt_id;
    char prompt[64], decoded[256];
};

struct stats_prompt {
    int64_t prompt_id;
    struct moments reward;
};

struct stats_diversity { /* NaN: not known */
    int64_t iteration, n;
    double pairwise, frechet_data, nearest_mean, nearest_min, copied;
};

struct stats {
    char run_id[48];
    int64_t n; /* iterations */
    struct stats_iteration *iteration;
    char *part[STATS_PARTS]; /* names of components */
    int64_t parts;
    int64_t samples, status[STATS_STATUSES], bytes;
    struct moments reward, guard, advantage, all_part[STATS_PARTS];
    struct pairs reward_part[STATS_PARTS];
    int64_t advantage_zero, count[STATS_BINS]; /* histogram of rewards, min to max */
    struct stats_step *step;
    int64_t steps;
    struct stats_prompt *prompt; /* by prompt_id */
    int64_t prompts;
    struct stats_sample best[STATS_BEST], worst[STATS_BEST];
    int64_t bests, worsts;
    struct stats_diversity apart[2]; /* first and last iteration */
    double frechet;                  /* of the two */
    struct pairs watch;              /* of the iterations' mean rewards and guards */
    double slope[2], slope_error[2]; /* per iteration: of the reward, of the guard */
    char verdict[512];
};

/* Reads a run. ERR_INPUT names what cannot be read, or says that no iteration is there.
 */
int stats_read(const struct stats_options *o, struct stats *s);
void stats_free(struct stats *s);

/* The numbers as entries of the map that `out` is in. */
void stats_put(const struct stats *s, struct json_out *out);
/* The same as columns of one sealed file, kind `statistics` (io/FORMAT.md). ERR_IO. */
int stats_write(const struct stats *s, const char *path);

/* For people: what several runs have in common as one table, then each by itself. */
void stats_print(char *const *dir, const struct stats *s, int64_t runs);

#endif
