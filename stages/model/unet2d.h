/* UNet2DModel of the diffusers library: the unconditional or class-conditional U-Net of
 * DDPM (Ho et al. 2020), with the blocks DownBlock2D, AttnDownBlock2D, UpBlock2D,
 * AttnUpBlock2D and a mid block with or without attention. */
#ifndef SLUICE_STAGES_MODEL_UNET2D_H
#define SLUICE_STAGES_MODEL_UNET2D_H

#include "stages/model/kind.h"

#define UNET2D_LEVELS 8
#define UNET2D_LAYERS 16

struct unet2d_config {
    int64_t height, width; /* of a sample; 0 where the config names none */
    int64_t in_channels, out_channels;
    int64_t levels, layers;
    int64_t channels[UNET2D_LEVELS]; /* per level, from the top */
    bool down_attention[UNET2D_LEVELS], up_attention[UNET2D_LEVELS];
    bool mid_attention;
    int64_t head_dim; /* channels per attention head; 0: one head */
    int64_t groups, classes, labels, downsample_padding;
    double eps, mid_scale, freq_shift;
    bool center_input, flip_sin_to_cos;
};

/* Every key is known, every value supported, and all fit each other, or -1 with
 * ERR_INPUT naming path and key. Absent keys have the peer's defaults. */
int unet2d_config_read(const struct json *config, const char *path,
                       struct unet2d_config *c);

/* out [batch, dim]: the sinusoids of the timesteps, in float as the peer computes them.
 */
void unet2d_sinusoids(const struct unet2d_config *c, const float *timesteps,
                      int64_t batch, float *out);

extern const struct model_kind unet2d_kind;

#endif
