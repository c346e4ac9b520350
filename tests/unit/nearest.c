/* Nearest rows against plain loops, also where rows lie so close that float32 products
 * cannot tell them apart; the memorisation reward and its gradient; reference files. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/nearest.h"
#include "stages/reward/reference.h"
#include "tests/tap.h"

#include <unistd.h>

static double plain(const float *x, const float *r, int64_t width)
{
    double sum = 0;
    for (int64_t k = 0; k < width; k++)
        sum += ((double)x[k] - (double)r[k]) * ((double)x[k] - (double)r[k]);
    return sqrt(sum / (double)width);
}

/* Half of the rows lie around the samples at `spread`. */
static void compare(int64_t n, int64_t rows, int64_t width, float spread)
{
    float *x = mem_alloc(n * width, sizeof *x), *r = mem_alloc(rows * width, sizeof *r);
    struct nearest_hit *hit = mem_alloc(n, sizeof *hit);
    int64_t wrong = 0;
    rng_normal(rng_key(1, RNG_TEST, n, rows, width, 0), x, n * width);
    rng_normal(rng_key(1, RNG_TEST, n, rows, width, 1), r, rows * width);
    for (int64_t i = 0; i < rows / 2; i++)
        for (int64_t k = 0; k < width; k++)
            r[i * width + k] = x[(i % n) * width + k] + spread * r[i * width + k];
    struct nearest *s = nearest_create(r, rows, width);
    nearest_find(s, x, n, hit);
    for (int64_t i = 0; i < n; i++) {
        double first = INFINITY, second = INFINITY;
        int64_t row = -1;
        for (int64_t j = 0; j < rows; j++) {
            double d = plain(x + i * width, r + j * width, width);
            if (d < first) {
                second = first;
                first = d;
                row = j;
            } else if (d < second) {
                second = d;
            }
        }
        wrong += row != hit[i].row || first != hit[i].first || second != hit[i].second;
    }
    tap_ok(wrong == 0, "%lld samples, %lld rows of %lld, spread %g: %lld differ",
           (long long)n, (long long)rows, (long long)width, (double)spread,
           (long long)wrong);
    nearest_destroy(s);
    mem_free(hit);
    mem_free(r);
    mem_free(x);
}

static void *open_with(struct config *c, const struct coding *coding, const char *reference,
                       int64_t channels, int64_t width)
{
    void *ctx = NULL;
    char *set = text_new("reward.reference=%s", reference);
    const struct reward_scene s = {.channels = channels, .height = 1, .width = width,
                                   .coding = coding, .config = c};
    if (config_override(c, set) != 0)
        ERR_BUG("%s", err_text());
    mem_free(set);
    return reward_find("memorisation")->open(&s, &ctx) == 0 ? ctx : NULL;
}

static double score_one(void *ctx, const float *x, float *gradient, uint8_t *status)
{
    double v;
    struct reward_batch b = {.n = 1, .channels = 1, .height = 1, .width = 3, .sample = x,
                             .score = &v, .status = status, .gradient = gradient};
    if (reward_find("memorisation")->score(ctx, &b) != 0)
        ERR_BUG("%s", err_text());
    return v;
}

static void reward(struct config *c, const char *path)
{
    static const char rows[] = "1,2,4\n3,3,3\n9,9,9\n";
    struct coding coding = {.kind = CODING_SERIES, .mean = 1, .std = 2};
    float x[3] = {0, 0.5f, 1}, g[3];
    uint8_t status;
    if (file_write(path, rows, sizeof rows - 1) != 0)
        ERR_BUG("%s", err_text());
    void *ctx = open_with(c, &coding, path, 1, 3);
    if (ctx == NULL)
        ERR_BUG("%s", err_text());
    /* The rows are (0, .5, 1.5), (1, 1, 1), (4, 4, 4). */
    tap_near(score_one(ctx, x, g, &status), 0.5 / sqrt(3), 1e-12, "distance in coded units");
    tap_ok(g[0] == 0 && g[1] == 0 && fabs((double)g[2] + 1 / sqrt(3)) < 1e-7,
           "its gradient leads away from the nearest row");
    x[0] = 0.3f;
    score_one(ctx, x, g, &status);
    double worst = 0;
    for (int k = 0; k < 3; k++) {
        float keep = x[k], up = keep + 1e-3f, down = keep - 1e-3f;
        x[k] = up;
        double high = score_one(ctx, x, NULL, &status);
        x[k] = down;
        double low = score_one(ctx, x, NULL, &status);
        x[k] = keep;
        worst = fmax(worst, fabs((high - low) / ((double)up - (double)down) - (double)g[k]));
    }
    tap_ok(worst < 1e-5, "gradient and differences are %.2g apart", worst);
    x[0] = -20;
    tap_ok(score_one(ctx, x, g, &status) == 2 && g[0] == 0, "no more than the cap");
    x[0] = NAN;
    tap_ok(isnan(score_one(ctx, x, g, &status)) && status == REWARD_NON_FINITE && g[0] == 0,
           "a sample that is not finite has no score");
    reward_find("memorisation")->close(ctx);
    tap_ok(open_with(c, &coding, path, 1, 4) == NULL && err_code() == ERR_USAGE,
           "refused: %s", err_text());
    tap_ok(open_with(c, &coding, "", 1, 3) == NULL && err_code() == ERR_USAGE, "refused: %s",
           err_text());
}

static void texts(struct config *c, const char *path)
{
    static const char rows[] = "s,n\nACG,1\nTTT,2\n";
    struct coding coding = {0};
    struct dataset d;
    char *spec = text_new("%s:s", path);
    coding_set_alphabet(&coding, "ACGT");
    const struct reward_scene s = {.channels = 4, .height = 1, .width = 3,
                                   .coding = &coding, .config = c};
    if (file_write(path, rows, sizeof rows - 1) != 0)
        ERR_BUG("%s", err_text());
    int rc = reference_read(&s, "reward.reference", spec, 1, &d);
    tap_ok(rc == 0 && d.n == 1 && d.sample[0] == 1 && d.sample[1] == -1,
           "texts of a column, the first one");
    if (rc == 0)
        dataset_free(&d);
    tap_ok(reference_read(&s, "reward.reference", path, 0, &d) == -1, "refused: %s",
           err_text());
    mem_free(spec);
}

int main(void)
{
    char path[1100];
    struct config *c = schema_load(0, NULL);
    snprintf(path, sizeof path, "%s/nearest-%d.csv",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    config_override(c, "reward.distance_cap=2");
    compare(7, 300, 24, 1e-4f);
    compare(70, 40, 3072, 1e-3f);
    compare(3, 9, 5, 0);
    compare(1, 1, 1, 1);
    compare(65, 513, 300, 0.5f);
    reward(c, path);
    texts(c, path);
    unlink(path);
    config_destroy(c);
    tap_ok(mem_live() == 0, "all memory is freed");
    return tap_done();
}
