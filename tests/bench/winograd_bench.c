/* Rates of the Winograd convolution beside oneDNN's direct one, alternately in one
 * process, counted as the products of the direct one: not a test. Usage:
 * winograd_bench [threads] [batch] [seconds per line]. */
#include "io/sys/clock.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/kernels.h"
#include "stages/nn/winograd.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    int64_t side, c, o;
} shapes[] = {{32, 32, 32},  {16, 64, 64},  {32, 128, 128}, {16, 256, 256},
              {8, 256, 256}, {4, 256, 256}, {4, 512, 512},  {16, 512, 256},
              {32, 3, 128},  {32, 128, 3}};

enum what { FORWARD, DX, DW };

struct side {
    struct winograd_shape s;
    struct conv_args a;
    const struct backend *b;
    float *packed, *packed_dx, *dw, *work;
    int threads;
};

static void ours(const struct side *d, enum what what)
{
    const struct winograd_shape turned = {d->s.n, d->s.h, d->s.w, d->s.o, d->s.c};
    if (what == FORWARD)
        winograd_conv(&d->s, d->a.x, d->packed, NULL, d->a.y, d->work, d->threads);
    else if (what == DX)
        winograd_conv(&turned, d->a.dy, d->packed_dx, NULL, d->a.dx, d->work,
                      d->threads);
    else
        winograd_dw(&d->s, d->a.x, d->a.dy, d->dw, d->work, d->threads);
}

static void theirs(const struct side *d, enum what what)
{
    struct arena_mark mark = arena_mark(d->a.scratch);
    if (what == FORWARD)
        d->b->conv(&d->a);
    else if (what == DX)
        d->b->conv_dx(&d->a);
    else
        d->b->conv_dw(&d->a);
    arena_release(d->a.scratch, mark);
}

/* Best of alternate runs. */
static void measure(const struct side *d, enum what what, double seconds)
{
    static const char *const names[] = {"forward", "dx", "dw"};
    const struct winograd_shape *s = &d->s;
    double best[2] = {1e9, 1e9}, until = clock_s() + seconds;
    for (int i = 0; i < 3 || clock_s() < until; i++)
        for (int side = 0; side < 2; side++) {
            double start = clock_s();
            (side == 0 ? ours : theirs)(d, what);
            double took = clock_s() - start;
            best[side] = took < best[side] ? took : best[side];
        }
    double flops = 18e-9 * (double)(s->n * s->h * s->w * s->c * s->o);
    printf("  %7s %6.1f %6.1f GF/s %5.2f", names[what], flops / best[0],
           flops / best[1], best[1] / best[0]);
}

static float *normal(uint64_t key, int64_t n)
{
    float *p = mem_alloc(n, sizeof *p);
    rng_normal(key, p, n);
    return p;
}

static void bench(struct winograd_shape s, const struct backend *b, int threads,
                  double seconds)
{
    struct param_set *p = param_create();
    param_declare(p, "w", 4, (const int64_t[]){s.o, s.c, 3, 3});
    param_allocate(p, 1);
    rng_normal(1, param_values(p), param_total(p));
    param_touch(p);
    int64_t in = s.n * s.h * s.w * s.c, out = s.n * s.h * s.w * s.o;
    float *x = normal(2, in), *dy = normal(3, out), *y = normal(4, out),
          *dx = normal(5, in);
    struct side d = {
        .s = s,
        .a = {.n = s.n,
              .h = s.h,
              .w = s.w,
              .c = s.c,
              .oh = s.h,
              .ow = s.w,
              .o = s.o,
              .kh = 3,
              .kw = 3,
              .stride = 1,
              .pad = {1, 1, 1, 1},
              .weight = param_at(p, 0),
              .x = x,
              .dy = dy,
              .y = y,
              .dx = dx,
              .scratch = arena_create()},
        .b = b,
        .packed = mem_alloc(winograd_packed(s.c, s.o), sizeof(float)),
        .packed_dx = mem_alloc(winograd_packed(s.o, s.c), sizeof(float)),
        .dw = mem_alloc(9 * s.c * s.o, sizeof(float)),
        .work = mem_alloc(winograd_work(&s, threads), sizeof(float)),
        .threads = threads,
    };
    winograd_pack(s.c, s.o, param_values(p), d.packed);
    double start = clock_s();
    winograd_pack(s.c, s.o, param_values(p), d.packed);
    double middle = clock_s();
    winograd_pack_dx(s.c, s.o, param_values(p), d.packed_dx);
    double pack_dx = clock_s() - middle;
    printf("%3d -> %3d @%2d", (int)s.c, (int)s.o, (int)s.h);
    for (enum what what = FORWARD; what <= DW; what++)
        measure(&d, what, seconds);
    printf("  pack %.2f %.2f ms\n", 1e3 * (middle - start), 1e3 * pack_dx);
    float *all[] = {x, dy, y, dx, d.packed, d.packed_dx, d.dw, d.work};
    for (int i = 0; i < 8; i++)
        mem_free(all[i]);
    arena_destroy(d.a.scratch);
    param_destroy(p);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    int64_t batch = argc > 2 ? atoll(argv[2]) : 16;
    double seconds = argc > 3 ? atof(argv[3]) : 0.3;
    if (threads < 1 || batch < 1)
        return 2;
    const struct backend *b = backend_get("onednn", threads);
    printf("%d threads, batch %d: ours, oneDNN, ratio\n", threads, (int)batch);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench((struct winograd_shape){batch, shapes[i].side, shapes[i].side,
                                      shapes[i].c, shapes[i].o},
              b, threads, seconds);
    return 0;
}
