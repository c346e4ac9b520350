/* Training data: CIFAR-10 binary (1 label byte + 3 planes of 32 x 32), idx, npy (float32
 * or uint8), csv (numbers; a last column of labels where wanted). */
#ifndef SLUICE_IO_DATASET_H
#define SLUICE_IO_DATASET_H

#include "io/coding.h"

#include <stdint.h>

/* Plain data: samples [n, channels, height, width] scaled to [-1, 1] (pictures) or as they
 * are (csv, float npy); labels [n] or NULL. */
struct dataset {
    int64_t n, channels, height, width;
    float *sample;
    int64_t *label;
    int64_t classes; /* largest label + 1 */
};

/* format: "cifar", "idx", "npy", "csv" or "auto" (by name and content). labels: a second
 * file (idx), "last" (the last column of a csv), NULL or "" for none. csv rows and npy of
 * two dimensions give channels = height = 1; npy of three dimensions one channel. Sizes
 * in headers are checked against the file. ERR_INPUT, ERR_USAGE (format, labels). */
int dataset_read(struct dataset *d, const char *path, const char *format,
                 const char *labels);
/* Texts from a csv file: the column of that name in its first line, or, where column is
 * "", the first column of a file without such a line. length: characters of a sample, 0
 * for the longest text's. coding: of text, or else it receives the alphabet that is found
 * (with a blank where lengths differ). ERR_INPUT, ERR_USAGE (no usable alphabet). */
int dataset_read_text(struct dataset *d, const char *path, const char *column,
                      int64_t length, struct coding *coding);
/* Labels from a csv file's column, in place of those that d has: one row for each sample.
 * ERR_INPUT. */
int dataset_read_labels(struct dataset *d, const char *path, const char *column);
/* Keeps the first n samples. */
void dataset_first(struct dataset *d, int64_t n);
/* Keeps only samples whose label is in keep[0..n); n = 0 keeps all. classes
 * stays as it was, so that labels keep their meaning; n of d may become 0. */
void dataset_keep(struct dataset *d, const int64_t *keep, int64_t n);
void dataset_free(struct dataset *d);

#endif
