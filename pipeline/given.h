/* Samples that a user has: a folder of pictures, or a file of pictures, numbers or texts,
 * coded as a network sees them. */
#ifndef SLUICE_PIPELINE_GIVEN_H
#define SLUICE_PIPELINE_GIVEN_H

#include "io/config.h"
#include "io/dataset.h"

struct given { /* plain data, read-only */
    int64_t n, channels, height, width, d;
    struct coding coding;
    int64_t classes; /* of the network; 0: not known or none */
    bool labelled;   /* dataset.label is there */
    struct dataset dataset; /* of a file; sample is NULL for a folder */
    char *folder, **name;   /* [n] file names of pictures in byte order, or NULL */
};

/* path: a folder with .png, .jpg or .jpeg files of one size; FILE.npy, .csv, .txt (a text
 * on each line), FILE.csv:COLUMN of texts, FILE.h5:/NAME, idx, CIFAR-10. c's model.path,
 * where it is set, says shape, coding and classes; without it a picture has three
 * channels. labels: "FILE.csv:COLUMN", a class per sample, or NULL. A folder's pictures
 * are read by given_rows. 0 or -1 (ERR_INPUT, ERR_USAGE) and then nothing to close. */
int given_open(struct given *g, const char *path, const char *labels,
               const struct config *c);
/* Samples [first, first + n) into x[n, d], as the network has them. ERR_INPUT: a picture
 * that is damaged or of another size. */
int given_rows(const struct given *g, int64_t first, int64_t n, float *x);
void given_close(struct given *g);

#endif
