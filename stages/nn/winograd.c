/* Filters lie as packed [point][panel of 2 * LANES outputs][c][2 * LANES], the last
 * panel LANES wide where that is enough, padded with zeros. A block of tiles, over the
 * bounds of items, goes through input transform V [point][tile][c], 16 products M
 * [point][tile][o], and output transform; threads share blocks, and where there are few
 * of them also panels. */
#include "stages/nn/winograd_tile.h"

#define PANEL (2 * LANES)

/* Length of a chain of sums: a panel of it stays in the first cache. */
#define CHAIN 256

/* Tiles that are worth a pass over the filter. */
#define FEW_TILES 36
#define MANY_TILES 96
#define FEW_CHANNELS \
    128 /* inputs and outputs for which V and M stay in the second cache */

static bool few(int64_t c, int64_t o)
{
    return c <= WINOGRAD_FEW || o <= WINOGRAD_FEW;
}

int64_t winograd_packed(int64_t c, int64_t o)
{
    return WINOGRAD_POINTS * c * winograd_up(o, LANES);
}

/* G g G^T, LANES filters at once. */
static void filter_points(const vec g[9], vec u[16])
{
    vec half = SPLAT(0.5f), t[4][3];
    for (int j = 0; j < 3; j++) {
        vec even = half * (g[j] + g[6 + j]), odd = half * g[3 + j];
        t[0][j] = g[j];
        t[1][j] = even + odd;
        t[2][j] = even - odd;
        t[3][j] = g[6 + j];
    }
    for (int i = 0; i < 4; i++) {
        vec even = half * (t[i][0] + t[i][2]), odd = half * t[i][1];
        u[4 * i] = t[i][0];
        u[4 * i + 1] = even + odd;
        u[4 * i + 2] = even - odd;
        u[4 * i + 3] = t[i][2];
    }
}

static void pack(struct winograd_filters f, float *packed)
{
    if (few(f.c, f.o)) {
        winograd_few_pack(&f, packed);
        return;
    }
    int64_t wide = winograd_up(f.o, LANES), plane = f.c * wide;
#pragma omp parallel for schedule(static) if (f.c * f.o > 8192)
    for (int64_t o = 0; o < wide; o += LANES) {
        int64_t first = o / PANEL * PANEL, some = f.o - o < LANES ? f.o - o : LANES;
        int64_t width = wide - first < PANEL ? wide - first : PANEL;
        float *to = packed + first * f.c + (o - first);
        for (int64_t c = 0; c < f.c; c++, to += width) {
            float taps[9][LANES] = {{0}};
            for (int64_t i = 0; i < some; i++) {
                const float *from = f.weight + c * f.c_step + (o + i) * f.o_step;
                for (int t = 0; t < 9; t++)
                    taps[t][i] = from[f.turned ? 8 - t : t];
            }
            vec g[9], u[16];
            memcpy(g, taps, sizeof g);
            filter_points(g, u);
            for (int p = 0; p < WINOGRAD_POINTS; p++)
                *(vec *)(to + p * plane) = u[p];
        }
    }
}

void winograd_pack(int64_t c, int64_t o, const float *weight, float *packed)
{
    pack((struct winograd_filters){weight, c, o, 9, 9 * c, false}, packed);
}

void winograd_pack_dx(int64_t c, int64_t o, const float *weight, float *packed)
{
    pack((struct winograd_filters){weight, o, c, 9 * c, 9, true}, packed);
}

/* How the work is cut; results do not depend on it. */
struct plan {
    struct winograd_grid grid;
    int64_t tiles, block, blocks, panels, parts; /* parts: of the panels */
    int64_t c_stride, o_stride, c_plane, o_plane, work;
};

static struct plan plan_make(const struct winograd_shape *s, int threads)
{
    struct plan p = {.grid = winograd_grid_of(s)};
    p.tiles = s->n * p.grid.th * p.grid.tw;
    p.panels = (s->o + PANEL - 1) / PANEL;
    int64_t most = s->c + s->o <= FEW_CHANNELS ? MANY_TILES / 2 : MANY_TILES;
    int64_t blocks = (p.tiles + most - 1) / most;
    p.blocks = winograd_up(blocks, threads);
    p.blocks = p.blocks * FEW_TILES > p.tiles ? blocks : p.blocks;
    p.block = winograd_up((p.tiles + p.blocks - 1) / p.blocks, WINOGRAD_ROWS);
    p.blocks = (p.tiles + p.block - 1) / p.block;
    p.parts = p.blocks >= threads ? 1 : threads / p.blocks;
    p.parts = p.parts < p.panels ? p.parts : p.panels;
    p.c_stride = winograd_stride(s->c);
    p.o_stride = winograd_stride(s->o);
    p.c_plane = winograd_plane(winograd_up(p.block, 4), p.c_stride);
    p.o_plane = winograd_plane(winograd_up(p.block, 4), p.o_stride);
    p.work = WINOGRAD_POINTS * (p.c_plane + p.o_plane + p.c_stride);
    return p;
}

static int64_t work(const struct winograd_shape *s, int threads)
{
    if (few(s->c, s->o))
        return winograd_few_work(s, threads);
    int64_t conv = threads * plan_make(s, threads).work,
            dw = winograd_dw_work(s, threads);
    return conv > dw ? conv : dw;
}

int64_t winograd_work(const struct winograd_shape *s, int threads)
{
    const struct winograd_shape swapped = {s->n, s->h, s->w, s->o, s->c};
    int64_t one = work(s, threads), other = work(&swapped, threads);
    return one > other ? one : other;
}

/* Rows that only fill up the last rows of a product: anything but denormal numbers. */
static void fill_rows(const struct plan *p, int64_t rows, float *v)
{
    int64_t more = (winograd_up(rows, 4) - rows) * p->c_stride;
    for (int point = 0; more > 0 && point < WINOGRAD_POINTS; point++)
        memset(v + point * p->c_plane + rows * p->c_stride, 0,
               (size_t)more * sizeof *v);
}

/* M = V U for panels first .. last. */
static void products(const struct plan *p, const struct winograd_shape *s, int64_t rows,
                     const int64_t panels[2], const float *v, const float *u, float *m)
{
    int64_t wide = winograd_up(s->o, LANES), all = winograd_up(rows, 4);
    for (int64_t point = 0; point < WINOGRAD_POINTS; point++)
        for (int64_t c = 0; c < s->c; c += CHAIN)
            for (int64_t j = panels[0]; j < panels[1]; j++) {
                int64_t width = wide - j * PANEL < PANEL ? LANES : PANEL;
                struct winograd_product q = {
                    .a = v + point * p->c_plane + c,
                    .b = u + (point * wide + j * PANEL) * s->c + c * width,
                    .c = m + point * p->o_plane + j * PANEL,
                    .k = s->c - c < CHAIN ? s->c - c : CHAIN,
                    .a_row = p->c_stride,
                    .a_step = 1,
                    .b_step = width,
                    .c_row = p->o_stride,
                    .add = c > 0,
                };
                if (width == PANEL)
                    winograd_panel(2, all, q);
                else
                    winograd_panel(1, all, q);
            }
}

/* A^T m A of LANES outputs of a tile. */
static inline void output_points(const float *m, int64_t plane, vec y[4])
{
    vec t[2][4];
    WINOGRAD_OPAQUE(plane);
    for (int j = 0; j < 4; j++) {
        const float *at = m + j * plane;
        vec a = *(const vec *)at, b = *(const vec *)(at + 4 * plane);
        vec c = *(const vec *)(at + 8 * plane), d = *(const vec *)(at + 12 * plane);
        t[0][j] = a + b + c;
        t[1][j] = b - c - d;
    }
    for (int i = 0; i < 2; i++) {
        y[2 * i] = t[i][0] + t[i][1] + t[i][2];
        y[2 * i + 1] = t[i][1] - t[i][2] - t[i][3];
    }
}

/* Outputs from .. to of tile `tile`, which lies at m. */
static inline void output_tile(const struct plan *p, const struct winograd_shape *s,
                               const struct winograd_output *out, int64_t tile,
                               const int64_t range[2], const float *m, float *y)
{
    struct winograd_place at = winograd_place_of(&p->grid, tile);
    int64_t begin = ((at.item * s->h + at.row) * s->w + at.column) * s->o;
    bool below = at.row + 1 < s->h, right = at.column + 1 < s->w;
    const bool inside[4] = {true, right, below, right && below};
    const int64_t pixel[4] = {begin, begin + s->o, begin + s->w * s->o,
                              begin + (s->w + 1) * s->o};
    const struct winograd_sums sums = winograd_sums_of(out, at.item, s->o);
    bool plain = below && right && sums.residual == NULL && !sums.add;
    for (int64_t o = range[0]; o < range[1]; o += LANES) {
        int64_t some = range[1] - o;
        vec v[4], offset = winograd_offset(&sums, o, some);
        output_points(m + o, p->o_plane, v);
        if (plain && some >= LANES)
            for (int i = 0; i < 4; i++)
                winograd_put(y + pixel[i] + o, LANES, v[i] + offset);
        for (int i = 0; i < 4 && !(plain && some >= LANES); i++)
            if (inside[i])
                winograd_finish(&sums, pixel[i] + o, some, v[i] + offset, y);
    }
}

void winograd_conv(const struct winograd_shape *s, const float *x, const float *packed,
                   const struct winograd_output *out, float *y, float *work, int threads)
{
    static const struct winograd_output plain = {0};
    out = out != NULL ? out : &plain;
    if (few(s->c, s->o)) {
        winograd_few_conv(s, x, packed, out, y, work, threads);
        return;
    }
    const struct plan p = plan_make(s, threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        float *v = work + thread * p.work, *m = v + WINOGRAD_POINTS * p.c_plane;
        float *patch = m + WINOGRAD_POINTS * p.o_plane;
        int64_t units = p.blocks * p.parts, end = units * (thread + 1) / threads;
        for (int64_t i = units * thread / threads; i < end; i++) {
            int64_t first = i / p.parts * p.block, part = i % p.parts;
            int64_t rows = p.tiles - first < p.block ? p.tiles - first : p.block;
            const int64_t panels[2] = {p.panels * part / p.parts,
                                       p.panels * (part + 1) / p.parts};
            const int64_t range[2] = {
                panels[0] * PANEL, panels[1] * PANEL < s->o ? panels[1] * PANEL : s->o};
            winograd_input_tiles(&p.grid, first, rows, x, s->c, patch, v, p.c_plane);
            fill_rows(&p, rows, v);
            products(&p, s, rows, panels, v, packed, m);
            for (int64_t t = 0; t < rows; t++)
                output_tile(&p, s, out, first + t, range, m + t * p.o_stride, y);
        }
    }
}
