/* The tape: cells (tensors) and nodes (operations) in the order of their making, all in
 * one arena. A gradient is written by the first consumer that backward meets and added to
 * by the others, in the reverse order of the forward pass: a fixed order. */
#include "stages/nn/tape.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/node.h"

#include <string.h>

/* A tensor first, so that a pointer to it is one to the cell. */
struct cell {
    struct tensor t;
    struct cell *root; /* who keeps `written`: itself, or what it is a view of */
    bool written;
    struct cell *previous;
};

struct tape {
    const struct backend *backend;
    struct arena *arena;
    struct cell *cells;
    struct node *nodes;
    bool record;
};

struct tape *tape_create(const struct backend *backend)
{
    struct tape *t = mem_alloc(1, sizeof *t);
    t->backend = backend;
    t->arena = arena_create();
    return t;
}

void tape_destroy(struct tape *t)
{
    if (t == NULL)
        return;
    arena_destroy(t->arena);
    mem_free(t);
}

void tape_begin(struct tape *t, bool record)
{
    arena_reset(t->arena);
    t->cells = NULL;
    t->nodes = NULL;
    t->record = record;
}

static struct cell *tape_cell(struct tape *t, int nd, const int64_t *dim)
{
    ERR_BUG_IF(nd < 1 || nd > 4);
    struct cell *c = arena_take(t->arena, 1, sizeof *c);
    *c = (struct cell){.t.nd = nd, .root = c, .previous = t->cells};
    for (int i = 0; i < 4; i++) {
        c->t.dim[i] = i < nd ? dim[i] : 1;
        ERR_BUG_IF(c->t.dim[i] < 1);
    }
    t->cells = c;
    return c;
}

struct tensor *tape_tensor(struct tape *t, int nd, const int64_t *dim, bool want_grad)
{
    struct cell *c = tape_cell(t, nd, dim);
    int64_t n = tensor_count(&c->t);
    c->t.data = arena_take(t->arena, n, sizeof(float));
    if (t->record && want_grad)
        c->t.grad = arena_take(t->arena, n, sizeof(float));
    return &c->t;
}

struct tensor *tape_alias(struct tape *t, struct tensor *x, int nd, const int64_t *dim)
{
    struct cell *c = tape_cell(t, nd, dim);
    ERR_BUG_IF(tensor_count(&c->t) != tensor_count(x));
    c->t.data = x->data;
    c->t.grad = x->grad;
    c->root = ((struct cell *)x)->root;
    return &c->t;
}

struct node *tape_node(struct tape *t, struct tensor *out,
                       void (*backward)(struct tape *t, const struct node *n))
{
    if (!t->record || out->grad == NULL)
        return NULL;
    struct node *n = arena_take(t->arena, 1, sizeof *n);
    *n = (struct node){.backward = backward, .out = out, .previous = t->nodes};
    t->nodes = n;
    return n;
}

float *tape_sink(struct tensor *x, bool *add)
{
    if (x->grad == NULL)
        return NULL;
    struct cell *root = ((struct cell *)x)->root;
    *add = root->written;
    root->written = true;
    return x->grad;
}

int tape_backward(struct tape *t, struct tensor *out, const float *seed)
{
    ERR_BUG_IF(!t->record || out->grad == NULL);
    for (struct cell *c = t->cells; c != NULL; c = c->previous)
        c->written = false;
    memcpy(out->grad, seed, (size_t)tensor_count(out) * sizeof *seed);
    ((struct cell *)out)->root->written = true;
    for (struct node *n = t->nodes; n != NULL; n = n->previous) {
        if (!((struct cell *)n->out)->root->written)
            continue; /* out does not depend on it */
        struct arena_mark mark = arena_mark(t->arena);
        n->backward(t, n);
        arena_release(t->arena, mark);
    }
    for (struct cell *c = t->cells; c != NULL; c = c->previous)
        if (c->root == c && c->t.grad != NULL && !c->written)
            memset(c->t.grad, 0, (size_t)tensor_count(&c->t) * sizeof(float));
    return 0;
}

struct arena *tape_arena(struct tape *t)
{
    return t->arena;
}

const struct backend *tape_kernels(const struct tape *t)
{
    return t->backend;
}

int64_t tape_bytes(const struct tape *t)
{
    return arena_bytes(t->arena);
}
