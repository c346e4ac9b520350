/* Corrupted copies of samples, the second class of a corruption detector. */
#ifndef SLUICE_STAGES_CLASSIFIER_CORRUPT_H
#define SLUICE_STAGES_CLASSIFIER_CORRUPT_H

#include <stdint.h>

/* y <- a corrupted x; both [C, H, W] by dim. Pictures (height above 1) get noise, a blur, an
 * erased block, or block-wise cosine transforms that are rounded coarsely, as JPEG does;
 * series noise, or spikes. Kind and strength follow from key; the same key gives the same
 * bits. */
void corrupt_sample(const int64_t dim[3], uint64_t key, const float *x, float *y);

#endif
