/* The usual blocked product: panels of b are copied into the order in which the inner
 * kernel reads them, padded with zeros to its size. The kernel reads a float32 a with
 * rows of neighbouring values where it lies; another one is copied too. */
#include "stages/nn/sgemm.h"

#include "stages/nn/vec.h"

/* As many accumulators as the registers hold. */
#define ROWS (LANES == 16 ? 12 : 6)
#define COLUMNS (2 * LANES)

_Static_assert(SGEMM_M % ROWS == 0 && SGEMM_N % COLUMNS == 0,
               "blocks hold whole panels");
_Static_assert(32 % COLUMNS == 0, "32 columns are whole panels");

typedef float eight __attribute__((vector_size(32)));
typedef float eight_anywhere __attribute__((vector_size(32), aligned(4)));
typedef uint32_t eight_bits __attribute__((vector_size(32)));
typedef bf16 eight_halves __attribute__((vector_size(16), aligned(2)));

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static ALWAYS_INLINE float value(enum dtype type, const void *at, int64_t i)
{
    return type == DTYPE_BF16 ? bf16_to_float(((const bf16 *)at)[i])
                              : ((const float *)at)[i];
}

#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* 8 lines of 8 values, line_step apart -> to[8][width]: value p of line i to
 * to[p * width + i]. */
static ALWAYS_INLINE void transpose(enum dtype type, const void *from,
                                    int64_t line_step, int width, float *to)
{
    eight r[8], s[8];
    for (int i = 0; i < 8; i++) {
        if (type == DTYPE_BF16) {
            eight_halves h =
                *(const eight_halves *)((const bf16 *)from + i * line_step);
            r[i] = (eight)(__builtin_convertvector(h, eight_bits) << 16);
        } else {
            r[i] = *(const eight_anywhere *)((const float *)from + i * line_step);
        }
    }
    for (int i = 0; i < 8; i += 2) {
        s[i] = SHUFFLE(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = SHUFFLE(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = SHUFFLE(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + 2 * j + 1] =
                SHUFFLE(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        *(eight_anywhere *)(to + i * width) =
            SHUFFLE(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(eight_anywhere *)(to + (i + 4) * width) =
            SHUFFLE(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* One panel to[k][width] of `full` lines of length k; lines are rows of a or columns of
 * b; padded with zeros. */
static ALWAYS_INLINE void pack_panel(enum dtype type, int64_t full, int64_t k,
                                     const void *at, int64_t line_step, int64_t k_step,
                                     int width, float *to)
{
    int64_t whole = 0; /* lines and values that are done in squares */
    if (full < width)
        memset(to, 0, (size_t)(k * width) * sizeof *to);
    if (line_step == 1 && full == width && width % LANES == 0) {
        for (int64_t p = 0; p < k; p++)
            for (int i = 0; i < width; i += LANES)
                vec_store(to + p * width + i, LANES,
                          act_load(type, at, p * k_step + i, LANES));
        return;
    }
    if (k_step == 1 && width % 8 == 0)
        for (; whole + 8 <= full; whole += 8) {
            int64_t p = 0;
            for (; p + 8 <= k; p += 8)
                transpose(type, act_at(type, at, whole * line_step + p), line_step,
                          width, to + p * width + whole);
            for (; p < k; p++)
                for (int i = 0; i < 8; i++)
                    to[p * width + whole + i] =
                        value(type, at, (whole + i) * line_step + p);
        }
    if (line_step == 1)
        for (int64_t p = 0; p < k; p++)
            for (int64_t i = whole; i < full; i++)
                to[p * width + i] = value(type, at, p * k_step + i);
    else
        for (int64_t i = whole; i < full; i++)
            for (int64_t p = 0; p < k; p++)
                to[p * width + i] = value(type, at, i * line_step + p * k_step);
}

/* A panel of ROWS neighbouring values per k: whole vectors are copied, whose ends the
 * next ones write over. */
static ALWAYS_INLINE void pack_rows(enum dtype type, int64_t k, const void *at,
                                    int64_t k_step, float *to)
{
    for (int64_t p = 0; p + 1 < k; p++)
        vec_store(to + p * ROWS, LANES, act_load(type, at, p * k_step, LANES));
    for (int i = 0; i < ROWS; i++)
        to[(k - 1) * ROWS + i] = value(type, at, (k - 1) * k_step + i);
}

static ALWAYS_INLINE void pack_left_as(enum dtype type, int64_t m, int64_t k,
                                       struct matrix a, float *to)
{
    for (int64_t i = 0; i < m; i += ROWS, to += k * ROWS) {
        const void *at = act_at(type, a.at, i * a.row);
        if (LANES >= ROWS && a.row == 1 && m - i >= LANES)
            pack_rows(type, k, at, a.column, to);
        else
            pack_panel(type, least(ROWS, m - i), k, at, a.row, a.column, ROWS, to);
    }
}

static void pack_left(int64_t m, int64_t k, struct matrix a, float *to)
{
    if (a.type == DTYPE_BF16)
        pack_left_as(DTYPE_BF16, m, k, a, to);
    else
        pack_left_as(DTYPE_F32, m, k, a, to);
}

static void pack_right(int64_t n, int64_t k, struct matrix b, float *to)
{
    for (int64_t j = 0; j < n; j += COLUMNS, to += k * COLUMNS) {
        const void *at = act_at(b.type, b.at, j * b.column);
        if (b.type == DTYPE_BF16)
            pack_panel(DTYPE_BF16, least(COLUMNS, n - j), k, at, b.column, b.row,
                       COLUMNS, to);
        else
            pack_panel(DTYPE_F32, least(COLUMNS, n - j), k, at, b.column, b.row,
                       COLUMNS, to);
    }
}

/* bf16 rows -> float32 rows [m, k], and zeros up to whole panels. */
static void widen(int64_t m, int64_t k, struct matrix a, float *to)
{
    for (int64_t i = 0; i < m; i++) {
        const bf16 *from = (const bf16 *)a.at + i * a.row;
        int64_t p = 0;
        for (; p + LANES <= k; p += LANES)
            vec_store(to + i * k + p, LANES, vec_load_bf16(from + p, LANES));
        for (; p < k; p++)
            to[i * k + p] = bf16_to_float(from[p]);
    }
    memset(to + m * k, 0, (size_t)((ROWS - m % ROWS) % ROWS * k) * sizeof *to);
}

/* A block of a as the kernel reads it: value p of row i of a panel is
 * at[i * row + p * column]; panels are `panel` apart. tail: the last panel, where rows
 * are lacking, as copied; or NULL. */
struct left {
    const float *at, *tail;
    int64_t row, column, panel;
};

static struct left left_of(int64_t m, int64_t k, struct matrix a, float *work)
{
    if (a.column == 1 && a.type == DTYPE_F32) {
        struct left l = {a.at, NULL, a.row, 1, ROWS * a.row};
        if (m % ROWS != 0) {
            const int64_t whole = m / ROWS * ROWS;
            a.at = act_at(a.type, a.at, whole * a.row);
            pack_left(m - whole, k, a, work);
            l.tail = work;
        }
        return l;
    }
    if (a.column == 1) {
        widen(m, k, a, work);
        return (struct left){work, NULL, k, 1, ROWS * k};
    }
    pack_left(m, k, a, work);
    return (struct left){work, NULL, 1, ROWS, ROWS * k};
}

/* One tile of the product of two panels, put or added: m of ROWS rows and n of
 * wide * LANES columns are stored. */
static ALWAYS_INLINE void kernel(int64_t k, const float *a, int64_t row, int64_t column,
                                 const float *b, int wide, struct extent e, float *c,
                                 int64_t stride, bool add)
{
    vec sum[ROWS][2];
    const float *at[ROWS / 3];
    for (int i = 0; i < ROWS; i++)
        sum[i][0] = sum[i][1] = (vec){0};
    for (int i = 0; i < ROWS / 3; i++)
        at[i] = a + 3 * i * row;
    for (int64_t p = 0; p < k; p++, b += COLUMNS) {
        vec left = *(const vec *)b, right = *(const vec *)(b + LANES);
        for (int i = 0; i < ROWS; i++) {
            vec x = SPLAT(at[i / 3][i % 3 * row]);
            sum[i][0] = MULADD(x, left, sum[i][0]);
            if (wide == 2)
                sum[i][1] = MULADD(x, right, sum[i][1]);
        }
        for (int i = 0; i < ROWS / 3; i++)
            at[i] += column;
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < wide; j++) {
            float *to = c + i * stride + j * LANES;
            if (i < e.m && j * LANES < e.n)
                vec_store(to, e.n - j * LANES,
                          add ? vec_load(to, e.n - j * LANES) + sum[i][j] : sum[i][j]);
        }
}

static ALWAYS_INLINE void tile(struct extent e, const float *a, int64_t row,
                               int64_t column, const float *b, float *c, int64_t stride,
                               bool add)
{
    if (e.m == ROWS && e.n == COLUMNS)
        kernel(e.k, a, row, column, b, 2, (struct extent){ROWS, COLUMNS, e.k}, c,
               stride, add);
    else if (e.m == ROWS && e.n == LANES)
        kernel(e.k, a, row, column, b, 1, (struct extent){ROWS, LANES, e.k}, c, stride,
               add);
    else
        kernel(e.k, a, row, column, b, 2, e, c, stride, add);
}

/* All tiles of one block: a [m, k], packed b [k, n]. */
static void block(struct extent e, struct left a, const float *b, float *c,
                  int64_t stride, bool add)
{
    for (int64_t j = 0; j < e.n; j += COLUMNS)
        for (int64_t i = 0; i < e.m; i += ROWS) {
            struct extent part = {least(ROWS, e.m - i), least(COLUMNS, e.n - j), e.k};
            const float *panel = a.at + i / ROWS * a.panel, *right = b + j * e.k;
            float *to = c + i * stride + j;
            if (part.m < ROWS && a.tail != NULL)
                tile(part, a.tail, 1, ROWS, right, to, stride, add);
            else if (a.column == 1)
                tile(part, panel, a.row, 1, right, to, stride, add);
            else
                tile(part, panel, 1, ROWS, right, to, stride, add);
        }
}

void sgemm(struct extent e, struct matrix a, struct matrix b, float *c, int64_t stride,
           bool add, float *work)
{
    float *packed_a = work, *packed_b = work + SGEMM_K * SGEMM_M;
    for (int64_t j = 0; j < e.n; j += SGEMM_N)
        for (int64_t p = 0; p < e.k; p += SGEMM_K) {
            struct extent part = {.n = least(SGEMM_N, e.n - j),
                                  .k = least(SGEMM_K, e.k - p)};
            struct matrix right = b;
            right.at = act_at(b.type, b.at, p * b.row + j * b.column);
            pack_right(part.n, part.k, right, packed_b);
            for (int64_t i = 0; i < e.m; i += SGEMM_M) {
                struct matrix left = a;
                left.at = act_at(a.type, a.at, i * a.row + p * a.column);
                part.m = least(SGEMM_M, e.m - i);
                block(part, left_of(part.m, part.k, left, packed_a), packed_b,
                      c + i * stride + j, stride, add || p > 0);
            }
        }
}

static int64_t padded(int64_t n)
{
    return (n + COLUMNS - 1) / COLUMNS * COLUMNS;
}

int64_t sgemm_pack_size(struct extent e)
{
    return padded(e.n) * e.k;
}

void sgemm_pack(struct extent e, struct matrix b, int64_t first, int64_t n, float *to)
{
    for (int64_t p = 0; p < e.k; p += SGEMM_K) {
        const int64_t k = least(SGEMM_K, e.k - p);
        struct matrix right = b;
        right.at = act_at(b.type, b.at, p * b.row + first * b.column);
        pack_right(n, k, right, to + p * padded(e.n) + first * k);
    }
}

void sgemm_packed(struct extent e, struct matrix a, const float *packed, int64_t first,
                  int64_t columns, float *c, int64_t stride, bool add, float *work)
{
    for (int64_t p = 0; p < e.k; p += SGEMM_K) {
        struct extent part = {e.m, e.n, least(SGEMM_K, e.k - p)};
        struct matrix left = a;
        left.at = act_at(a.type, a.at, p * a.column);
        block(part, left_of(part.m, part.k, left, work),
              packed + p * padded(columns) + first * part.k, c, stride, add || p > 0);
    }
}
