/* Runs of the executable on the exact denoiser of Gaussian data with one learned shift of
 * the predicted noise, under the reward `brightness`: what closed forms can be had for. */
#ifndef SLUICE_TESTS_ORACLE_H
#define SLUICE_TESTS_ORACLE_H

#include "io/rundir.h"
#include "io/safetensors.h"
#include "io/shard.h"
#include "io/sys/file.h"
#include "stages/policy.h"
#include "tests/work.h"

#include <sys/wait.h>

#define MEAN .4990602184 /* of x_0 under 50 steps of the SD schedule, eta 1 */
#define VARIANCE .2057383543
#define SLOPE (-1.4035960086) /* d E[x_0] / d shift */
#define SPREAD 2.575          /* of one trajectory's gradient estimate */
#define STEPS 50

#define NOISE_SCHEDULE                               \
    "\"beta_start\": 0.00085, \"beta_end\": 0.012, " \
    "\"beta_schedule\": \"scaled_linear\", \"num_train_timesteps\": 1000"

static inline char *config_of(int side)
{
    return text_new("{\"_class_name\": \"GaussianDenoiser\", \"mean\": 0.5, "
                    "\"variance\": 0.25, \"channels\": 1, \"sample_size\": %d, %s}",
                    side, NOISE_SCHEDULE);
}

static inline void write_text(const char *dir, const char *name, const char *text)
{
    char *path = text_new("%s/%s", dir, name);
    must(file_write(path, text, (int64_t)strlen(text)));
    mem_free(path);
}

/* A pipeline folder with samples of 1 x side x side. */
static inline char *write_model(int side)
{
    const float shift = 0;
    const struct st_out out = {
        .name = "shift", .type = ST_F32, .nd = 1, .dim = {1}, .data = &shift};
    char *folder = text_new("%s/model%d", work, side), *config = config_of(side);
    char *unet = text_new("%s/unet", folder), *plan = text_new("%s/scheduler", folder);
    char *weights = text_new("%s/diffusion_pytorch_model.safetensors", unet);
    must(file_make_dirs(unet));
    must(file_make_dirs(plan));
    write_text(unet, "config.json", config);
    must(st_write(weights, &out, 1));
    write_text(plan, "scheduler_config.json",
               "{\"_class_name\": \"DDIMScheduler\", \"prediction_type\": \"epsilon\", "
               "\"timestep_spacing\": \"leading\", \"steps_offset\": 1, "
               "\"set_alpha_to_one\": false, \"clip_sample\": false, " NOISE_SCHEDULE
               "}");
    write_text(folder, "model_index.json",
               "{\"_class_name\": \"DDIMPipeline\", "
               "\"unet\": [\"diffusers\", \"GaussianDenoiser\"]}");
    mem_free(config);
    mem_free(unet);
    mem_free(plan);
    mem_free(weights);
    return folder;
}

static inline const char *program(void)
{
    const char *bin = getenv("SLUICE_BIN");
    return bin != NULL ? bin : "build/sluice";
}

static inline bool program_is_built(void)
{
    return access(program(), X_OK) == 0;
}

/* Runs the program in a new run directory, which is returned. */
static inline char *run(const char *name, const char *model, const char *options)
{
    char *dir = text_new("%s/%s", work, name);
    char *yaml = text_new("%s.yaml", dir), *log = text_new("%s.log", dir);
    char *text = text_new("run: {dir: %s, iterations: 1}\n"
                          "model: {path: %s}\n"
                          "sampler: {steps: %d}\n"
                          "reward: {name: brightness}\n"
                          "algorithm: {adv_clip: 1000}\n"
                          "update: {max_grad_norm: 0}\n",
                          dir, model, STEPS);
    char *command = text_new("%s run %s model.micro_batch=4096 %s >%s 2>&1",
                             program(), yaml, options, log);
    must(file_write(yaml, text, (int64_t)strlen(text)));
    int status = system(command), code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (!tap_ok(code == 0, "%s: exit %d", name, code)) {
        char *said = NULL;
        int64_t len;
        if (file_read(log, 1 << 20, &said, &len) == 0)
            fprintf(stderr, "%s", said);
        mem_free(said);
    }
    mem_free(yaml);
    mem_free(log);
    mem_free(text);
    mem_free(command);
    return dir;
}

static inline struct policy *open_policy(const char *dir, int64_t version)
{
    char rel[96];
    char *path = rundir_path(dir, rundir_policy(rel, version));
    struct policy *p = policy_open(path);
    if (p == NULL)
        ERR_BUG("%s", err_text());
    mem_free(path);
    return p;
}

static inline float shift_of(const char *dir, int64_t version)
{
    float c = 0;
    struct policy *p = open_policy(dir, version);
    must(policy_slice(p, POLICY_WEIGHTS, 0, 1, &c));
    policy_close(p);
    return c;
}

/* The mean shift of the last `last` of so many policies: where training settles. */
static inline double settled(const char *dir, int64_t iterations, int64_t last)
{
    double mean = 0;
    for (int64_t v = iterations - last + 1; v <= iterations; v++)
        mean += (double)shift_of(dir, v) / (double)last;
    return mean;
}

/* Brightness rises over so many iterations of n samples of one element, and the last mean is
 * what the chain, which is linear in the shift, makes of the shift that was learned. */
static inline void rises(const char *name, const char *dir, int64_t iterations, int64_t n)
{
    double first[METRICS], last[METRICS], error = sqrt(VARIANCE / (double)n);
    struct policy *p = open_policy(dir, 1);
    must(policy_metrics(p, first));
    policy_close(p);
    p = open_policy(dir, iterations);
    must(policy_metrics(p, last));
    policy_close(p);
    double shift = (double)shift_of(dir, iterations - 1); /* which made the last samples */
    double rise = last[METRIC_REWARD_MEAN] - first[METRIC_REWARD_MEAN];
    tap_ok(rise > 8 * error, "%s: brightness rises from %.4f to %.4f: %.1f standard errors",
           name, first[METRIC_REWARD_MEAN], last[METRIC_REWARD_MEAN], rise / error);
    tap_near(last[METRIC_REWARD_MEAN], MEAN + SLOPE * shift, 4 * error,
             "the last mean follows from the shift");
}

/* Gradients of the first two iterations, from AdamW's first moments; metric receives the
 * numbers of the second one. */
static inline void two_gradients(const char *dir, double gradient[2], double metric[METRICS])
{
    float m[2];
    for (int k = 0; k < 2; k++) {
        struct policy *p = open_policy(dir, k + 1);
        must(policy_slice(p, POLICY_ADAM_M, 0, 1, &m[k]));
        must(policy_metrics(p, metric));
        policy_close(p);
    }
    gradient[0] = (double)m[0] / 0.1;
    gradient[1] = ((double)m[1] - 0.9 * (double)m[0]) / 0.1;
}

#endif
