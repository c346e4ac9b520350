/* Gradients of weights by oneDNN's matrix product: for each tap of the kernel
 * dW += dY^T X, X shifted by the tap. The batch is cut into slices by the shape alone;
 * a slice belongs to one thread and is worked off in chunks of whole picture rows, its
 * sums stay in float32; the slices are added in order.
 *
 * Pictures stand one below the other with a row of zeros between, above and below, so
 * that a shift up or down is an offset; for a shift to the side there is a copy each.
 * In dY's copy, [channels, pixels], the pixels of the rows between are zeros. */
#include "stages/nn/fast.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn.h"
#include "stages/nn/onednn_matmul.h"
#include "stages/nn/vec.h"

#include <omp.h>

enum { FEW = 16, MOST_M = 512, MOST_N = 256, MOST_K = 768 };

/* x [n, h, w, c], dy [n, h, w, o]; side 3 (with a border of zeros) or 1. Element
 * (o, c, tap) of the gradient is grad[o * stride + c * side * side + tap]. */
struct gradient {
    int64_t n, h, w, c, o, side, stride;
    enum dtype type;
    const void *x, *dy;
    float *grad;
    struct arena *scratch;
};

/* Slices of `items` items; a slice's picture rows, zeros between pictures counted, in
 * chunks; blocks of dY's channels and of x's. Products by block, rest of o, c, rows. */
struct layout {
    int64_t slices, items, pitch; /* picture rows from one item to the next */
    struct cut rows, o, c;
    struct onednn_matmul *product[2][2][2];
    int64_t turned_bytes, shifted_bytes, scratch_bytes; /* per thread */
};

/* A slice costs a pass over the weights, so that it should hold several hundred pixels.
 */
static int64_t slices_of(const struct gradient *g)
{
    int64_t slices = g->n * g->h * g->w / 512;
    slices = slices < 2 ? 2 : slices > 16 ? 16 : slices;
    slices = slices < g->n ? slices : g->n;
    while (g->n % slices != 0)
        slices++;
    return slices;
}

static int64_t line(int64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static struct layout layout_make(const struct gradient *g)
{
    struct layout l = {.slices = slices_of(g)};
    l.items = g->n / l.slices;
    l.pitch = g->side == 3 ? g->h + 1 : g->h;
    l.o = cut_even(g->o, MOST_M);
    l.c = cut_even(g->c, MOST_N);
    const int64_t rows = l.items * l.pitch,
                  most = MOST_K / g->w > 0 ? MOST_K / g->w : 1;
    l.rows.count = (rows + most - 1) / most;
    l.rows.size = (rows + l.rows.count - 1) / l.rows.count;
    l.rows.count = (rows + l.rows.size - 1) / l.rows.size;
    l.rows.rest = rows - (l.rows.count - 1) * l.rows.size;
    for (int i = 0; i < 8; i++) {
        struct matmul_shape s = {.m = i & 4 ? l.o.rest : l.o.size,
                                 .n = i & 2 ? l.c.rest : l.c.size,
                                 .k = (i & 1 ? l.rows.rest : l.rows.size) * g->w,
                                 .type = g->type};
        struct onednn_matmul *m = onednn_matmul_find(s);
        int64_t scratch = onednn_matmul_scratch(m);
        l.product[i >> 2][i >> 1 & 1][i & 1] = m;
        l.scratch_bytes = scratch > l.scratch_bytes ? scratch : l.scratch_bytes;
    }
    const int64_t size = (int64_t)dtype_size(g->type), k = l.rows.size * g->w;
    l.turned_bytes = line(g->o * k * size);
    l.shifted_bytes = line((k + (g->side - 1) * g->w) * l.c.size * size);
    return l;
}

typedef uint16_t eight __attribute__((vector_size(16), aligned(2)));

/* An 8 x 8 block; from and to are rows apart by their strides. */
static inline void turn_eight(const bf16 *from, int64_t stride, bf16 *to, int64_t pitch)
{
    eight a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = *(const eight *)(from + i * stride);
    for (int step = 0; step < 3;
         step++) { /* three times a perfect shuffle of 16 rows */
        for (int i = 0; i < 4; i++) {
            b[2 * i] =
                __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            b[2 * i + 1] =
                __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 8; i++)
        *(eight *)(to + i * pitch) = a[i];
}

/* from [rows, columns] -> to [columns, rows], rows of `to` being `pitch` apart. */
static void turn_bf16(int64_t rows, int64_t columns, const bf16 *from, bf16 *to,
                      int64_t pitch)
{
    const int64_t whole = rows / 8 * 8, across = columns / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8)
        for (int64_t j = 0; j < across; j += 8)
            turn_eight(from + i * columns + j, columns, to + j * pitch + i, pitch);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i < whole ? across : 0; j < columns; j++)
            to[j * pitch + i] = from[i * columns + j];
}

static void turn_f32(int64_t rows, int64_t columns, const float *from, float *to,
                     int64_t pitch)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[j * pitch + i] = from[i * columns + j];
}

/* Picture rows [first, first + rows) of a slice of dy, turned, to [o, rows * w]. */
static void turn_dy(const struct gradient *g, const struct layout *l, int64_t slice,
                    int64_t first, int64_t rows, void *to)
{
    const int64_t pitch = rows * g->w, size = (int64_t)dtype_size(g->type);
    for (int64_t row = 0; row < rows;) {
        const int64_t item = slice * l->items + (first + row) / l->pitch;
        const int64_t at = (first + row) % l->pitch;
        int64_t run = g->h - at < rows - row ? g->h - at : rows - row;
        void *here = act_at(g->type, to, row * g->w);
        const void *dy = act_at(g->type, g->dy, (item * g->h + at) * g->w * g->o);
        if (run == 0) { /* between two pictures */
            run = 1;
            for (int64_t j = 0; j < g->o; j++)
                memset((char *)here + j * pitch * size, 0, (size_t)(g->w * size));
        } else if (g->type == DTYPE_BF16) {
            turn_bf16(run * g->w, g->o, dy, here, pitch);
        } else {
            turn_f32(run * g->w, g->o, dy, here, pitch);
        }
        row += run;
    }
}

/* One picture row of x, columns [first, first + c) of its channels, shifted to the left
 * by `shift` pixels; NULL: zeros. -> to [w, c] */
static void shift_row(const struct gradient *g, const char *x, int64_t first, int64_t c,
                      int64_t shift, char *to)
{
    const int64_t size = (int64_t)dtype_size(g->type), pixel = c * size;
    int64_t begin = shift < 0 ? -shift : 0, end = shift > 0 ? g->w - shift : g->w;
    if (x == NULL)
        begin = end = g->w;
    memset(to, 0, (size_t)(begin * pixel));
    for (int64_t j = begin; j < end; j++)
        memcpy(to + j * pixel, x + ((j + shift) * g->c + first) * size, (size_t)pixel);
    memset(to + end * pixel, 0, (size_t)((g->w - end) * pixel));
}

/* Picture rows [first, first + rows) of a slice and, for side 3, one more above and one
 * below, of channel block `block`. */
static void shift_x(const struct gradient *g, const struct layout *l, int64_t slice,
                    int64_t first, int64_t rows, int64_t block, int64_t shift, char *to)
{
    const int64_t border = g->side / 2, c = cut_piece(l->c, block);
    const int64_t bytes = g->w * c * (int64_t)dtype_size(g->type);
    for (int64_t row = first - border; row < first + rows + border;
         row++, to += bytes) {
        const int64_t item = slice * l->items + row / l->pitch, at = row % l->pitch;
        const bool inside = row >= 0 && row < l->items * l->pitch && at < g->h;
        const char *x = NULL;
        if (inside)
            x = act_at(g->type, g->x, (item * g->h + at) * g->w * g->c);
        shift_row(g, x, block * l->c.size, c, shift, to);
    }
}

/* The products of one chunk with one shifted copy of one block of x's channels: shift
 * `across` to the side, all shifts up and down. sums: [taps][block of c][o, c of
 * block]. */
static void taps_of(const struct gradient *g, const struct layout *l, int64_t chunk,
                    int64_t block, int64_t across, const char *turned,
                    const char *shifted, float *sums, void *scratch)
{
    const int64_t c = cut_piece(l->c, block), size = (int64_t)dtype_size(g->type);
    const int64_t k = cut_piece(l->rows, chunk) * g->w;
    for (int64_t down = 0; down < g->side; down++) {
        float *to =
            sums + (down * g->side + across) * g->o * g->c + block * l->c.size * g->o;
        for (int64_t i = 0; i < l->o.count; i++)
            onednn_matmul_run(l->product[i + 1 == l->o.count][block + 1 == l->c.count]
                                        [chunk + 1 == l->rows.count],
                              turned + i * l->o.size * k * size,
                              shifted + down * g->w * c * size, to + i * l->o.size * c,
                              chunk > 0, scratch);
    }
}

/* work: turned, shifted and scratch, one behind the other. */
static void slice_run(const struct gradient *g, const struct layout *l, int64_t slice,
                      float *sums, char *work)
{
    char *shifted = work + l->turned_bytes, *scratch = shifted + l->shifted_bytes;
    for (int64_t chunk = 0; chunk < l->rows.count; chunk++) {
        const int64_t first = chunk * l->rows.size, rows = cut_piece(l->rows, chunk);
        const int64_t pixel = (slice * l->items * g->h + first) * g->w;
        turn_dy(g, l, slice, first, rows, work);
        if (g->side == 1 && l->c.count == 1) { /* dense as it lies */
            taps_of(g, l, chunk, 0, 0, work, act_at(g->type, g->x, pixel * g->c), sums,
                    scratch);
            continue;
        }
        for (int64_t block = 0; block < l->c.count; block++)
            for (int64_t across = 0; across < g->side; across++) {
                shift_x(g, l, slice, first, rows, block, across - g->side / 2, shifted);
                taps_of(g, l, chunk, block, across, work, shifted, sums, scratch);
            }
    }
}

/* grad += the slices' sums in order, for channel i of dY. */
static void add_sums(const struct gradient *g, const struct layout *l,
                     const float *sums, int64_t i)
{
    const int64_t taps = g->side * g->side, length = taps * g->o * g->c;
    float *to = g->grad + i * g->stride;
    for (int64_t j = 0; j < g->c; j++) {
        const int64_t block = j / l->c.size, c = cut_piece(l->c, block);
        const float *from =
            sums + block * l->c.size * g->o + i * c + (j - block * l->c.size);
        for (int64_t tap = 0; tap < taps; tap++) {
            float sum = from[tap * g->o * g->c];
            for (int64_t s = 1; s < l->slices; s++)
                sum += from[s * length + tap * g->o * g->c];
            to[j * taps + tap] += sum;
        }
    }
}

static void gradient_run(const struct gradient *g)
{
    const struct layout l = layout_make(g);
    const int64_t length = g->side * g->side * g->o * g->c;
    const int64_t each = l.turned_bytes + l.shifted_bytes + l.scratch_bytes;
    float *sums = arena_take(g->scratch, l.slices * length, sizeof *sums);
    char *work = arena_take(g->scratch, omp_get_max_threads(), (size_t)each);
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < l.slices; s++)
        slice_run(g, &l, s, sums + s * length, work + omp_get_thread_num() * each);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->o; i++)
        add_sums(g, &l, sums, i);
}

void native_conv_dw(const struct conv_args *a)
{
    const bool same =
        a->pad[0] == 1 && a->pad[1] == 1 && a->pad[2] == 1 && a->pad[3] == 1;
    if (a->kh != 3 || a->kw != 3 || a->stride != 1 || !same || a->c < FEW ||
        a->o < FEW) {
        onednn_conv_dw(a);
        return;
    }
    const struct gradient g = {.n = a->n,
                               .h = a->h,
                               .w = a->w,
                               .c = a->c,
                               .o = a->o,
                               .side = 3,
                               .stride = a->c * 9,
                               .type = a->type,
                               .x = a->x,
                               .dy = a->dy,
                               .grad = a->weight->t.grad,
                               .scratch = a->scratch};
    gradient_run(&g);
}

void native_linear_dw(const struct linear_args *a)
{
    float *grad = a->weight->t.grad;
    if (a->rows / a->n < FEW) {
        fast_linear_dw(a);
        return;
    }
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        const struct gradient g = {.n = a->n,
                                   .h = a->rows / a->n,
                                   .w = 1,
                                   .c = a->part[p].c,
                                   .o = a->out,
                                   .side = 1,
                                   .stride = a->in,
                                   .type = a->type,
                                   .x = a->part[p].x,
                                   .dy = a->dy,
                                   .grad = grad,
                                   .scratch = a->scratch};
        gradient_run(&g);
        grad += a->part[p].c;
    }
}
