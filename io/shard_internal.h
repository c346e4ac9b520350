/* What the files that speak HDF5 (shard*.c, index*.c, merge.c) share. No one else includes it. */
#ifndef SLUICE_IO_SHARD_INTERNAL_H
#define SLUICE_IO_SHARD_INTERNAL_H

#include "io/shard.h"
#include "io/sys/err.h"

#include <hdf5.h>

#define SHARD_FORMAT "sluice-shard"
#define SHARD_FORMAT_MAJOR 1
#define SHARD_FORMAT_VERSION "1.0"
#define SHARD_AXIS_ONLY "axis_only" /* marks a dimension scale that is no column */

#define SHARD_MEMBERS_MOST 65536

/* An open file. member holds the columns in byte order of their names; their sizes have
 * been checked against the file. */
struct shard_member {
    char *name;
    hid_t set;
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND], text_len;
    int64_t count, row; /* values in all and per index of the first axis */
};

struct shard {
    char *path;
    hid_t file;
    int64_t file_size;
    struct shard_head head;
    char content[DIGEST_HEX];
    struct shard_member *member;
    int64_t members;
    char *text; /* of the last shard_attribute */
};

/* Quiets HDF5's own messages and turns its file locks off unless the user set them:
 * nothing here is ever opened for writing under a name that a reader knows. Cheap; call
 * it before the first HDF5 call of every entry point. */
void shard_quiet(void);

/* The pending error from HDF5's innermost message: "PATH: WHAT: reason". Call it right
 * after the failing call, because the next HDF5 call clears the library's stack. -1. */
int shard_fail(enum err_code code, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Property lists of a new file: serial, latest-1.10, strong close, compact root. */
hid_t shard_access(void);
hid_t shard_creation(void);

/* HDF5 1.10 cannot live with a flush or a close that fails: every later close of the file
 * fails too, and the library falls over it at exit. So before a flush the disk is asked for
 * all of the file (ERR_IO), and a file that is given up is closed with its descriptor
 * leading to memory instead. tmp is the file's path. */
int shard_reserve(hid_t file, const char *path);
void shard_give_up(hid_t file, const char *tmp);

/* The type as stored and in memory (both little-endian); the caller closes it. */
hid_t shard_type(enum column_type type, int64_t text_len);
int64_t shard_type_size(enum column_type type, int64_t text_len);
/* False when the stored type is none of ours. */
bool shard_type_of(hid_t h5type, enum column_type *type, int64_t *text_len);

/* Attributes: fixed-length text and int64 scalars. 0 or -1 (HDF5's stack tells). */
int shard_put_text(hid_t object, const char *name, const char *value);
int shard_put_i64(hid_t object, const char *name, int64_t value);
/* Text of a scalar attribute (numbers in decimal), to be freed; NULL when there is none
 * of that name or it is of no kind that we write. */
char *shard_get_attribute(hid_t object, const char *name);
bool shard_get_i64(hid_t object, const char *name, int64_t *value);

/* "format", "software", "created" and the like. */
int shard_put_origin(hid_t root, const char *format);

/* The content digest (io/FORMAT.md): one per column, joined in byte order of names. */
struct shard_part {
    const char *name;
    char hex[DIGEST_HEX];
};
struct digest *shard_part_begin(const char *name, enum column_type type, int nd,
                                const int64_t *dim);
void shard_part_add(struct digest *d, enum column_type type, int64_t text_len,
                    const void *p, int64_t count);
void shard_join(struct shard_part *part, int64_t n, char content[DIGEST_HEX]);

#endif
