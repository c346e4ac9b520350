/* Samples in [-1, 1] to bytes, as the peer does it: x = clamp(x / 2 + 0.5, 0, 1), then
 * x * 255 rounded half to even. */
#ifndef SLUICE_STAGES_REWARD_PIXELS_H
#define SLUICE_STAGES_REWARD_PIXELS_H

#include <stdint.h>

/* sample [channels, height, width], channels 1 or 3 -> rgb [height, width, 3]. */
void pixels_from_sample(const float *sample, int64_t channels, int64_t height,
                        int64_t width, uint8_t *rgb);

#endif
