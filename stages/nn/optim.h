/* Optimizers over slices of the flat parameter vector: pure functions, no communication
 * (the canonical gradient tree and the slicing are in nn/reduce.h). */
#ifndef SLUICE_STAGES_NN_OPTIM_H
#define SLUICE_STAGES_NN_OPTIM_H

#include <stdint.h>

struct adamw {
    double lr, beta1, beta2, eps, weight_decay;
};

/* One AdamW step on n values (Loshchilov & Hutter 2019; torch.optim.AdamW): step counts
 * from 1; g is multiplied by grad_scale first (gradient clipping). Arithmetic in float
 * with bias corrections from double, as the peer's. */
void optim_adamw(const struct adamw *o, int64_t step, double grad_scale, const float *g,
                 float *theta, float *m, float *v, int64_t n);

/* ema = d * ema + (1 - d) * theta. */
void optim_ema(double decay, const float *theta, float *ema, int64_t n);

/* The decay at update number s (from 1): min(decay, (1 + s) / (10 + s)) with warm-up. */
double optim_ema_decay(double decay, int64_t s, int warmup);

/* Scale for a global norm limit: min(1, limit / (norm + 1e-6)); limit <= 0: 1. */
double optim_clip_scale(double limit, double norm);

#endif
