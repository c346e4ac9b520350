/* Noise schedules: the table of alpha-bar by training timestep, read from diffusers'
 * scheduler_config.json. After Ho et al. 2020, Nichol &
 * Dhariwal 2021, Lin et al. 2023 (zero terminal SNR). */
#ifndef SLUICE_STAGES_DIFFUSION_SCHEDULE_H
#define SLUICE_STAGES_DIFFUSION_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum schedule_beta { BETA_LINEAR, BETA_SCALED_LINEAR, BETA_SQUAREDCOS_CAP_V2 };
enum schedule_prediction { PREDICT_EPSILON, PREDICT_SAMPLE, PREDICT_V };
enum schedule_spacing { SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE };
enum schedule_variance {
    VARIANCE_FIXED_SMALL,
    VARIANCE_FIXED_SMALL_LOG,
    VARIANCE_FIXED_LARGE
};

/* Plain data. */
struct schedule {
    int64_t train_steps;
    enum schedule_beta beta;
    double beta_start, beta_end;
    enum schedule_prediction prediction;
    enum schedule_spacing spacing;
    enum schedule_variance variance;
    int64_t steps_offset;
    bool set_alpha_to_one, zero_snr;
    bool clip_sample, thresholding;
    double clip_range, threshold_ratio, sample_max;
    float *betas, *alpha_bar; /* [train_steps], accumulated in float as the peer does */
    char *json;               /* the file's text, kept for export */
};

/* Reads a scheduler_config.json (path) or, with path NULL, diffusers' defaults. Unknown
 * values of known keys are refused by name. ERR_INPUT. */
int schedule_read(struct schedule *s, const char *path);
/* The same from the text itself; name is for messages. */
int schedule_parse(struct schedule *s, const char *json, const char *name);
/* Fills betas and alpha_bar from the other fields (for tests and overrides). */
int schedule_build(struct schedule *s);
void schedule_free(struct schedule *s);

/* The descending list of timesteps of a sampler with this many steps, t[steps]; 1 <=
 * steps <= train_steps. With an offset an entry may lie beyond the table (the sampler
 * refuses that). */
void schedule_timesteps(const struct schedule *s, enum schedule_spacing spacing,
                        int64_t steps, int64_t *t);

/* x_t = sqrt(abar) x0 + sqrt(1 - abar) eps, and the training target of the schedule's
 * prediction type, element by element (float arithmetic, as the peer's). */
void schedule_add_noise(const struct schedule *s, int64_t t, const float *x0,
                        const float *eps, float *xt, float *target, int64_t n);

#endif
