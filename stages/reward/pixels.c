/* Samples to bytes in the peer's float arithmetic. */
#include "stages/reward/pixels.h"

#include "io/sys/err.h"

#include <math.h>

void pixels_from_sample(const float *sample, int64_t channels, int64_t height,
                        int64_t width, uint8_t *rgb)
{
    ERR_BUG_IF(channels != 1 && channels != 3);
    int64_t plane = height * width;
    for (int64_t i = 0; i < plane; i++)
        for (int64_t k = 0; k < 3; k++) {
            float v = sample[(channels == 3 ? k * plane : 0) + i] / 2 + 0.5f;
            v = v > 0 ? v : 0; /* NaN too */
            v = v < 1 ? v : 1;
            rgb[3 * i + k] = (uint8_t)rintf(v * 255);
        }
}
