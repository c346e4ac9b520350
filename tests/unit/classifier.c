/* Classifiers: gradients of the reward and of the loss against differences, temperatures
 * that are known, folders, damage to samples. */
#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/classifier/calibrate.h"
#include "stages/classifier/classifier.h"
#include "stages/classifier/corrupt.h"
#include "stages/nn/backend.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

#include <mpi.h>
#include <unistd.h>

static char folder[256];

/* Random weights of the heads too, so that slopes are not zero. */
static struct classifier *make(bool convolutional, const int64_t dim[3], int heads)
{
    static const int64_t classes[2] = {3, 2};
    const struct classifier_design d = {.convolutional = convolutional,
                                        .dim = {dim[0], dim[1], dim[2]},
                                        .hidden = 8,
                                        .layers = 2,
                                        .heads = heads,
                                        .classes = classes};
    struct classifier *c = classifier_new(&d, 7);
    struct param_set *s = classifier_params(c);
    for (int64_t i = 0; i < param_number(s); i++) {
        struct param *p = param_at(s, i);
        if (strncmp(p->name, "heads", 5) == 0)
            rng_detinit(p->name, 3, p->t.nd, p->t.dim, p->t.data);
    }
    param_touch(s);
    for (int h = 0; h < heads; h++)
        classifier_temperature(c)[h] = 1.5 - 0.7 * h;
    return c;
}

static struct config *configure(const char *weights)
{
    struct config *c = config_create(schema);
    char *path = text_new("reward.classifier=%s", folder);
    config_override(c, path);
    config_override(c, "model.backend=reference");
    if (weights != NULL)
        config_override(c, weights);
    mem_free(path);
    return c;
}

static void fill(float *x, int64_t n, int64_t seed)
{
    rng_normal(rng_key(1, RNG_TEST, seed, 0, 0, 0), x, n);
}

/* d reward / d sample along random directions against central differences. */
static void test_gradient(bool convolutional, const int64_t dim[3])
{
    enum { N = 3, MOST = 200 };
    const struct reward *r = reward_find("classifier");
    const int64_t each = dim[0] * dim[1] * dim[2];
    const int64_t label[N] = {5, 0, 3 + 6}; /* the last counts modulo 6 */
    struct classifier *made = make(convolutional, dim, 2);
    static const struct coding none;
    tap_ok(classifier_save(made, folder) == 0, "%s is written", classifier_kind(made));
    struct config *c = configure("reward.label_weights=2,0.5");
    const struct reward_scene scene = {.channels = dim[0],
                                       .height = dim[1],
                                       .width = dim[2],
                                       .classes = 12,
                                       .coding = &none,
                                       .config = c};
    float x[N * MOST], moved[N * MOST], gradient[N * MOST], along[N * MOST];
    double score[N], up[N], down[N], worst = 0;
    uint8_t status[N];
    void *ctx = NULL;
    struct reward_batch b = {.n = N, .channels = dim[0], .height = dim[1], .width = dim[2],
                             .sample = x, .label = label, .score = score,
                             .status = status, .gradient = gradient};
    fill(x, N * each, 1);
    if (!tap_ok(r->open(&scene, &ctx) == 0 && r->score(ctx, &b) == 0, "scores: %s",
                err_text()))
        return;
    const double h = 1e-2;
    b.sample = moved;
    b.gradient = NULL;
    for (int64_t trial = 0; trial < 4; trial++) {
        fill(along, N * each, 10 + trial);
        for (int sign = 1; sign >= -1; sign -= 2) {
            for (int64_t i = 0; i < N * each; i++)
                moved[i] = x[i] + (float)(sign * h) * along[i];
            b.score = sign > 0 ? up : down;
            r->score(ctx, &b);
        }
        for (int64_t i = 0; i < N; i++) {
            double dot = 0;
            for (int64_t k = i * each; k < (i + 1) * each; k++)
                dot += (double)gradient[k] * (double)along[k];
            worst = fmax(worst, fabs((up[i] - down[i]) / (2 * h) - dot));
        }
    }
    tap_near(worst, 0, 4e-3, "gradient of the reward against differences");
    /* joint label 5 = (2, 1): heads of 3 and 2 classes */
    struct tape *t = tape_create(backend_get("reference", 1));
    tape_begin(t, false);
    struct tensor *out = classifier_forward(made, t, 1, x, NULL);
    double want = 2 * classifier_log_prob(out->data, 3, 1.5, 2, 1, NULL) +
                  0.5 * classifier_log_prob(out->data + 3, 2, 0.8, 1, 1, NULL);
    tap_near(score[0], want, 1e-12, "weighted sum of the heads' log-probabilities");
    tape_destroy(t);
    r->close(ctx);
    config_destroy(c);
    classifier_destroy(made);
}

/* d loss / d parameters against central differences. */
static void test_parameters(bool convolutional, const int64_t dim[3])
{
    struct classifier *c = make(convolutional, dim, 1);
    struct param_set *s = classifier_params(c);
    struct tape *t = tape_create(backend_get("reference", 1));
    const int64_t n = param_total(s);
    float x[200], slope[3], *along = mem_alloc(n, sizeof *along);
    float *start = mem_alloc(n, sizeof *start);
    double value[2], dot = 0;
    fill(x, dim[0] * dim[1] * dim[2], 5);
    fill(along, n, 6);
    memcpy(start, param_values(s), (size_t)n * sizeof *start);
    tape_begin(t, true);
    struct tensor *out = classifier_forward(c, t, 1, x, NULL);
    classifier_log_prob(out->data, 3, 1, 1, 1, slope);
    tap_ok(tape_backward(t, out, slope) == 0, "backward");
    for (int64_t i = 0; i < n; i++)
        dot += (double)param_grads(s)[i] * (double)along[i];
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n; i++)
            param_values(s)[i] = start[i] + (k == 0 ? 1e-3f : -1e-3f) * along[i];
        param_touch(s);
        tape_begin(t, false);
        out = classifier_forward(c, t, 1, x, NULL);
        value[k] = classifier_log_prob(out->data, 3, 1, 1, 1, NULL);
    }
    tap_near((value[0] - value[1]) / 2e-3, dot, 5e-3 * fmax(1, fabs(dot)),
             "gradient of the parameters against differences");
    mem_free(along);
    mem_free(start);
    tape_destroy(t);
    classifier_destroy(c);
}

/* Labels drawn with softmax(z); logits handed over as T0 z: the temperature is T0, and the
 * slope of the loss is what differences give. */
static void test_calibration(double known)
{
    enum { N = 20000, K = 3 };
    float *z = mem_alloc(N * K, sizeof *z);
    int64_t *label = mem_alloc(N, sizeof *label);
    rng_normal(rng_key(2, RNG_TEST, 0, 0, 0, 0), z, N * K);
    for (int64_t i = 0; i < N; i++) {
        double u = rng_uniform(rng_key(3, RNG_TEST, 0, 0, 0, 0), i);
        for (label[i] = 0; label[i] < K - 1; label[i]++) {
            u -= exp(classifier_log_prob(z + i * K, K, 1, label[i], 1, NULL));
            if (u < 0)
                break;
        }
        for (int64_t k = i * K; k < (i + 1) * K; k++)
            z[k] *= (float)known;
    }
    const struct calibrate_set set = {.n = N, .k = K, .stride = K, .logit = z,
                                      .label = label};
    double found = 0, slope, ignored;
    calibrate_nll(&set, 1.3, &slope);
    double up = calibrate_nll(&set, 1.3 * exp(1e-5), &ignored),
           down = calibrate_nll(&set, 1.3 * exp(-1e-5), &ignored);
    tap_near((up - down) / 2e-5, slope, 1e-7, "slope of the loss by log temperature");
    tap_ok(calibrate_temperature(&set, &found) == 0, "calibrates");
    calibrate_nll(&set, found, &slope);
    tap_near(slope, 0, 1e-8, "the slope is zero there");
    /* standard error of log T: 1 / sqrt(N Var) is about 0.011 */
    tap_near(found / known, 1, 0.04, "a known temperature is found again");
    struct calibrate_quality before = calibrate_measure(&set, 1),
                             after = calibrate_measure(&set, found);
    tap_ok(after.nll < before.nll && after.error < 0.02 &&
               after.accuracy == before.accuracy,
           "calibrated: nll %.4f from %.4f, error %.4f from %.4f", after.nll, before.nll,
           after.error, before.error);
    mem_free(z);
    mem_free(label);
}

static void test_measure(void)
{
    /* two items, both sure of class 0 with p = sigmoid(2): one is right */
    const float logit[4] = {2, 0, 2, 0};
    const int64_t label[2] = {0, 1};
    const struct calibrate_set set = {.n = 2, .k = 2, .stride = 2, .logit = logit,
                                      .label = label};
    const double p = 1 / (1 + exp(-2));
    struct calibrate_quality q = calibrate_measure(&set, 1);
    tap_near(q.accuracy, 0.5, 0, "accuracy");
    tap_near(q.nll, -0.5 * (log(p) + log(1 - p)), 1e-14, "nll");
    tap_near(q.error, p - 0.5, 1e-14, "calibration error");
}

static void test_folder(void)
{
    const int64_t dim[3] = {1, 1, 5};
    struct classifier *made = make(false, dim, 2);
    char *weights = text_new("%s/classifier.safetensors", folder), *bytes;
    int64_t len;
    classifier_save(made, folder);
    struct classifier *again = classifier_open(folder, true);
    tap_ok(again != NULL && classifier_heads(again) == 2 &&
               classifier_temperature(again)[1] == classifier_temperature(made)[1] &&
               memcmp(param_values(classifier_params(again)),
                      param_values(classifier_params(made)),
                      (size_t)param_total(classifier_params(made)) * sizeof(float)) == 0,
           "a folder gives back the same bits");
    tap_ok(classifier_part(made, 5, 0) == 2 && classifier_part(made, 5, 1) == 1,
           "joint label 5 of 3 x 2 is (2, 1)");
    if (file_read(weights, 1 << 20, &bytes, &len) == 0) {
        bytes[len - 2] ^= 1;
        file_write(weights, bytes, len);
        mem_free(bytes);
    }
    tap_ok(classifier_open(folder, false) == NULL, "refuses: %s", err_text());
    classifier_destroy(made);
    classifier_destroy(again);
    mem_free(weights);
}

static void test_corrupt(void)
{
    const int64_t picture[3] = {3, 12, 10}, series[3] = {1, 1, 24};
    float x[360], y[360], z[360];
    int changed = 0, same = 0, finite = 1;
    for (int64_t i = 0; i < 360; i++)
        x[i] = (float)sin(0.3 * (double)i);
    for (uint64_t key = 0; key < 40; key++) {
        const int64_t *dim = key % 2 == 0 ? picture : series;
        const size_t size = (size_t)(dim[0] * dim[1] * dim[2]) * sizeof *x;
        corrupt_sample(dim, rng_mix64(key), x, y);
        corrupt_sample(dim, rng_mix64(key), x, z);
        changed += memcmp(x, y, size) != 0;
        same += memcmp(y, z, size) == 0;
        for (size_t i = 0; i < size / sizeof *y; i++)
            finite = finite && isfinite(y[i]) && fabs((double)y[i]) < 8;
    }
    tap_ok(changed == 40 && same == 40 && finite, "damage: changes, keyed, and bounded");
}

int main(int argc, char **argv)
{
    const int64_t vector[3] = {2, 1, 7}, picture[3] = {3, 8, 6};
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/classifier.%ld", tmp != NULL ? tmp : "/tmp",
             (long)getpid());
    MPI_Init(&argc, &argv);
    test_gradient(false, vector);
    test_gradient(true, picture);
    test_parameters(false, vector);
    test_parameters(true, picture);
    test_calibration(2.5);
    test_calibration(0.4);
    test_measure();
    test_folder();
    test_corrupt();
    char *remove_it = text_new("%s/config.json", folder);
    unlink(remove_it);
    mem_free(remove_it);
    remove_it = text_new("%s/classifier.safetensors", folder);
    unlink(remove_it);
    mem_free(remove_it);
    rmdir(folder);
    MPI_Finalize();
    return tap_done();
}
