/* Samples as files: pictures for people, arrays for programs. */
#ifndef SLUICE_PIPELINE_SAMPLE_FILES_H
#define SLUICE_PIPELINE_SAMPLE_FILES_H

#include "io/coding.h"

#include <stdint.h>

struct samples {
    int64_t n, channels, height, width;
    const float *data;     /* [n, channels, height, width] */
    int64_t columns, zoom; /* of the grid; 0: chosen from the shape */
    struct coding coding;  /* text is written by its alphabet, a series has been decoded */
};

/* By the suffix of path: FILE.png a grid of all; FILE.npy a float32 array; FILE.csv its
 * numbers, a line per sample; FILE.txt texts, one per line; FILE.svg the curves of the first
 * 256 series; FILE.safetensors the tensor "sample"; else a folder with sample_NNNNN.png of each,
 * grid.png (of the first 256) and samples.npy. check needs no data: it says ERR_USAGE
 * before the work is done where write could not succeed (pictures need 1 or 3
 * channels and no coding, texts one of text). Every file appears complete. */
int sample_files_check(const struct samples *s, const char *path);
int sample_files_write(const struct samples *s, const char *path);

#endif
