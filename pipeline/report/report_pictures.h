/* Heat maps, denoising strips and sample grids of the report: what they read from shards,
 * and how they choose. They read few shards, evenly chosen, so that a page of a long run
 * takes no longer than one of a short one; what cannot be read is left out and counted. */
#ifndef SLUICE_PIPELINE_REPORT_PICTURES_H
#define SLUICE_PIPELINE_REPORT_PICTURES_H

#include "io/shard.h"
#include "pipeline/report/report_parts.h"

/* Number of the i-th of `shown` evenly chosen ones of n >= shown, ascending, with the first
 * and the last among them. */
int64_t report_even(int64_t i, int64_t shown, int64_t n);
/* Numbers of the iterations with a folder DIR/KIND/iNNNNNN, ascending, and those of the
 * shards of one iteration in a folder. The caller frees with mem_free. */
int64_t *report_iterations_of(const char *rundir, const char *kind, int64_t *n);
int64_t *report_shards_of(const char *rundir, const char *kind, int64_t iteration,
                          int64_t *n);

/* One sample of an iteration, and where it is. */
struct report_ranked {
    int64_t shard, row;
    double reward; /* NaN: none */
    int status;    /* enum reward_status, -1: not scored */
};

/* Samples of one iteration by reward, the worst first, those without one last. */
struct report_ranking {
    int64_t iteration, version;
    int64_t n, scored; /* of n samples, in the shards that were read */
    int64_t shards, all, damaged; /* read, there, not readable */
    int64_t channels, height, width;
    struct report_ranked *sample; /* [n] */
};
/* n is 0 where no shard with samples can be read. */
void report_rank(struct report_ranking *r, const char *rundir, int64_t iteration);
void report_ranking_free(struct report_ranking *r);
/* The iterations that pictures are of: the first and the last that have readable shards,
 * and between them that with the best mean reward. Returns how many, in ascending order. */
enum { REPORT_SHOWN = 3 };
int64_t report_rank_run(struct report_ranking r[REPORT_SHOWN], const char *rundir,
                        const struct report_metrics *m);
/* The row of column `name` of a rollout's sample, f32, times its dimensions behind the
 * first, which dim receives (nd of them). NULL: there is none such, or it has more than
 * `most` numbers. The caller frees with mem_free. */
float *report_row(const char *rundir, int64_t iteration, const struct report_ranked *s,
                  const char *name, int64_t most, int *nd, int64_t dim[SHARD_MAX_ND]);
/* Its final sample of that shape [channels, height, width]; zeros receive what it has. NULL
 * and ownership as above. */
float *report_final(const char *rundir, int64_t iteration, const struct report_ranked *s,
                    int64_t shape[3]);
/* Its reward, or why it has none. */
void report_ranked_reward(struct text *out, const struct report_ranked *s);

/* Values by iteration and step. */
struct report_map {
    const char *title, *note; /* HTML; note: what is shown, and of how many */
    const char *unit;         /* "" where it is 1 */
    int64_t columns, rows;
    int64_t *iteration; /* [columns] ascending */
    double *t;          /* [rows] timestep where the row starts, negative: the sample */
    double *value;      /* [columns, rows]; NaN: none */
};
void report_map_free(struct report_map *m);
/* A figure, or a sentence where all values are the same; nothing where there are none.
 * Returns whether anything was appended. */
bool report_map_draw(struct text *out, const struct report_map *m);
/* Colour of u in [0, 1]: viridis, even to the eye and readable without colour vision. */
void report_heat_colour(double u, uint8_t rgb[3]);

enum { REPORT_MAP_COLUMNS = 100, REPORT_MAP_ROWS = 64 };
/* What the updates wrote in metrics.jsonl: KL, and clip fraction. */
void report_map_updates(const char *rundir, struct report_map map[2]);
/* What rollouts and advantages hold: KL to policy 0, spread of the log ratio to it, size of
 * the advantages, spread of the states. *damaged: shards that could not be read. */
enum { REPORT_MAPS_STORED = 4 };
void report_map_stored(const char *rundir, struct report_map map[REPORT_MAPS_STORED],
                       int64_t *damaged);

/* Parts of report_samples. */
void report_strips(struct text *out, const char *rundir, const struct report_ranking *r,
                   int64_t n);
void report_quantiles(struct text *out, const char *rundir, const struct report_ranking *r,
                      int64_t n);

#endif
