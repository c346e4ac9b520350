/* Convolutions by oneDNN, in float32 and, where the processor has it, bfloat16. */
#ifndef SLUICE_STAGES_NN_ONEDNN_H
#define SLUICE_STAGES_NN_ONEDNN_H

#include "stages/nn/kernels.h"

/* To be called once, before the others. */
void onednn_open(int threads);
bool onednn_has_bf16(void); /* by a matrix unit (AMX) */
void onednn_describe(char *buf, size_t size);

/* As in struct backend. */
void onednn_conv(const struct conv_args *a);
void onednn_conv_dx(const struct conv_args *a);
void onednn_conv_dw(const struct conv_args *a);

#endif
