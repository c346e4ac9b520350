/* A mixture as the report sees it: its components, their scores in one iteration, and what
 * these make of the sum. */
#ifndef SLUICE_PIPELINE_REPORT_MIX_H
#define SLUICE_PIPELINE_REPORT_MIX_H

#include "pipeline/report/report_parts.h"
#include "stages/reward/reward.h"

enum { REPORT_MIX_PARTS = REPORT_PARTS + 1 };

struct report_mix_part {
    const char *name;   /* borrowed */
    const char *reward; /* its reward's name; NULL: not known */
    const char *colour; /* #rrggbb */
    char units[64];     /* as its shards say; "" before they are read */
    double weight, offset, scale; /* NaN: not known */
    int64_t at;         /* of report_metrics; -1: the guard, which comes last */
};

struct report_mix {
    const struct report_metrics *metrics; /* borrowed, as config's texts are */
    const char *dir;
    struct report_mix_part part[REPORT_MIX_PARTS];
    int64_t parts;
    bool known;  /* weights are */
    bool moving; /* reward.mixing other than `reward`: scores are compared with those of
                  * their iteration before they are added */
};

/* False: the run has no mixture, or no iteration yet. */
bool report_mix_create(struct report_mix *x, const char *dir, const struct report_metrics *m,
                       const struct config *config);
/* Does component k enter the sum? */
bool report_mix_counts(const struct report_mix *x, int64_t k);
/* Its name, with a minus where its weight turns it around; HTML. */
void report_mix_name(struct text *out, const struct report_mix *x, int64_t k);

enum { REPORT_MIX_SILENT = 255 }; /* status: nobody says it */

/* Scores of an iteration's samples; NaN where there is none. */
struct report_mix_scores {
    int64_t iteration, n, parts;
    int64_t damaged; /* shards that could not be read */
    double *score;   /* [n, parts] as the components say them */
    double *add;     /* [n, parts] what each adds to the sum; NaN for what does not count */
    double *total;   /* [n] the sum, of samples with a score of all that count */
    uint8_t *status; /* [n, parts] enum reward_status or REPORT_MIX_SILENT */
    struct report_mix_place {
        int64_t shard, row;
    } * place; /* [n] */
};
/* Reads the reward shards that are there (n is 0 where there are none) and learns units. */
void report_mix_read(struct report_mix *x, int64_t iteration, struct report_mix_scores *s);
void report_mix_scores_free(struct report_mix_scores *s);
/* The first or the last iteration with scores that can be read; its n is 0 if there is
 * none. damaged counts those of the iterations that were passed over too. */
void report_mix_find(struct report_mix *x, bool last, struct report_mix_scores *s);

/* Numbers of some samples: x[i * stride], i < n; stride 1 for the sum. */
struct report_mix_column {
    const double *x;
    int64_t stride;
};
/* Pearson's correlation over the samples that have both; NaN where fewer than three do or
 * one of them is constant. */
double report_mix_correlation(struct report_mix_column a, struct report_mix_column b,
                              int64_t n);
/* cov(add, total) / var(total): of all that count the shares add up to 1. NaN as above. */
double report_mix_share(const struct report_mix_scores *s, int64_t k);
/* Component k's scores, and what it adds. */
struct report_mix_column report_mix_score(const struct report_mix_scores *s, int64_t k);
struct report_mix_column report_mix_added(const struct report_mix_scores *s, int64_t k);

/* Sections of the page; first and last may be empty. chosen: the highest and lowest samples
 * of last by each component and by the sum. */
void report_mix_chosen(struct text *out, const struct report_mix *x,
                       const struct report_mix_scores *last);
/* Curves, what each adds, distributions. False where gnuplot is absent or fails; nothing was
 * appended then. */
bool report_mix_plots(struct text *out, const struct report_mix *x,
                      const struct report_mix_scores *first,
                      const struct report_mix_scores *last);
/* Two components against each other, as one plot. False as above. */
bool report_mix_scatter(struct text *out, const struct report_mix *x,
                        const struct report_mix_scores *first,
                        const struct report_mix_scores *last, const int64_t pair[2]);
/* Statuses over the iterations (x NULL: no mixture), and of each component in the last. */
void report_mix_statuses(struct text *out, const struct report_metrics *m,
                         const struct report_mix *x, const struct report_mix_scores *last);

#endif
