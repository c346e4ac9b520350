/* Convolutions with very few channels on one side, such as those from and to a
 * picture's colours: the transforms would cost more than they save. With few inputs
 * each pixel's 3x3 neighbourhood is a row [9 c] of a matrix product. With few outputs
 * the product of each pixel with all taps is a row [9 o], and an output sums up nine
 * neighbours' shares. The gradient of the weights is the product of one side's
 * neighbourhoods and the other side's pixels. */
#include "stages/nn/winograd_tile.h"

#define PANEL (2 * LANES)

/* Pixels of one product, and of the rows of a picture that are worked on at once. */
#define BLOCK 96
#define BAND 1024

/* Pixels of a product whose rows are read or written as it goes. */
#define PART (2 * WINOGRAD_ROWS)

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* packed [panel][k][PANEL or LANES], as in winograd.c: few inputs: k = (tap, c) and
 * columns o; few outputs: k = c and columns (tap, o). */
void winograd_few_pack(const struct winograd_filters *f, float *packed)
{
    bool inputs = f->c <= WINOGRAD_FEW;
    int64_t depth = inputs ? 9 * f->c : f->c, columns = inputs ? f->o : 9 * f->o;
    int64_t wide = winograd_up(columns, LANES);
    for (int64_t first = 0; first < wide; first += PANEL) {
        int64_t width = least(PANEL, wide - first);
        for (int64_t k = 0; k < depth; k++)
            for (int64_t i = 0; i < width; i++, packed++) {
                int64_t column = first + i, tap = inputs ? k / f->c : column / f->o;
                int64_t c = inputs ? k % f->c : k, o = inputs ? column : column % f->o;
                if (column < columns)
                    *packed = f->weight[c * f->c_step + o * f->o_step +
                                        (f->turned ? 8 - tap : tap)];
                else
                    *packed = 0;
            }
    }
}

/* Floats from one pixel's neighbourhood to the next; vectors may reach over its end. */
static int64_t around_stride(int64_t c)
{
    return winograd_stride(9 * c + LANES);
}

/* to [count][9 c]: the neighbourhoods of pixels first .. of x [n, h, w, c]. */
static void around(const struct winograd_shape *s, int64_t c, const float *x,
                   int64_t first, int64_t count, float *to)
{
    int64_t row = first / s->w % s->h, column = first % s->w, stride = around_stride(c);
    const float *at = x + first * c;
    for (int64_t i = 0; i < count; i++, at += c, to += stride) {
        bool middle = column > 0 && column + 1 < s->w;
        for (int r = -1; r <= 1; r++) {
            bool inside = row + r >= 0 && row + r < s->h;
            const float *from = at + (r * s->w - 1) * c;
            float *taps = to + (r + 1) * 3 * c;
            if (inside && middle) {
                for (int64_t k = 0; k < 3 * c; k += LANES)
                    *(vec_anywhere *)(taps + k) = winograd_get(from + k, 3 * c - k);
                continue;
            }
            for (int t = 0; t < 3; t++) {
                bool there = inside && column + t > 0 && column + t <= s->w;
                for (int64_t k = 0; k < c; k++)
                    taps[t * c + k] = there ? from[t * c + k] : 0;
            }
        }
        if (++column == s->w) {
            column = 0;
            row = row + 1 == s->h ? 0 : row + 1;
        }
    }
}

/* to [count][stride]: rows of c values from x. */
static void copy(int64_t count, int64_t c, const float *x, float *to, int64_t stride)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < c; k += LANES)
            *(vec *)(to + i * stride + k) = winograd_get(x + i * c + k, c - k);
}

/* Rows that only fill up the last rows of a product. */
static void fill(int64_t rows, float *to, int64_t stride)
{
    int64_t more = winograd_up(rows, 4) - rows;
    memset(to + rows * stride, 0, (size_t)(more * stride) * sizeof *to);
}

/* c [rows][columns] = a b for all panels b of `columns`. */
static void multiply(int64_t rows, int64_t columns, struct winograd_product q)
{
    int64_t wide = winograd_up(columns, LANES);
    for (int64_t j = 0; j < wide; j += PANEL, q.b += PANEL * q.k, q.c += PANEL) {
        q.b_step = least(PANEL, wide - j);
        if (q.b_step == PANEL)
            winograd_panel(2, winograd_up(rows, 4), q);
        else
            winograd_panel(1, winograd_up(rows, 4), q);
    }
}

/* How the work is cut; only `slices` changes results, and it follows from the shape. */
struct plan {
    int64_t pixels, band, bands; /* band: rows of an item; bands per item */
    int64_t few, many, few_stride, many_stride, share_stride, work;
    int64_t slices, wide, slice; /* gradient [many][9 few] of a slice */
};

static struct plan plan_make(const struct winograd_shape *s, int threads)
{
    bool inputs = s->c <= WINOGRAD_FEW;
    struct plan p = {.pixels = s->n * s->h * s->w,
                     .few = inputs ? s->c : s->o,
                     .many = inputs ? s->o : s->c};
    p.bands = (s->h * s->w + BAND - 1) / BAND;
    if (s->n * p.bands < threads)
        p.bands = (threads + s->n - 1) / s->n;
    p.bands = least(p.bands, s->h);
    p.band = (s->h + p.bands - 1) / p.bands;
    p.few_stride = around_stride(p.few);
    p.many_stride = winograd_stride(p.many);
    p.share_stride = winograd_up(9 * p.few + LANES, 16);
    p.work = BLOCK * (p.few_stride + p.many_stride) +
             ((p.band + 2) * s->w + BLOCK) * p.share_stride;
    p.slices = least(16, p.pixels / 512);
    p.slices = p.slices > 1 ? p.slices : 1;
    p.wide = winograd_up(9 * p.few, LANES);
    p.slice = winograd_up(winograd_up(p.many, 4) * p.wide, 16);
    return p;
}

int64_t winograd_few_work(const struct winograd_shape *s, int threads)
{
    struct plan p = plan_make(s, threads);
    return threads * p.work + p.slices * p.slice;
}

/* y of pixels first .. first + count of an item, outputs range[0] .. range[1], from
 * rows [PANEL] at m, while these are in the first cache. */
static inline void put_rows(const struct winograd_shape *s,
                            const struct winograd_sums *sums, int64_t first,
                            int64_t count, const int64_t range[2], const float *m,
                            float *y)
{
    bool more = sums->residual != NULL || sums->add;
    for (int64_t o = range[0]; o < range[1]; o += LANES, m += LANES) {
        int64_t some = s->o - o, at = first * s->o + o;
        vec offset = winograd_offset(sums, o, some);
        for (int64_t i = 0; i < count; i++, at += s->o) {
            vec v = *(const vec *)(m + i * PANEL) + offset;
            if (more)
                winograd_finish(sums, at, some, v, y);
            else
                winograd_put(y + at, some, v);
        }
    }
}

/* y of pixels first .. first + count, at most BLOCK. */
static void from_few_block(const struct winograd_shape *s, const struct plan *p,
                           int64_t first, int64_t count, const float *x,
                           const float *packed, const struct winograd_output *out,
                           float *y, float *work)
{
    int64_t per_item = s->h * s->w, end = first + count;
    float *m = work + BLOCK * p->few_stride;
    around(s, s->c, x, first, count, work);
    fill(count, work, p->few_stride);
    for (int64_t i = first, some; i < end; i += some) {
        struct winograd_product q = {.a = work + (i - first) * p->few_stride,
                                     .b = packed,
                                     .c = m,
                                     .k = 9 * s->c,
                                     .a_row = p->few_stride,
                                     .a_step = 1,
                                     .c_row = PANEL};
        const struct winograd_sums sums = winograd_sums_of(out, i / per_item, s->o);
        some = least(least(PART, end - i), per_item - i % per_item);
        for (int64_t o = 0; o < s->o; o += PANEL, q.b += PANEL * q.k) {
            const int64_t range[2] = {o, least(s->o, o + PANEL)};
            multiply(some, range[1] - o, q);
            put_rows(s, &sums, i, some, range, m, y);
        }
    }
}

static void from_few(const struct winograd_shape *s, const struct plan *p,
                     const float *x, const float *packed,
                     const struct winograd_output *out, float *y, float *work,
                     int threads)
{
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        int64_t blocks = (p->pixels + BLOCK - 1) / BLOCK;
        int64_t end = blocks * (thread + 1) / threads;
        for (int64_t i = blocks * thread / threads; i < end; i++)
            from_few_block(s, p, i * BLOCK, least(BLOCK, p->pixels - i * BLOCK), x,
                           packed, out, y, work + thread * p->work);
    }
}

/* y of rows begin .. end of an item; share [9 o] of its pixels from row `from` on. */
static void gather(const struct winograd_shape *s, const struct plan *p,
                   const struct winograd_output *out, int64_t item,
                   const int64_t rows[2], int64_t from, const float *share, float *y)
{
    const struct winograd_sums sums = winograd_sums_of(out, item, s->o);
    vec offset = winograd_offset(&sums, 0, s->o);
    for (int64_t row = rows[0]; row < rows[1]; row++)
        for (int64_t column = 0; column < s->w; column++) {
            int64_t top = row > 0 ? 0 : 1, bottom = row + 1 < s->h ? 2 : 1;
            int64_t left = column > 0 ? 0 : 1, right = column + 1 < s->w ? 2 : 1;
            vec v = {0};
            for (int64_t i = top; i <= bottom; i++)
                for (int64_t j = left; j <= right; j++) {
                    int64_t pixel = (row + i - 1 - from) * s->w + column + j - 1;
                    v += *(const vec_anywhere *)(share + pixel * p->share_stride +
                                                 (3 * i + j) * s->o);
                }
            winograd_finish(&sums, ((item * s->h + row) * s->w + column) * s->o, s->o,
                            v + offset, y);
        }
}

static void to_few(const struct winograd_shape *s, const struct plan *p, const float *x,
                   const float *packed, const struct winograd_output *out, float *y,
                   float *work, int threads)
{
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        float *a = work + thread * p->work, *share = a + BLOCK * p->many_stride;
        int64_t units = s->n * p->bands, end = units * (thread + 1) / threads;
        for (int64_t i = units * thread / threads; i < end; i++) {
            int64_t item = i / p->bands, begin = i % p->bands * p->band;
            const int64_t rows[2] = {begin, least(begin + p->band, s->h)};
            int64_t from = begin > 0 ? begin - 1 : 0;
            int64_t pixels = (least(rows[1] + 1, s->h) - from) * s->w;
            const float *at = x + (item * s->h + from) * s->w * s->c;
            for (int64_t first = 0; first < pixels; first += PART) {
                int64_t count = least(PART, pixels - first);
                copy(count, s->c, at + first * s->c, a, p->many_stride);
                fill(count, a, p->many_stride);
                multiply(count, 9 * s->o,
                         (struct winograd_product){.a = a,
                                                   .b = packed,
                                                   .c = share + first * p->share_stride,
                                                   .k = s->c,
                                                   .a_row = p->many_stride,
                                                   .a_step = 1,
                                                   .c_row = p->share_stride});
            }
            gather(s, p, out, item, rows, from, share, y);
        }
    }
}

void winograd_few_conv(const struct winograd_shape *s, const float *x,
                       const float *packed, const struct winograd_output *out, float *y,
                       float *work, int threads)
{
    const struct plan p = plan_make(s, threads);
    if (s->c <= WINOGRAD_FEW)
        from_few(s, &p, x, packed, out, y, work, threads);
    else
        to_few(s, &p, x, packed, out, y, work, threads);
}

/* sum [many][9 few] of pixels first .. end. */
static void slice_sum(const struct winograd_shape *s, const struct plan *p,
                      int64_t first, int64_t end, const float *few, const float *many,
                      float *work, float *sum)
{
    float *b = work, *a = work + BLOCK * p->few_stride;
    for (int64_t begin = first; first < end; first += BLOCK) {
        int64_t count = least(BLOCK, end - first);
        around(s, p->few, few, first, count, b);
        copy(count, p->many, many + first * p->many, a, p->many_stride);
        for (int64_t j = 0; j < p->wide; j += PANEL) {
            struct winograd_product q = {.a = a,
                                         .b = b + j,
                                         .c = sum + j,
                                         .k = count,
                                         .a_row = 1,
                                         .a_step = p->many_stride,
                                         .b_step = p->few_stride,
                                         .c_row = p->wide,
                                         .add = first > begin};
            if (p->wide - j >= PANEL)
                winograd_panel(2, winograd_up(p->many, 4), q);
            else
                winograd_panel(1, winograd_up(p->many, 4), q);
        }
    }
}

void winograd_few_dw(const struct winograd_shape *s, const float *x, const float *dy,
                     float *dw, float *work, int threads)
{
    const struct plan p = plan_make(s, threads);
    bool inputs = s->c <= WINOGRAD_FEW;
    float *sums = work + threads * p.work;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        int64_t end = p.slices * (thread + 1) / threads;
        for (int64_t i = p.slices * thread / threads; i < end; i++)
            slice_sum(s, &p, p.pixels * i / p.slices, p.pixels * (i + 1) / p.slices,
                      inputs ? x : dy, inputs ? dy : x, work + thread * p.work,
                      sums + i * p.slice);
    }
    for (int64_t i = 0; i < p.many; i++)
        for (int64_t j = 0; j < 9 * p.few; j++) {
            const float *at = sums + i * p.wide + j;
            int64_t tap = j / p.few, o = inputs ? i : j % p.few,
                    c = inputs ? j % p.few : i;
            float sum = 0;
            for (int64_t slice = 0; slice < p.slices; slice++)
                sum += at[slice * p.slice];
            /* dy's neighbour at a tap sees the pixel of x at the opposite one */
            dw[(o * s->c + c) * 9 + (inputs ? tap : 8 - tap)] += sum;
        }
}
