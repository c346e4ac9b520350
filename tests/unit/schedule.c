/* Noise schedules against the peer's tables, step lists and forward process, bit by
 * bit. */
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/diffusion/schedule.h"
#include "tests/tap.h"

#include <unistd.h>

static const char *const beta_name[] = {"linear", "scaled_linear", "squaredcos_cap_v2"};
static const char *const spacing_name[] = {"leading", "trailing", "linspace"};

static struct schedule default_schedule(void)
{
    struct schedule s;
    if (schedule_read(&s, NULL) != 0)
        ERR_BUG("%s", err_text());
    return s;
}

static int64_t differing(const struct st_file *f, const char *name, const float *got)
{
    const struct st_tensor *t = st_find(f, name);
    int64_t bad = 0;
    if (t == NULL)
        return -1;
    float *want = mem_alloc(t->count, sizeof *want);
    st_to_f32(t, want);
    for (int64_t i = 0; i < t->count; i++)
        bad += got[i] != want[i];
    mem_free(want);
    return bad;
}

static void tables(const struct st_file *f)
{
    struct schedule s = default_schedule();
    for (int b = 0; b < 3; b++)
        for (int zero = 0; zero < 2; zero++) {
            char name[96];
            s.beta = (enum schedule_beta)b;
            s.beta_start = b == BETA_SCALED_LINEAR ? 0.00085 : 1e-4;
            s.beta_end = b == BETA_SCALED_LINEAR ? 0.012 : 0.02;
            s.zero_snr = zero;
            tap_ok(schedule_build(&s) == 0, "build %s", beta_name[b]);
            snprintf(name, sizeof name, "betas%s.%s", zero ? "_zero_snr" : "",
                     beta_name[b]);
            int64_t bad = differing(f, name, s.betas);
            tap_ok(bad == 0, "%s: %lld of 1000 differ", name, (long long)bad);
            snprintf(name, sizeof name, "alphas_cumprod%s.%s", zero ? "_zero_snr" : "",
                     beta_name[b]);
            bad = differing(f, name, s.alpha_bar);
            tap_ok(bad == 0, "%s: %lld of 1000 differ", name, (long long)bad);
        }
    schedule_free(&s);
}

static void lists(const struct st_file *f)
{
    struct schedule s = default_schedule();
    int64_t tested = 0, wrong = 0, t[1000], want[1000];
    for (int64_t i = 0; i < st_number(f); i++) {
        const struct st_tensor *e = st_at(f, i);
        char word[32];
        long long offset, steps;
        if (sscanf(e->name, "timesteps.%31[a-z].off%lld.S%lld", word, &offset,
                   &steps) != 3)
            continue;
        enum schedule_spacing k = SPACING_LEADING;
        while (k < SPACING_LINSPACE && strcmp(word, spacing_name[k]) != 0)
            k++;
        s.steps_offset = offset;
        schedule_timesteps(&s, k, steps, t);
        st_to_i64(e, want);
        tested++;
        wrong += e->count != steps || memcmp(t, want, (size_t)steps * sizeof *t) != 0;
    }
    tap_ok(tested > 50 && wrong == 0, "%lld step lists, %lld wrong", (long long)tested,
           (long long)wrong);
    schedule_free(&s);
}

/* Known values. */
static void spots(void)
{
    struct schedule s = default_schedule();
    tap_near(s.alpha_bar[500], 0.0777966584, 1e-7, "linear abar[500]");
    s.beta = BETA_SCALED_LINEAR;
    s.beta_start = 0.00085;
    s.beta_end = 0.012;
    schedule_build(&s);
    tap_near(s.alpha_bar[0], 0.99915, 1e-7, "scaled_linear abar[0]");
    tap_near(s.alpha_bar[981], 0.0057755001, 2e-8, "scaled_linear abar[981]");
    s.zero_snr = true;
    schedule_build(&s);
    tap_near(s.alpha_bar[500], 0.24101878, 1e-6, "zero-SNR abar[500]");
    tap_ok(s.alpha_bar[999] == 0, "zero-SNR abar[999] is 0");
    schedule_free(&s);
}

static void noise_targets(void)
{
    struct schedule s = default_schedule();
    float x0[2] = {0.5f, -1}, eps[2] = {0.25f, 2}, xt[2], target[2];
    double a = sqrt((double)s.alpha_bar[300]), b = sqrt(1 - (double)s.alpha_bar[300]);
    s.prediction = PREDICT_V;
    schedule_add_noise(&s, 300, x0, eps, xt, target, 2);
    tap_near(xt[1], -a + 2 * b, 1e-6, "x_t");
    tap_near(target[1], 2 * a + b, 1e-6, "v target");
    s.prediction = PREDICT_SAMPLE;
    schedule_add_noise(&s, 300, x0, eps, xt, target, 2);
    tap_ok(target[0] == x0[0] && target[1] == x0[1], "sample target");
    schedule_free(&s);
}

static int read_text(struct schedule *s, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/schedule-%ld.json", (long)getpid());
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    int rc = schedule_read(s, path);
    remove(path);
    return rc;
}

static void refused(const char *text, const char *word)
{
    struct schedule s;
    tap_ok(read_text(&s, text) == -1 && err_code() == ERR_INPUT &&
               strstr(err_text(), word) != NULL,
           "%s is refused: %s", text, err_text());
    err_clear();
}

static void files(void)
{
    struct schedule s;
    if (tap_ok(read_text(&s, "{\"_class_name\": \"PNDMScheduler\", \"beta_end\": 0.012,"
                             "\"beta_start\": 0.00085, \"beta_schedule\": "
                             "\"scaled_linear\", \"clip_sample\": false, "
                             "\"set_alpha_to_one\": false, \"steps_offset\": 1, "
                             "\"trained_betas\": null, \"skip_prk_steps\": true}") == 0,
               "Stable Diffusion's file is read")) {
        tap_ok(s.beta == BETA_SCALED_LINEAR && !s.clip_sample && !s.set_alpha_to_one &&
                   s.steps_offset == 1 && s.spacing == SPACING_LEADING,
               "its fields");
        tap_ok(strstr(s.json, "skip_prk_steps") != NULL, "its text is kept");
        schedule_free(&s);
    }
    refused("{\"variance_type\": \"learned_range\"}", "learned_range");
    refused("{\"variance_type\": \"fixed_large_log\"}", "fixed_large_log");
    refused("{\"beta_schedule\": \"laplace\"}", "laplace");
    refused("{\"prediction_type\": \"flow\"}", "flow");
    refused("{\"trained_betas\": [0.1]}", "trained_betas");
    refused("{\"num_train_timesteps\": 0}", "num_train_timesteps");
    refused("{\"num_train_timesteps\": 1e9}", "num_train_timesteps");
    refused("{\"beta_end\": 1}", "beta_end");
    refused("{\"clip_sample\": 3}", "clip_sample");
    refused("[1]", "object");
    tap_ok(schedule_read(&s, "/nonexistent/scheduler_config.json") == -1,
           "a missing file is an error");
}

int main(void)
{
    spots();
    noise_targets();
    files();
    const char *path = tap_shared("goldens/ddim/schedules.safetensors");
    if (path == NULL) {
        tap_skip("tables", "the reference numbers are absent");
        return tap_done();
    }
    struct st_file *f = st_open(path);
    if (tap_ok(f != NULL, "open %s", path)) {
        tables(f);
        lists(f);
        st_close(f);
    }
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}
