/* Linear maps by oneDNN's matrix product, item by item in tiles of fixed shapes. The
 * weights are kept packed, in column blocks; a tile of the result is made in float32 in
 * the cache and leaves it with bias and residual added, rounded once. */
#include "stages/nn/epilogue.h"
#include "stages/nn/fast.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn_matmul.h"

#include "io/sys/mem.h"

#include <omp.h>

/* Fewer rows per item than this are no work for a matrix unit. */
#define FEW_ROWS 16

/* A side of a tile such that its operands, [side, k] each, stay in a core's own cache.
 */
static int64_t side_for(int64_t k)
{
    const int64_t side = (1 << 18) / k / 32 * 32;
    return side > 256 ? 256 : side < 32 ? 32 : side;
}

/* One part's product [m, k] [k, n] in column blocks, the last of which may have a shape
 * of its own. */
struct plan {
    struct cut n;
    int64_t m, k;
    struct onednn_matmul *whole, *rest;
    int64_t pitch; /* bytes from one packed block to the next */
};

static struct onednn_matmul *plan_block(const struct plan *p, int64_t i)
{
    return i + 1 < p->n.count ? p->whole : p->rest;
}

static struct plan plan_make(enum dtype type, int64_t m, int64_t n, int64_t k,
                             int64_t side)
{
    struct plan p = {.n = cut_even(n, side), .m = m, .k = k};
    struct matmul_shape s = {m, p.n.size, k, type, MATMUL_ROWS, MATMUL_PACKED};
    p.whole = onednn_matmul_find(s);
    s.n = p.n.rest;
    p.rest = onednn_matmul_find(s);
    int64_t whole = onednn_matmul_packed(p.whole), rest = onednn_matmul_packed(p.rest);
    p.pitch = whole > rest ? whole : rest;
    return p;
}

/* One product: the sum over the pieces of x [items * rows, k] times packed weights
 * [k, to.columns], tiles of m rows. */
struct job {
    int64_t items, rows, m;
    int pieces;
    struct piece {
        const void *x;
        struct plan plan;
        const char *packed;
    } piece[PARTS];
    struct epilogue to;
};

/* Weights as packed blocks, the parts one after the other; the order may follow from m.
 */
struct copy {
    enum dtype type;
    bool backward;
    int64_t split, m;
    uint64_t stamp;
    char *at;
    struct copy *next;
};

/* On param.packed. */
struct copies {
    struct packed base;
    struct copy *first;
};

static void copies_destroy(struct packed *p)
{
    struct copies *all = (struct copies *)p;
    while (all->first != NULL) {
        struct copy *c = all->first;
        all->first = c->next;
        mem_free(c->at);
        mem_free(c);
    }
    mem_free(all);
}

static struct copy *copy_lookup(const struct linear_args *a, bool backward, int64_t m)
{
    struct copies *all = (struct copies *)packed_find(a->weight, copies_destroy);
    if (all == NULL) {
        all = mem_alloc(1, sizeof *all);
        all->base = (struct packed){.owner = copies_destroy, .destroy = copies_destroy};
        packed_hang(a->weight, &all->base);
    }
    struct copy *c = all->first;
    while (c != NULL && (c->type != a->type || c->backward != backward ||
                         c->split != a->part[0].c || c->m != m))
        c = c->next;
    if (c == NULL) {
        c = mem_alloc(1, sizeof *c);
        c->type = a->type;
        c->backward = backward;
        c->split = a->part[0].c;
        c->m = m;
        c->next = all->first;
        all->first = c;
    }
    return c;
}

/* Part p's weights from `first` on, [k, n] of the forward or of dx -> blocks at `to`.
 */
static void plan_pack(const struct plan *p, const struct linear_args *a, int64_t first,
                      bool backward, char *to)
{
    const float *w = a->weight->t.data + first;
    for (int64_t i = 0; i < p->n.count; i++, to += p->pitch) {
        const int64_t column = i * p->n.size;
        if (backward)
            onednn_matmul_pack(plan_block(p, i), w + column, a->in, 1, to);
        else
            onednn_matmul_pack(plan_block(p, i), w + column * a->in, 1, a->in, to);
    }
}

/* Gives the plans of all parts their packed weights, made again where they are stale.
 */
static void copy_get(const struct linear_args *a, const struct plan plan[PARTS],
                     bool backward, const char *packed[PARTS])
{
    int64_t bytes = 0, at = 0, first = 0;
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
        bytes += plan[p].pitch * plan[p].n.count;
    struct copy *c = copy_lookup(a, backward, plan[0].m);
    const bool stale = c->at == NULL || c->stamp != param_stamp(a->weight->set);
    if (c->at == NULL)
        c->at = mem_alloc(bytes, 1);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        packed[p] = c->at + at;
        if (stale)
            plan_pack(&plan[p], a, first, backward, c->at + at);
        at += plan[p].pitch * plan[p].n.count;
        first += a->part[p].c;
    }
    c->stamp = param_stamp(a->weight->set);
}

/* Tile (i, j) of an item. All tiles have m rows: the last one begins earlier, and only
 * its new rows are kept. */
static void job_tile(const struct job *q, int64_t item, int64_t i, int64_t j,
                     float *sum, void *scratch)
{
    const struct plan *first = &q->piece[0].plan;
    const int64_t want = i * q->m, n = cut_piece(first->n, j);
    const int64_t from = want < q->rows - q->m ? want : q->rows - q->m;
    const int64_t row = item * q->rows + from;
    for (int p = 0; p < q->pieces; p++) {
        const struct piece *c = &q->piece[p];
        onednn_matmul_run(plan_block(&c->plan, j),
                          act_at(q->to.type, c->x, row * c->plan.k),
                          c->packed + j * c->plan.pitch, sum, p > 0, scratch);
    }
    for (int64_t r = want - from; r < q->m; r++)
        epilogue_row(&q->to, row + r, j * first->n.size, sum + r * n, n);
}

static void job_run(const struct job *q, struct arena *arena)
{
    const int threads = omp_get_max_threads();
    const struct cut n = q->piece[0].plan.n;
    const int64_t high = (q->rows + q->m - 1) / q->m;
    int64_t scratch_bytes = 0;
    for (int p = 0; p < q->pieces; p++)
        for (int64_t j = 0; j<n.count; j += n.count> 1 ? n.count - 1 : 1) {
            int64_t b = onednn_matmul_scratch(plan_block(&q->piece[p].plan, j));
            scratch_bytes = b > scratch_bytes ? b : scratch_bytes;
        }
    const int64_t tile = (q->m * n.size + 15) / 16 * 16;
    float *sum = arena_take(arena, threads * tile, sizeof *sum);
    char *scratch = arena_take(arena, threads, (size_t)scratch_bytes);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < q->items * high * n.count; t++) {
        const int me = omp_get_thread_num();
        job_tile(q, t / n.count / high, t / n.count % high, t % n.count,
                 sum + me * tile, scratch + me * scratch_bytes);
    }
}

static bool few_rows(const struct linear_args *a)
{
    return a->rows / a->n < FEW_ROWS;
}

/* Tiles' rows, all of an item's if they are few. */
static int64_t tile_rows(const struct linear_args *a, int64_t side)
{
    const int64_t rows = a->rows / a->n;
    return cut_even(rows, side).size;
}

void native_linear(const struct linear_args *a)
{
    if (few_rows(a)) {
        fast_linear(a);
        return;
    }
    const int64_t side = side_for(a->in), m = tile_rows(a, side);
    struct plan plan[PARTS];
    const char *packed[PARTS];
    struct job q = {.items = a->n,
                    .rows = a->rows / a->n,
                    .m = m,
                    .to = {.columns = a->out,
                           .type = a->type,
                           .bias = a->bias != NULL ? a->bias->t.data : NULL,
                           .residual = a->residual,
                           .y = a->y}};
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
        plan[p] = plan_make(a->type, m, a->out, a->part[p].c, side);
    copy_get(a, plan, false, packed);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
        q.piece[q.pieces++] = (struct piece){a->part[p].x, plan[p], packed[p]};
    job_run(&q, a->scratch);
}

void native_linear_dx(const struct linear_args *a)
{
    if (few_rows(a)) {
        fast_linear_dx(a);
        return;
    }
    const int64_t side = side_for(a->out), m = tile_rows(a, side);
    struct plan plan[PARTS];
    const char *packed[PARTS];
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
        plan[p] = plan_make(a->type, m, a->part[p].c, a->out, side);
    copy_get(a, plan, true, packed);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        struct job q = {.items = a->n,
                        .rows = a->rows / a->n,
                        .m = m,
                        .pieces = 1,
                        .piece = {{a->dy, plan[p], packed[p]}},
                        .to = {.columns = a->part[p].c,
                               .type = a->type,
                               .residual = a->part[p].add_dx ? a->part[p].dx : NULL,
                               .y = a->part[p].dx}};
        if (q.to.y != NULL)
            job_run(&q, a->scratch);
    }
}
