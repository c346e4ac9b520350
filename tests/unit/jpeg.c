/* JPEG bytes and rewards against Pillow's, byte by byte. */
#include "io/image.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

static const struct st_tensor *sibling(const struct st_file *f, const char *prefix,
                                       const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    const struct st_tensor *t = st_find(f, full);
    if (t == NULL)
        ERR_BUG("no tensor %s", full);
    return t;
}

static int same_bytes(const struct st_file *f, const struct st_tensor *rgb)
{
    const char *name = strchr(rgb->name, '.') + 1;
    const struct st_tensor *want = sibling(f, "jpeg", name);
    unsigned char *bytes;
    int64_t len;
    double kb;
    if (image_jpeg(rgb->data, rgb->dim[0], rgb->dim[1], 95, &bytes, &len) != 0)
        return 0;
    st_to_f64(sibling(f, "kB", name), &kb);
    int same = len == want->count && memcmp(bytes, want->data, (size_t)len) == 0 &&
               (double)len / 1000 == kb;
    mem_free(bytes);
    return same;
}

static int open_for(const struct reward *r, int64_t channels, int64_t size, void **ctx)
{
    const struct reward_scene scene = {
        .channels = channels, .height = size, .width = size};
    return r->open(&scene, ctx);
}

static void files(const struct st_file *f)
{
    int64_t n = 0, wrong = 0;
    for (int64_t i = 0; i < st_number(f); i++) {
        const struct st_tensor *t = st_at(f, i);
        if (strncmp(t->name, "rgb.", 4) != 0)
            continue;
        n++;
        if (!same_bytes(f, t)) {
            wrong++;
            printf("# %s differs\n", t->name);
        }
    }
    tap_ok(n == 22 && wrong == 0, "%lld pictures, %lld with other bytes", (long long)n,
           (long long)wrong);
}

/* The golden floats are in [0, 1], samples in [-1, 1]: the way there and back rounds,
 * so that a pixel half-way between two bytes may fall on the other side. */
static void rewards(const struct st_file *f)
{
    const struct st_tensor *images = st_find(f, "float.images");
    const struct st_tensor *u8 = st_find(f, "float.u8");
    const struct reward *r = reward_find("jpeg_compressibility");
    float *sample = mem_alloc(images->count, sizeof *sample);
    uint8_t *rgb = mem_alloc(images->count, 1), status[4];
    double score[4], want[4];
    int64_t wrong = 0, near = 0, plane = 32 * 32;
    void *ctx;
    st_to_f32(images, sample);
    st_to_f64(st_find(f, "float.reward"), want);
    for (int64_t i = 0; i < images->count; i++)
        sample[i] = 2 * sample[i] - 1;
    for (int64_t i = 0; i < 4; i++) {
        pixels_from_sample(sample + i * 3 * plane, 3, 32, 32, rgb);
        const uint8_t *peer = (const uint8_t *)u8->data + i * 3 * plane;
        for (int64_t k = 0; k < 3 * plane; k++) {
            int apart = abs(rgb[k] - peer[k % 3 * plane + k / 3]);
            near += apart == 1;
            wrong += apart > 1;
        }
    }
    tap_ok(wrong == 0 && near <= 4, "pixels of %lld: %lld one apart, %lld more",
           (long long)images->count, (long long)near, (long long)wrong);
    if (open_for(r, 3, 32, &ctx) != 0)
        ERR_BUG("%s", err_text());
    struct reward_batch b = {.n = 4,
                             .channels = 3,
                             .height = 32,
                             .width = 32,
                             .sample = sample,
                             .score = score,
                             .status = status};
    tap_ok(r->score(ctx, &b) == 0, "score");
    for (int i = 0; i < 4; i++)
        tap_ok(score[i] == want[i] && status[i] == REWARD_OK,
               "reward %d: %.3f, peer %.3f", i, score[i], want[i]);
    r->close(ctx);
    mem_free(sample);
    mem_free(rgb);
}

static void statuses(void)
{
    const struct reward *small = reward_find("jpeg_compressibility");
    const struct reward *large = reward_find("jpeg_incompressibility");
    float sample[3][64];
    uint8_t status[3];
    double minus[3], plus[3];
    void *ctx;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 64; k++)
            sample[i][k] = sinf((float)(k * (i + 1)));
    sample[1][63] = NAN;
    struct reward_batch b = {.n = 3,
                             .channels = 1,
                             .height = 8,
                             .width = 8,
                             .sample = sample[0],
                             .score = minus,
                             .status = status};
    if (open_for(small, 1, 8, &ctx) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(small->score(ctx, &b) == 0 && status[1] == REWARD_NON_FINITE &&
               isnan(minus[1]) && status[0] == REWARD_OK && status[2] == REWARD_OK,
           "a NaN sample is %s", reward_status_name(REWARD_NON_FINITE));
    b.score = plus;
    sample[1][63] = INFINITY;
    tap_ok(large->score(ctx, &b) == 0 && status[1] == REWARD_NON_FINITE &&
               isnan(plus[1]),
           "an infinite sample too");
    tap_ok(plus[0] == -minus[0] && plus[2] == -minus[2] && plus[0] > 0.5,
           "one is the other's negative");
    small->close(ctx);
    tap_ok(open_for(small, 4, 8, &ctx) == -1 && err_code() == ERR_USAGE, "%s",
           err_text());
    err_clear();
    tap_ok(reward_find("jpeg_compressability") == NULL && err_code() == ERR_USAGE, "%s",
           err_text());
    err_clear();
}

static void grey_and_rounding(void)
{
    /* 0.5 / 255 and 1.5 / 255 round to the even byte; out of range is clamped. */
    float v[4] = {-1, 1, -3, 0};
    uint8_t rgb[12];
    pixels_from_sample(v, 1, 2, 2, rgb);
    tap_ok(rgb[0] == 0 && rgb[3] == 255 && rgb[6] == 0 && rgb[9] == 128 &&
               rgb[9] == rgb[10] && rgb[10] == rgb[11],
           "grey pixels: 0, 255, 0, %d (127.5 to even)", rgb[9]);
}

int main(void)
{
    statuses();
    grey_and_rounding();
    const char *path = tap_shared("goldens/jpeg/jpeg.safetensors");
    struct st_file *f = path != NULL ? st_open(path) : NULL;
    if (f != NULL) {
        files(f);
        rewards(f);
    } else {
        tap_skip("Pillow's bytes", "the reference numbers are absent");
    }
    st_close(f);
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}
