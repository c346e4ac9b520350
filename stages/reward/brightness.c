/* The sum is in double and in the order of the elements. */
#include "stages/reward/brightness.h"

#include <math.h>

static int score(void *ctx, const struct reward_batch *b)
{
    int64_t size = b->channels * b->height * b->width;
    (void)ctx;
    for (int64_t i = 0; i < b->n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < size; k++)
            sum += (double)b->sample[i * size + k];
        b->score[i] = sum / (double)size;
        for (int64_t k = 0; k < size && b->gradient != NULL; k++)
            b->gradient[i * size + k] = isfinite(sum) ? 1.0f / (float)size : 0;
        b->status[i] = isfinite(sum) ? REWARD_OK : REWARD_NON_FINITE;
        if (b->status[i] != REWARD_OK)
            b->score[i] = (double)NAN;
    }
    return 0;
}

const struct reward brightness = {
    .name = "brightness",
    .help = "mean of all elements of the sample (a picture's are in [-1, 1])",
    .units = "1",
    .deterministic = 1,
    .differentiable = 1,
    .score = score,
};
