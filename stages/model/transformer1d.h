/* SequenceTransformer: a transformer over the places of a sample, conditioned by adaptive
 * layer norm with zero-initialised gates (adaLN-Zero; Peebles & Xie 2023, section 3.2),
 * for series, one-hot strings and small pictures.
 *
 * A sample [C, H, W] is a sequence of T = H * W tokens of C numbers; a series of length T
 * is [C, 1, T]. With c the condition's vector, per block
 *
 *   (b1, s1, g1, b2, s2, g2) = modulation(c)
 *   x = x + g1 * to_out(attention(norm(x) (1 + s1) + b1))
 *   x = x + g2 * mlp.2(gelu(mlp.0(norm(x) (1 + s2) + b2)))
 *
 * between x = in(tokens) + positions and out.linear(norm(x) (1 + s) + b).
 *
 * config.json: "_class_name": "SequenceTransformer" and
 *   in_channels          channels C of a sample (needed)
 *   sample_size          T as [1, T], or [H, W], or one number for both (needed)
 *   hidden_size          numbers per token, even, a multiple of the heads (128)
 *   num_layers           blocks (4)
 *   num_attention_heads  (4)
 *   mlp_ratio            width of the MLP's inside over hidden_size (4)
 *   num_class_embeds, null_class, num_label_embeds   see condition.h (none)
 *   data                 see io/coding.h (none)
 * The weights file has in, positions [T, hidden], time_embedding.linear_1 and .linear_2,
 * class_embedding.weight, blocks.N.{modulation, to_q, to_k, to_v, to_out, mlp.0, mlp.2},
 * out.modulation and out.linear, each .weight [out, in] and .bias. */
#ifndef SLUICE_STAGES_MODEL_TRANSFORMER1D_H
#define SLUICE_STAGES_MODEL_TRANSFORMER1D_H

#include "stages/model/kind.h"

extern const struct model_kind transformer1d_kind;

#endif
