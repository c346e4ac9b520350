/* Training data: CIFAR-10 binary (1 label byte + 3 planes of 32 x 32), idx, npy (float32
 * or uint8), csv (numbers; a last column of labels where wanted), HDF5 (a data set of real
 * numbers or bytes). */
#ifndef SLUICE_IO_DATASET_H
#define SLUICE_IO_DATASET_H

#include "io/coding.h"

#include <stdbool.h>
#include <stdint.h>

enum { DATASET_LABELS = 8 };

/* Plain data: samples [n, channels, height, width] scaled to [-1, 1] (pictures) or as they
 * are (csv, float npy); labels [n] or NULL. */
struct dataset {
    int64_t n, channels, height, width;
    float *sample;
    int64_t *label;
    int64_t classes; /* largest label + 1 */
    /* Several labels are joined into one, the last running fastest: y1 * K2 + y2. Their
     * classes each; factors is 0 without labels. */
    int factors;
    int64_t factor[DATASET_LABELS];
};

/* format: "cifar", "idx", "npy", "csv", "hdf5" (path is FILE.h5:/NAME) or "auto" (by name
 * and content). labels: a second
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
/* Labels from a csv file's column, or from a data set of a file .h5 or .hdf5, joined to those
 * that d has: one row for each sample. ERR_INPUT. */
int dataset_add_labels(struct dataset *d, const char *path, const char *column);
/* Forgets the labels. */
void dataset_drop_labels(struct dataset *d);

/* Does a path "FILE.h5:/NAME" (or .hdf5) name a data set of an HDF5 file? */
bool dataset_is_hdf5(const char *path);
/* What such a path names: samples as npy has them, or labels[n], to be freed with mem_free.
 * ERR_INPUT. */
int dataset_read_hdf5(struct dataset *d, const char *path);
int64_t *dataset_hdf5_labels(const char *path, int64_t n);
/* Keeps the first n samples. */
void dataset_first(struct dataset *d, int64_t n);
/* Keeps only samples whose label is in keep[0..n); n = 0 keeps all. classes
 * stays as it was, so that labels keep their meaning; n of d may become 0. */
void dataset_keep(struct dataset *d, const int64_t *keep, int64_t n);
void dataset_free(struct dataset *d);

#endif
