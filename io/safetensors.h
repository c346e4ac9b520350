/* The safetensors format: u64 little-endian header length, JSON header, raw data. Read
 * through a memory map with every offset checked before use; written atomically. */
#ifndef SLUICE_IO_SAFETENSORS_H
#define SLUICE_IO_SAFETENSORS_H

#include <stdint.h>

#define SAFETENSORS_MAX_ND 8

/* ST_OTHER: a type of the format that is not read here (8-bit floats). */
enum st_type {
    ST_F64,
    ST_F32,
    ST_F16,
    ST_BF16,
    ST_I64,
    ST_I32,
    ST_U8,
    ST_BOOL,
    ST_I16,
    ST_I8,
    ST_U64,
    ST_U32,
    ST_U16,
    ST_OTHER
};

struct st_tensor {
    const char *name; /* owned by the file */
    enum st_type type;
    int nd;
    int64_t dim[SAFETENSORS_MAX_ND];
    int64_t count;    /* number of values */
    const void *data; /* may be unaligned: copy with st_to_* */
};

struct st_file;

/* NULL: ERR_INPUT naming file and tensor (truncated, header longer than the file,
 * overlapping or out-of-range offsets, gaps, sizes that do not fit the shape). */
struct st_file *st_open(const char *path);
void st_close(struct st_file *f);
int64_t st_number(const struct st_file *f);
const struct st_tensor *st_at(const struct st_file *f, int64_t i);
const struct st_tensor *st_find(const struct st_file *f,
                                const char *name); /* or NULL */
/* Convert values into out[count]. to_f32 accepts F64, F32, F16, BF16 and integer types;
 * to_i64 integer types and bool. ERR_INPUT otherwise, naming the tensor. */
int st_to_f32(const struct st_tensor *t, float *out);
int st_to_f64(const struct st_tensor *t, double *out);
int st_to_i64(const struct st_tensor *t, int64_t *out);

struct st_out {
    const char *name;
    enum st_type type; /* ST_F32, ST_F64, ST_I64, ST_U8 */
    int nd;
    int64_t dim[SAFETENSORS_MAX_ND];
    const void *data;
};
/* Writes atomically, tensors in the order given, with {"format": "pt"} as metadata. */
int st_write(const char *path, const struct st_out *t, int64_t n);

#endif
