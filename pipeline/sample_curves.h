/* Series as curves, for people. */
#ifndef SLUICE_PIPELINE_SAMPLE_CURVES_H
#define SLUICE_PIPELINE_SAMPLE_CURVES_H

#include "pipeline/sample_files.h"

/* SVG: the first 256 samples [1, 1, width] in a grid, all on one scale, whose ends
 * stand below it. Complete or not there. ERR_IO. */
int sample_curves_write(const struct samples *s, const char *path);

#endif
