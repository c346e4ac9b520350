/* DiffusionNFT: fine-tuning on noised final samples with an implicit negative policy
 * (Zheng et al. 2025; METHODS.md). */
#ifndef SLUICE_STAGES_ALGO_NFT_H
#define SLUICE_STAGES_ALGO_NFT_H

#include "stages/algo/algo.h"

struct nft_options {
    double beta;    /* how far the positive policy lies from the old one */
    bool batch_std; /* deviation of the iteration's rewards instead of the prompt's */
};

/* A noised sample and how the network's output says what the clean one is:
 * x_0 = from_x x + from_o o. Arrays are [d]. */
struct nft_point {
    int64_t d;
    double from_x, from_o;
    const float *x, *clean, *old, *o;
};

/* r L+ / beta + (1 - r) L- / beta of a point, with beta in (0, 1] and r in [0, 1]:
 * L = mean of (x_0 hat - clean)^2 / W, W = mean of |x_0 hat - clean| (at least 1e-5, no
 * gradient), with x_0 hat of the outputs (1 - beta) old + beta o and (1 + beta) old -
 * beta o. grad[d] += scale * its gradient by o. */
double nft_loss(const struct nft_point *p, double beta, double r, double scale,
                float *grad);

extern const struct algo nft;

#endif
