/* The parts of the report; each appends HTML to a text. */
#ifndef SLUICE_PIPELINE_REPORT_PARTS_H
#define SLUICE_PIPELINE_REPORT_PARTS_H

#include "io/coding.h"
#include "io/config.h"
#include "io/json.h"
#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

/* The page up to its title, and its style sheet. */
extern const char report_head[], report_style[];
/* The style sheet of heat maps, strips and samples by reward; it follows the other. */
extern const char report_style_pictures[];

enum report_metric {
    M_ITERATION,
    M_POLICY_VERSION,
    M_REWARD_MEAN,
    M_REWARD_STD,
    M_REWARD_MIN,
    M_REWARD_MAX,
    M_RATIO_ABSDEV_MAX,
    M_APPROX_KL,
    M_CLIP_FRACTION,
    M_LOSS,
    M_GRAD_NORM,
    M_SAMPLES,
    M_FAILED,
    M_SAMPLES_TOTAL,
    M_T_ITERATION,
    M_T_ROLLOUT,
    M_T_REWARD,
    M_T_ADVANTAGE,
    M_T_UPDATE,
    M_RSS,
    M_KL_PATH,
    M_GUARD_MEAN,
    M_GUARD_ERROR,
    M_COUNT
};

struct report_event {
    char *name, *time;
};

enum { REPORT_PARTS = 32, REPORT_STATUSES = 6 };

/* What an iteration's samples were given. */
struct report_scored {
    double status[REPORT_STATUSES]; /* samples by enum reward_status; the first is NaN where
                                     * the line has none */
    struct {
        double mean, std, scored;
    } part[REPORT_PARTS]; /* of a mixture's components */
};

/* metrics.jsonl: one row per iteration, ascending; what is missing is NaN. */
struct report_metrics {
    double (*row)[M_COUNT];
    struct report_scored *scored; /* [n] */
    int64_t n;
    char *part[REPORT_PARTS]; /* names of components, in the file's order */
    int64_t parts;
    struct report_event *event;
    int64_t events;
    int64_t unreadable; /* lines that are no JSON object */
};

/* The key of a column in metrics.jsonl. */
const char *report_metric_name(enum report_metric m);
/* A missing file gives no rows. */
void report_metrics_read(struct report_metrics *m, const char *path);
void report_metrics_free(struct report_metrics *m);
/* First row, in file order or backwards, where column k is finite; -1 for none. */
int64_t report_metrics_find(const struct report_metrics *m, enum report_metric k,
                            bool backwards);
/* Sum and largest value of a column's finite numbers; without any 0, NaN. */
double report_sum(const struct report_metrics *m, enum report_metric k);
double report_largest(const struct report_metrics *m, enum report_metric k);

/* s with &, <, > and quotes escaped. */
void report_escape(struct text *out, const char *s);
void report_base64(struct text *out, const void *p, int64_t n);
/* "0.0123", "1.2e+05", an em dash where v is not finite. */
void report_number(struct text *out, double v);
/* "12.3 s", "4 min 10 s", "2 h 05 min". */
void report_seconds(struct text *out, double v);

/* What to change, by what was measured. config, accounting (accounting.json): or NULL. */
void report_changes(struct text *out, const char *rundir, const struct report_metrics *m,
                    const struct config *config, const struct json *accounting);
/* Who worked when and who waited for whom; a word where the run has no record of it. */
void report_timeline(struct text *out, const char *rundir);

/* Tables; nothing where there is nothing to show. root: accounting.json, or NULL. */
void report_times(struct text *out, const struct report_metrics *m);
void report_accounting(struct text *out, const struct json *root);
/* Every iteration, or evenly chosen ones of a long run; always the last. */
void report_iterations(struct text *out, const struct report_metrics *m, bool open);
void report_events(struct text *out, const struct report_metrics *m);
/* One row per leaf of a JSON value, its name the path to it. */
void report_leaves(struct text *out, const struct json *v, const char *name);

/* All curves as pictures; the guard's only where wanted. False: gnuplot is absent or failed,
 * nothing was appended. */
bool report_plots(struct text *out, const struct report_metrics *m, bool guard);

/* One picture: begin, commands of gnuplot, finish. Text from outside enters the script
 * through report_plot_text alone. */
struct report_plot {
    const char *title, *note; /* HTML */
    const char *about;        /* alternative text, HTML */
    bool wide;
};
void report_plot_begin(struct text *script, int width, int height);
/* The x axis of a plot by iteration; m has rows. */
void report_plot_iterations(struct text *script, const struct report_metrics *m);
/* The row to draw after row i: all of a run of ordinary length, else evenly chosen ones and
 * the last; then m->n or more. */
int64_t report_plot_next(const struct report_metrics *m, int64_t i);
/* A string of gnuplot's with these very characters. */
void report_plot_text(struct text *script, const char *s);
/* v and a blank, "nan " where it is not finite. */
void report_plot_number(struct text *script, double v);
/* Appends the figure and frees the script. False as above. */
bool report_plot_finish(struct text *out, struct text *script, const struct report_plot *p);

/* rgb [height, width, 3] as a picture within the page, or nothing where that fails. alt:
 * alternative text, HTML. */
void report_png(struct text *out, const uint8_t *rgb, int64_t height, int64_t width,
                const char *alt);
/* A sample as a picture; large ones are made smaller. */
struct report_image {
    const float *x; /* [channels, height, width] */
    int64_t channels, height, width;
    const char *alt; /* alternative text, HTML */
};
void report_picture(struct text *out, const struct report_image *p);
/* x [n] as a curve from range[0] to range[1]; NULL: from its least to its largest. alt as
 * above. */
void report_curve(struct text *out, const float *x, int64_t n, const double *range,
                  const char *alt);
/* Are samples of so many channels and rows texts? */
bool report_is_text(const struct coding *c, int64_t channels, int64_t height);
/* A sample as what it is: a text, a curve as above, or a picture. */
void report_sample(struct text *out, const struct coding *c, const struct report_image *p,
                   const double *range);
/* The coding of the run's samples; kind none where it is not known. */
struct coding report_coding(const char *rundir);
/* Heat maps by iteration and step. */
void report_heat(struct text *out, const char *rundir);
/* Samples by reward and chains from noise to sample, of the first and the last iteration
 * whose shards are there and of the best between them. */
void report_samples(struct text *out, const char *rundir, const struct report_metrics *m);

/* What a mixture's components make of its sum, and where they disagree: nothing for other
 * runs. config NULL: weights are not known. Reads the reward shards of two iterations. */
void report_rewards(struct text *out, const char *rundir, const struct report_metrics *m,
                    const struct config *config);

#endif
