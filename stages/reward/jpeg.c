/* The reward is a count of bytes divided by 1000, so it is the peer's number exactly.
 */
#include "stages/reward/jpeg.h"

#include "io/image.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"

#include <math.h>

#define QUALITY 95

static int open_jpeg(const struct reward_scene *s, void **ctx)
{
    if (s->channels != 1 && s->channels != 3)
        return err_set(
            ERR_USAGE,
            "JPEG rewards need pictures of 1 or 3 channels, samples have %lld",
            (long long)s->channels);
    if (s->height < 1 || s->width < 1 || s->height > 65500 || s->width > 65500)
        return err_set(ERR_USAGE, "JPEG rewards cannot take pictures of %lld x %lld",
                       (long long)s->height, (long long)s->width);
    *ctx = mem_alloc(s->height * s->width, 3); /* one picture's bytes */
    return 0;
}

static void close_jpeg(void *ctx)
{
    mem_free(ctx);
}

static int all_finite(const float *v, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i] * 0.0f; /* NaN from any infinity or NaN */
    return sum == 0;
}

static int score(void *ctx, const struct reward_batch *b, double sign)
{
    int64_t size = b->channels * b->height * b->width;
    for (int64_t i = 0; i < b->n; i++) {
        const float *sample = b->sample + i * size;
        unsigned char *bytes;
        int64_t len;
        b->score[i] = (double)NAN;
        if (!all_finite(sample, size)) {
            b->status[i] = REWARD_NON_FINITE;
            continue;
        }
        pixels_from_sample(sample, b->channels, b->height, b->width, ctx);
        if (image_jpeg(ctx, b->height, b->width, QUALITY, &bytes, &len) != 0) {
            err_clear();
            b->status[i] = REWARD_FAILED;
            continue;
        }
        mem_free(bytes);
        b->score[i] = sign * ((double)len / 1000);
        b->status[i] = REWARD_OK;
    }
    return 0;
}

static int score_small(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, -1);
}

static int score_large(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, 1);
}

const struct reward jpeg_compressibility = {
    .name = "jpeg_compressibility",
    .help = "minus the size of the picture's JPEG file at quality 95",
    .units = "kB",
    .deterministic = 1,
    .open = open_jpeg,
    .close = close_jpeg,
    .score = score_small,
};

const struct reward jpeg_incompressibility = {
    .name = "jpeg_incompressibility",
    .help = "size of the picture's JPEG file at quality 95",
    .units = "kB",
    .deterministic = 1,
    .open = open_jpeg,
    .close = close_jpeg,
    .score = score_large,
};
