/* Every intermediate is released as soon as the next one is there. */
#include "stages/model/blocks.h"

#define EPS 1e-6f

struct tensor *blocks_norm(struct tape *t, struct tensor *x, struct tensor *m, int part)
{
    return op_modulated_norm(t, x, m, (struct modulate){part, part + 1}, EPS);
}

struct tensor *blocks_feed(struct tape *t, const struct blocks_feed *f,
                           struct tensor *x, struct tensor *m, int part)
{
    struct tensor *h = blocks_norm(t, x, m, part);
    struct tensor *wide = dense_run(t, f->set, f->in, h);
    struct tensor *g = f->bend(t, wide);
    tape_release(t, h);
    tape_release(t, wide);
    h = dense_run(t, f->set, f->out, g);
    tape_release(t, g);
    struct tensor *y = op_gate(t, x, h, m, part + 2);
    tape_release(t, h);
    return y;
}

struct tensor *blocks_run(struct tape *t, const struct blocks *b, struct tensor *x,
                          struct tensor *c)
{
    for (int64_t i = 0; i < b->n; i++) {
        const struct blocks_step s = {b->net, b->set, i};
        struct tensor *y =
            tape_segment(t, b->block, &s, sizeof s, (struct tensor *const[]){x, c}, 2);
        tape_release(t, x);
        x = y;
    }
    struct tensor *m = dense_run(t, b->set, b->modulation, c);
    struct tensor *h = blocks_norm(t, x, m, 0);
    tape_release(t, x);
    struct tensor *y = dense_run(t, b->set, b->out, h);
    tape_release(t, h);
    return y;
}
