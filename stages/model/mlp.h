/* MLPDenoiser: residual blocks over a sample as one vector, conditioned by adaptive layer
 * norm with zero-initialised gates (the block of Li et al. 2024, "Autoregressive image
 * generation without vector quantization", section 3.3; adaLN-Zero is Peebles & Xie 2023).
 *
 * A sample [C, H, W] is a vector of C * H * W numbers. With c the condition's vector,
 *
 *   (b, s, g) = modulation(c),   x = x + g * mlp.2(silu(mlp.0(norm(x) (1 + s) + b)))
 *
 * per block, between x = in(vector) and out.linear(norm(x) (1 + s) + b).
 *
 * config.json: "_class_name": "MLPDenoiser" and
 *   in_channels          channels C of a sample (needed)
 *   sample_size          [H, W], or one number for both; a vector of C: 1 (needed)
 *   hidden_size          numbers in a block, even (128)
 *   num_layers           blocks (3)
 *   mlp_ratio            width of a block's inside over hidden_size (1)
 *   num_class_embeds, null_class, num_label_embeds   see condition.h (none)
 *   data                 see io/coding.h (none)
 * The weights file has in, time_embedding.linear_1 and .linear_2, class_embedding.weight,
 * blocks.N.{modulation, mlp.0, mlp.2}, out.modulation and out.linear, each .weight
 * [out, in] and .bias. */
#ifndef SLUICE_STAGES_MODEL_MLP_H
#define SLUICE_STAGES_MODEL_MLP_H

#include "stages/model/kind.h"

extern const struct model_kind mlp_kind;

#endif
