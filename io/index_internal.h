/* What index.c and merge.c share: the table of a run's files of one kind and of the
 * columns that they have in common, and how it is laid out in a file. */
#ifndef SLUICE_IO_INDEX_INTERNAL_H
#define SLUICE_IO_INDEX_INTERNAL_H

#include "io/shard_internal.h"

enum { INDEX_PATH = 96, INDEX_KINDS = 3 };
extern const char *const index_kind[INDEX_KINDS]; /* "rollout", "reward", "advantage" */

struct index_source {
    char path[INDEX_PATH], content[DIGEST_HEX];
    int64_t iteration, first, samples;
};

/* One column over all sources; present in source i where has[i]. */
struct index_column {
    char *name, *units, *long_name;
    char axis[SHARD_MAX_ND][64];
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND],
        text_len;   /* dim[0] is the table's samples where by_sample */
    bool by_sample; /* rows are samples; else it is the same in every source: [step] */
    bool usable;    /* every source agrees on type and shape */
    bool *has;
};

struct index_table {
    char run_id[48];
    struct index_source *source;
    int64_t n, cap, samples;
    struct index_column *column;
    int64_t columns;
};

/* Reads which files of index_kind[kind] there are, iterations first to last, and their
 * columns. 0, or -1 with ERR_INPUT; the table is to be freed in any case. */
int index_table_read(struct index_table *t, const char *rundir, int kind, int64_t first,
                     int64_t last);
void index_table_free(struct index_table *t);

/* Attributes of the root: what wrote the file, and, for readers such as xarray to whom the
 * root looks empty, where the data are. -1: HDF5's stack tells. */
int index_put_head(hid_t file, const char *format);

/* Writes the group of a kind and sources/KIND into `file`: `iteration`, each column by
 * `put`, which returns the new data set or a negative number, and the dimension scales.
 * -1: HDF5's stack tells. */
typedef hid_t (*index_put_f)(void *ctx, hid_t group, const struct index_table *t,
                             const struct index_column *c);
int index_table_write(hid_t file, const struct index_table *t, int kind,
                      index_put_f put, void *ctx);

#endif
