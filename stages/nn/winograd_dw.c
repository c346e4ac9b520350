/* Gradients of the weights: dU [point][o][c] = the sum over tiles of D^T V, where
 * V = B^T d B and D = A dy A^T; then dw = G^T dU G. The batch is cut into slices and
 * these into blocks of tiles, both by the shape alone; sums over the tiles of a block,
 * the blocks of a slice, and the slices are taken in this order. Threads share slices
 * and, where there are more of them, outputs. */
#include "stages/nn/winograd_tile.h"

#define BLOCK 96

/* How the work is cut; `parts`, of the outputs, does not change results. */
struct plan {
    struct winograd_grid grid;
    int64_t slices, parts;
    int64_t c_stride, o_stride, c_plane, o_plane, work;
    int64_t wide, rows, plane, slice; /* dU [16 planes][rows][wide] of a slice */
};

static struct plan plan_make(const struct winograd_shape *s, int threads)
{
    struct plan p = {.grid = winograd_grid_of(s)};
    int64_t tiles = s->n * p.grid.th * p.grid.tw;
    p.slices = tiles / (s->c * s->o <= 4096 ? 192 : 512);
    p.slices = p.slices < 8 ? p.slices : 8;
    p.slices = s->c * s->o <= 4096 || p.slices < 2 ? p.slices : 2;
    p.slices = p.slices < s->n ? p.slices : s->n;
    p.slices = p.slices > 1 ? p.slices : 1;
    p.rows = winograd_up(s->o, 4);
    p.parts = p.slices % threads == 0 ? 1 : (threads + p.slices - 1) / p.slices;
    p.parts = p.parts < p.rows / 4 ? p.parts : p.rows / 4;
    p.c_stride = winograd_stride(s->c);
    p.o_stride = winograd_stride(s->o);
    p.c_plane = winograd_plane(BLOCK, p.c_stride);
    p.o_plane = winograd_plane(BLOCK, p.o_stride);
    p.work = WINOGRAD_POINTS * (p.c_plane + p.o_plane + p.c_stride) + p.o_stride;
    p.wide = winograd_up(s->c, LANES);
    p.plane = winograd_plane(p.rows, winograd_up(p.wide, 16));
    p.slice = WINOGRAD_POINTS * p.plane;
    return p;
}

int64_t winograd_dw_work(const struct winograd_shape *s, int threads)
{
    struct plan p = plan_make(s, threads);
    return threads * p.work + p.slices * p.slice;
}

/* The 2x2 pixels of dy [n, h, w, o] from a place on; outside of the picture `zeros`. */
static inline void pixels(const struct winograd_grid *g, struct winograd_place p,
                          const float *dy, int64_t o, const float *zeros,
                          const float *at[4])
{
    const float *here = dy + ((p.item * g->h + p.row) * g->w + p.column) * o;
    bool right = p.column + 1 < g->w, below = p.row + 1 < g->h;
    at[0] = here;
    at[1] = right ? here + o : zeros;
    at[2] = below ? here + g->w * o : zeros;
    at[3] = right && below ? here + (g->w + 1) * o : zeros;
}

/* D of one tile's dy [2, 2][o] -> to[16 planes][o]. */
static inline void output_gradient(const float *const *at, int64_t o, float *to,
                                   int64_t plane)
{
    for (int64_t k = 0; k < o; k += LANES) {
        vec t[4][2];
        int64_t step = plane;
        WINOGRAD_OPAQUE(step);
        for (int j = 0; j < 2; j++) {
            vec a = winograd_get(at[j] + k, o - k),
                b = winograd_get(at[2 + j] + k, o - k);
            t[0][j] = a;
            t[1][j] = a + b;
            t[2][j] = a - b;
            t[3][j] = (vec){0} - b;
        }
        for (int i = 0; i < 4; i++) {
            float *d = to + 4 * i * step + k;
            *(vec *)d = t[i][0];
            *(vec *)(d + step) = t[i][0] + t[i][1];
            *(vec *)(d + 2 * step) = t[i][0] - t[i][1];
            *(vec *)(d + 3 * step) = (vec){0} - t[i][1];
        }
    }
}

/* dU[rows of o][c] += D^T V over `tiles` tiles; add: not the first block of the slice.
 */
static void products(const struct plan *p, int64_t tiles, const int64_t range[2],
                     const float *v, const float *d, float *du, bool add)
{
    int64_t rows = range[1] - range[0];
    for (int64_t point = 0; point < WINOGRAD_POINTS; point++)
        for (int64_t c = 0; c < p->wide; c += 2 * LANES) {
            struct winograd_product q = {
                .a = d + point * p->o_plane,
                .b = v + point * p->c_plane + c,
                .c = du + point * p->plane + range[0] * p->wide + c,
                .k = tiles,
                .a_row = 1,
                .a_step = p->o_stride,
                .b_step = p->c_stride,
                .c_row = p->wide,
                .add = add,
            };
            if (p->wide - c >= 2 * LANES)
                winograd_panel(2, rows, q);
            else
                winograd_panel(1, rows, q);
        }
}

static void slice_part(const struct plan *p, const struct winograd_shape *s,
                       const int64_t items[2], const int64_t range[2], const float *x,
                       const float *dy, float *work, float *du)
{
    float *v = work, *d = v + WINOGRAD_POINTS * p->c_plane;
    float *zeros = d + WINOGRAD_POINTS * p->o_plane, *patch = zeros + p->o_stride;
    int64_t per_item = p->grid.th * p->grid.tw, end = items[1] * per_item;
    int64_t outputs = range[1] < s->o ? range[1] - range[0] : s->o - range[0];
    memset(zeros, 0, (size_t)p->o_stride * sizeof *zeros);
    for (int64_t first = items[0] * per_item, begin = first; first < end;
         first += BLOCK) {
        int64_t some = end - first < BLOCK ? end - first : BLOCK;
        winograd_input_tiles(&p->grid, first, some, x, s->c, patch, v, p->c_plane);
        for (int64_t i = 0; i < some; i++) {
            const float *at[4];
            struct winograd_place place = winograd_place_of(&p->grid, first + i);
            pixels(&p->grid, place, dy + range[0], s->o, zeros, at);
            output_gradient(at, outputs, d + i * p->o_stride, p->o_plane);
        }
        products(p, some, range, v, d, du, first > begin);
    }
}

/* dw [c][9] of one output += G^T dU G, its slices summed before. */
static void filter_gradient(const struct plan *p, int64_t c, const float *du, float *dw)
{
    vec half = SPLAT(0.5f);
    for (int64_t k = 0; k < c; k += LANES) {
        vec t[3][4], g[9];
        float taps[9][LANES], turned[9 * LANES];
        for (int j = 0; j < 4; j++) {
            vec u[4];
            for (int i = 0; i < 4; i++) {
                const float *at = du + (4 * i + j) * p->plane + k;
                u[i] = *(const vec *)at;
                for (int64_t slice = 1; slice < p->slices; slice++)
                    u[i] += *(const vec *)(at + slice * p->slice);
            }
            vec sum = half * (u[1] + u[2]);
            t[0][j] = u[0] + sum;
            t[1][j] = half * (u[1] - u[2]);
            t[2][j] = sum + u[3];
        }
        for (int i = 0; i < 3; i++) {
            vec sum = half * (t[i][1] + t[i][2]);
            g[3 * i] = t[i][0] + sum;
            g[3 * i + 1] = half * (t[i][1] - t[i][2]);
            g[3 * i + 2] = sum + t[i][3];
        }
        memcpy(taps, g, sizeof taps);
        for (int i = 0; i < LANES; i++)
            for (int j = 0; j < 9; j++)
                turned[i * 9 + j] = taps[j][i];
        int64_t some = c - k < LANES ? 9 * (c - k) : 9 * LANES;
        float *to = dw + k * 9;
        for (int64_t i = 0; i < some; i += LANES)
            vec_store(to + i, some - i,
                      vec_load(to + i, some - i) + *(const vec_anywhere *)(turned + i));
    }
}

void winograd_dw(const struct winograd_shape *s, const float *x, const float *dy,
                 float *dw, float *work, int threads)
{
    if (s->c <= WINOGRAD_FEW || s->o <= WINOGRAD_FEW) {
        winograd_few_dw(s, x, dy, dw, work, threads);
        return;
    }
    const struct plan p = plan_make(s, threads);
    float *du = work + threads * p.work;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        int64_t units = p.slices * p.parts, end = units * (thread + 1) / threads;
        for (int64_t i = units * thread / threads; i < end; i++) {
            int64_t slice = i / p.parts, part = i % p.parts, quads = p.rows / 4;
            const int64_t items[2] = {s->n * slice / p.slices,
                                      s->n * (slice + 1) / p.slices};
            const int64_t range[2] = {4 * (quads * part / p.parts),
                                      4 * (quads * (part + 1) / p.parts)};
            slice_part(&p, s, items, range, x, dy, work + thread * p.work,
                       du + slice * p.slice);
        }
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t o = 0; o < s->o; o++)
        filter_gradient(&p, s->c, du + o * p.wide, dw + o * s->c * 9);
}
