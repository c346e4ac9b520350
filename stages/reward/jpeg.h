/* Size of a sample's JPEG file in kilobytes (1000 bytes):
 * incompressibility is the size, compressibility its negative. */
#ifndef SLUICE_STAGES_REWARD_JPEG_H
#define SLUICE_STAGES_REWARD_JPEG_H

#include "stages/reward/reward.h"

extern const struct reward jpeg_compressibility, jpeg_incompressibility;

#endif
