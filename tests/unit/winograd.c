/* Winograd convolution against a plain sum in double: accuracy on random normal data
 * compared with that of a plain float32 sum, all kinds of sizes, and the bits of one
 * item whatever batch and number of threads. */
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/winograd.h"
#include "tests/tap.h"

#include <string.h>

/* Buffers of one shape; the exact size, so that a sanitizer sees what lies outside. */
struct data {
    struct winograd_shape s;
    int64_t in, out, weights;
    float *x, *dy, *weight, *bias, *shift, *packed, *packed_dx;
};

static float *normal(uint64_t key, int64_t n)
{
    float *p = mem_alloc(n, sizeof *p);
    rng_normal(key, p, n);
    return p;
}

static struct data data_make(struct winograd_shape s)
{
    struct data d = {s,
                     s.n * s.h * s.w * s.c,
                     s.n * s.h * s.w * s.o,
                     9 * s.c * s.o,
                     NULL,
                     NULL,
                     NULL,
                     NULL,
                     NULL,
                     NULL,
                     NULL};
    d.x = normal(1, d.in);
    d.dy = normal(2, d.out);
    d.weight = normal(3, d.weights);
    d.bias = normal(4, s.o);
    d.shift = normal(5, s.n * s.o);
    d.packed = mem_alloc(winograd_packed(s.c, s.o), sizeof(float));
    d.packed_dx = mem_alloc(winograd_packed(s.o, s.c), sizeof(float));
    winograd_pack(s.c, s.o, d.weight, d.packed);
    winograd_pack_dx(s.c, s.o, d.weight, d.packed_dx);
    return d;
}

static void data_free(struct data *d)
{
    float *all[] = {d->x, d->dy, d->weight, d->bias, d->shift, d->packed, d->packed_dx};
    for (int i = 0; i < 7; i++)
        mem_free(all[i]);
}

enum what { FORWARD, DX, DW };

/* The plain sums, over taps that reach the pixel, in double and in float. */
static void plain(const struct data *d, enum what what, double *exact, float *single)
{
    const struct winograd_shape *s = &d->s;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t i = 0; i < 9 * s->h * s->w; i++) {
            int64_t tap = i % 9, row = i / 9 / s->w, column = i / 9 % s->w;
            int64_t from = row + tap / 3 - 1, at = column + tap % 3 - 1;
            if (from < 0 || from >= s->h || at < 0 || at >= s->w)
                continue;
            int64_t x = ((n * s->h + from) * s->w + at) * s->c;
            int64_t y = ((n * s->h + row) * s->w + column) * s->o;
            for (int64_t o = 0; o < s->o; o++)
                for (int64_t c = 0; c < s->c; c++) {
                    int64_t w = (o * s->c + c) * 9 + tap;
                    int64_t to = what == FORWARD ? y + o : what == DX ? x + c : w;
                    float a = what == DW ? d->dy[y + o] : d->weight[w];
                    float b = what == DX ? d->dy[y + o] : d->x[x + c];
                    exact[to] += (double)a * (double)b;
                    single[to] += a * b;
                }
        }
}

static void run(const struct data *d, enum what what, float *to, int threads)
{
    struct winograd_shape s = d->s;
    float *work = mem_alloc(winograd_work(&s, threads), sizeof *work);
    memset(work, 0xff, (size_t)winograd_work(&s, threads) * sizeof *work); /* NaN */
    if (what == FORWARD)
        winograd_conv(&s, d->x, d->packed, NULL, to, work, threads);
    else if (what == DW)
        winograd_dw(&s, d->x, d->dy, to, work, threads);
    else {
        struct winograd_shape t = {s.n, s.h, s.w, s.o, s.c};
        winograd_conv(&t, d->dy, d->packed_dx, NULL, to, work, threads);
    }
    mem_free(work);
}

/* Largest error relative to the largest value, of ours and of the plain float32 sum. */
static void accuracy(struct winograd_shape s)
{
    static const char *const names[] = {"forward", "dx", "dw"};
    struct data d = data_make(s);
    for (enum what what = FORWARD; what <= DW; what++) {
        int64_t n = what == FORWARD ? d.out : what == DX ? d.in : d.weights;
        double *exact = mem_alloc(n, sizeof *exact), ours = 0, theirs = 0, most = 0;
        float *single = mem_alloc(n, sizeof *single), *got = mem_alloc(n, sizeof *got);
        plain(&d, what, exact, single);
        run(&d, what, got, 2);
        for (int64_t i = 0; i < n; i++) {
            double error = fabs((double)got[i] - exact[i]);
            ours = error <= ours ? ours : error; /* NaN stays */
            theirs = fmax(theirs, fabs((double)single[i] - exact[i]));
            most = fmax(most, fabs(exact[i]));
        }
        /* where the plain sum is nearly exact, a few roundings of the transforms */
        tap_ok(
            ours <= fmax(4 * theirs, 1e-6 * most),
            "%s %ldx%ldx%ld, %ld to %ld: error %.2g of the largest, plain float %.2g",
            names[what], (long)s.n, (long)s.h, (long)s.w, (long)s.c, (long)s.o,
            ours / most, theirs / most);
        mem_free(exact);
        mem_free(single);
        mem_free(got);
    }
    data_free(&d);
}

/* One item alone and anywhere in a batch; dw whatever the threads. */
static void bits(struct winograd_shape s)
{
    static const int threads[] = {1, 2, 3, 5};
    struct data d = data_make(s);
    int64_t in = d.in / s.n, out = d.out / s.n, bad = 0;
    float *y = mem_alloc(d.out, sizeof *y), *one = mem_alloc(out, sizeof *one);
    float *dx = mem_alloc(d.in, sizeof *dx), *one_dx = mem_alloc(in, sizeof *one_dx);
    float *dw = mem_alloc(d.weights, sizeof *dw),
          *first = mem_alloc(d.weights, sizeof *dw);
    for (int t = 0; t < 4; t++) {
        run(&d, FORWARD, y, threads[t]);
        run(&d, DX, dx, threads[t]);
        for (int64_t i = 0; i < s.n; i++) {
            struct data item = d;
            item.s.n = 1;
            item.x += i * in;
            item.dy += i * out;
            run(&item, FORWARD, one, threads[(t + i) % 4]);
            run(&item, DX, one_dx, threads[(t + i) % 4]);
            bad += memcmp(one, y + i * out, (size_t)out * sizeof *one) != 0;
            bad += memcmp(one_dx, dx + i * in, (size_t)in * sizeof *one) != 0;
        }
        memset(dw, 0, (size_t)d.weights * sizeof *dw);
        run(&d, DW, dw, threads[t]);
        if (t == 0)
            memcpy(first, dw, (size_t)d.weights * sizeof *dw);
        bad += memcmp(first, dw, (size_t)d.weights * sizeof *dw) != 0;
    }
    tap_ok(bad == 0,
           "same bits in any place with 1, 2, 3, 5 threads: %ldx%ldx%ld, %ld to "
           "%ld",
           (long)s.n, (long)s.h, (long)s.w, (long)s.c, (long)s.o);
    float *all[] = {y, one, dx, one_dx, dw, first};
    for (int i = 0; i < 6; i++)
        mem_free(all[i]);
    data_free(&d);
}

/* Bias, shift, residual and the old y are added once, and dw is added. */
static void additions(struct winograd_shape s)
{
    struct data d = data_make(s);
    float *work = mem_alloc(winograd_work(&s, 2), sizeof *work);
    float *bare = mem_alloc(d.out, sizeof *bare), *y = normal(6, d.out);
    float *dw = mem_alloc(d.weights, sizeof *dw);
    struct winograd_output out = {d.bias, d.shift, d.dy, true};
    double worst = 0, worst_dw = 0;
    run(&d, FORWARD, bare, 1);
    float *before = normal(6, d.out);
    winograd_conv(&s, d.x, d.packed, &out, y, work, 2);
    for (int64_t i = 0; i < d.out; i++) {
        int64_t o = i % s.o, item = i / (s.h * s.w * s.o);
        float want =
            bare[i] + d.bias[o] + d.shift[item * s.o + o] + d.dy[i] + before[i];
        worst = fmax(worst, fabs((double)(y[i] - want)));
    }
    tap_near(worst, 0, 2e-5, "bias, shift, residual, old values");
    run(&d, DW, dw, 1);
    float *twice = mem_alloc(d.weights, sizeof *twice);
    run(&d, DW, twice, 1);
    run(&d, DW, twice, 1);
    for (int64_t i = 0; i < d.weights; i++)
        worst_dw = fmax(worst_dw, fabs((double)(twice[i] - 2 * dw[i])));
    tap_near(worst_dw, 0, 0, "dw is added");
    float *all[] = {work, bare, y, dw, before, twice};
    for (int i = 0; i < 6; i++)
        mem_free(all[i]);
    data_free(&d);
}

int main(void)
{
    static const struct winograd_shape accurate[] = {
        {2, 16, 16, 3, 32},  {2, 8, 8, 32, 3},    {2, 16, 16, 32, 32},
        {4, 8, 8, 128, 128}, {2, 4, 4, 512, 512}, {2, 4, 4, 512, 48},
        {1, 1, 1, 1, 1},     {3, 3, 5, 5, 17},    {2, 7, 7, 17, 5},
        {3, 1, 6, 3, 48},    {2, 2, 2, 130, 48},  {5, 5, 3, 48, 130},
        {1, 32, 32, 1, 3},   {20, 9, 9, 7, 9}};
    static const struct winograd_shape same[] = {
        {3, 1, 1, 1, 1},     {5, 3, 5, 5, 17},   {4, 7, 7, 17, 5},
        {16, 4, 4, 48, 130}, {3, 8, 8, 300, 20}, {4, 32, 32, 32, 3},
        {4, 32, 32, 3, 32},  {7, 16, 16, 64, 40}};
    for (size_t i = 0; i < sizeof accurate / sizeof *accurate; i++)
        accuracy(accurate[i]);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        bits(same[i]);
    additions((struct winograd_shape){3, 7, 6, 19, 21});
    additions((struct winograd_shape){2, 4, 4, 16, 16});
    tap_near((double)mem_live(), 0, 0, "blocks left");
    return tap_done();
}
