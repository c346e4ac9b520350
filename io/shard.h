/* Sealed HDF5 files: rollout, reward and advantage shards and policy files. Written
 * once, by one process, through the serial driver: temporary name, flush, close, fsync,
 * rename, fsync of the directory. io/FORMAT.md specifies the result.
 *
 * Each file is a flat set of named columns with dimension scales, units and long_name,
 * Fletcher-32 on every data set, fixed-length strings, latest-1.10 format, and root
 * attributes (struct shard_head plus format and library versions). `content_sha256` is
 * a digest over names, types, shapes and values of the columns, in byte order of the
 * names; attributes do not enter, so equal content gives equal digests. The first 512 bytes
 * (io/seal.h) hold a digest of the whole file, which shard_verify checks.
 *
 * shard*.c, index*.c and merge.c are the only users of HDF5. Nothing here is collective. */
#ifndef SLUICE_IO_SHARD_H
#define SLUICE_IO_SHARD_H

#include "io/sys/digest.h"
#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

enum shard_kind {
    SHARD_ROLLOUT,
    SHARD_REWARD,
    SHARD_ADVANTAGE,
    SHARD_POLICY,
    SHARD_TABLE,     /* of a sweep: no part of a run */
    SHARD_STATISTICS /* `sluice stats`, not of a run directory */
};
const char *shard_kind_name(enum shard_kind k); /* "rollout", ... */

enum column_type {
    COLUMN_F32,
    COLUMN_F64,
    COLUMN_I32,
    COLUMN_I64,
    COLUMN_U8,
    COLUMN_TEXT
};
const char *shard_type_name(enum column_type type); /* "f32", ... "text" */

#define SHARD_MAX_ND 5
#define SHARD_MAX_PARENTS 4096

/* A parent file: path relative to the run directory, and its content digest. */
struct shard_parent {
    char path[96];
    char content[DIGEST_HEX];
};

/* Root attributes. Plain data; parents are owned by the caller (writer) or by the
 * opened shard (reader). */
struct shard_head {
    enum shard_kind kind;
    int64_t iteration,
        number; /* number: of the shard in its iteration, -1 if it is whole */
    int64_t policy_version; /* the version that made it (policy file: its own) */
    char run_id[48];
    char config_digest[DIGEST_HEX];
    struct shard_parent *parent;
    int64_t parents;
};

/* One data set. data points to C-order values; for COLUMN_TEXT to dim product
 * fixed-length NUL-padded strings of text_len bytes. axis: a name per dimension
 * ("sample", "step", "channel", ...); equal names in a file must have equal lengths. */
struct column {
    const char *name;
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    const char *axis[SHARD_MAX_ND];
    const char *units, *long_name;
    const void *data;
    int64_t text_len;
    bool chunk_first; /* one chunk per index of the first axis (trajectories) */
};

struct shard_writer;
struct finish; /* io/finish.h */

/* Opens the temporary file. NULL: ERR_IO. */
struct shard_writer *shard_create(const char *path, const struct shard_head *head);
/* Writes one column. */
int shard_put(struct shard_writer *w, const struct column *c);
/* An extra root attribute (text), e.g. "reward_name". */
int shard_note(struct shard_writer *w, const char *name, const char *value);
/* Completes, closes, publishes and frees; content (may be NULL) receives the digest. On
 * error nothing is left under either name. */
int shard_seal(struct shard_writer *w, char content[DIGEST_HEX]);
/* The same, except that the file is not durable, nor under its name, before finish_end of
 * the result says so. NULL: an error, and nothing is left. */
struct finish *shard_seal_later(struct shard_writer *w, char content[DIGEST_HEX]);
/* Closes, removes the temporary file and frees. NULL is fine. */
void shard_abort(struct shard_writer *w);

struct shard;

/* Opens a sealed file for reading and checks format, kind (where kind >= 0),
 * completeness and that all sizes fit the file. ERR_INPUT (ERR_IO where it may not
 * be read) names the file and what is wrong. */
struct shard *shard_open(const char *path, int kind);
void shard_close(struct shard *s);
const struct shard_head *shard_head(const struct shard *s);
const char *shard_content(const struct shard *s); /* the stored digest */
/* The text of a root attribute, NULL when absent; valid until the next call. */
const char *shard_attribute(struct shard *s, const char *name);
/* Shape of a column; false when there is none of that name. */
bool shard_has(struct shard *s, const char *name, enum column_type *type, int *nd,
               int64_t dim[SHARD_MAX_ND]);
/* Reads a whole column into a new array; type must match, and nd and dim where expect
 * is not NULL (-1 in expect: any). Caller frees with mem_free. NULL on error. Checksums
 * are verified by the read. */
void *shard_get(struct shard *s, const char *name, enum column_type type, int nd,
                const int64_t *expect, int64_t dim_out[SHARD_MAX_ND]);
/* Reads rows [first, first + count) of the first axis into out. */
int shard_get_rows(struct shard *s, const char *name, enum column_type type,
                   int64_t first, int64_t count, void *out);
/* Reads text column rows; each at most text_len - 1 bytes. Caller frees with mem_free;
 * *text_len receives the stride. */
char *shard_get_text(struct shard *s, const char *name, int64_t *n, int64_t *text_len);

/* Recomputes the content digest from the values (this reads everything and so checks
 * all checksums) and compares it with the stored one. ERR_INPUT on damage. */
int shard_verify(const char *path);

/* Names of all columns, or of all root attributes, in byte order, for tools. Caller
 * frees with file_list_free. */
int64_t shard_columns(struct shard *s, char ***names);
int64_t shard_attributes(struct shard *s, char ***names);
/* An attribute of a column ("units", "long_name"), NULL when absent; valid until the
 * next call of this function or of shard_attribute. */
const char *shard_label(struct shard *s, const char *column, const char *name);
/* Checks the seal and recomputes the content digest from the values of an open file. */
int shard_recompute(struct shard *s, char content[DIGEST_HEX]);

/* What new files say of the program that wrote them; borrowed strings. Set once, at
 * start and before MPI_Init (it also readies HDF5); until then both are "unknown". */
void shard_software(const char *version, const char *commit);

/* Versions of the library, e.g. "HDF5 1.10.8". */
void shard_library(char *buf, int64_t size);

#endif
