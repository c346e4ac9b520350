/* The tape: cells (tensors) and nodes (operations) in the order of their making. A
 * gradient is written by the first consumer that backward meets and added to by the
 * others, in the reverse order of the forward pass: a fixed order. It exists from that
 * first write until the operation that made the tensor has used it. */
#include "stages/nn/tape.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/node.h"
#include "stages/nn/pool.h"

#include <string.h>

/* A tensor first, so that a pointer to it is one to the cell. */
struct cell {
    struct tensor t;
    struct cell
        *root;      /* who holds values and gradient: itself, or what it is a view of */
    int references; /* of the root: owner's and views' */
    int needs;      /* of the root: nodes that keep it */
    struct node *maker; /* who can make the values again, or NULL */
    bool made;          /* by an operation that is on the tape */
    bool written;       /* the gradient, in this backward */
    struct cell *previous;
};

struct tape {
    const struct backend *backend;
    struct pool *pool; /* values and gradients */
    struct arena *small,
        *scratch; /* cells, nodes and what they save; kernels' memory */
    struct cell *cells;
    struct node *nodes;
    enum dtype dtype;
    bool record, recompute, backward_done;
};

struct tape *tape_create(const struct backend *backend)
{
    struct tape *t = mem_alloc(1, sizeof *t);
    t->backend = backend;
    t->pool = pool_create();
    t->small = arena_create();
    t->scratch = arena_create();
    return t;
}

void tape_destroy(struct tape *t)
{
    if (t == NULL)
        return;
    pool_destroy(t->pool);
    arena_destroy(t->small);
    arena_destroy(t->scratch);
    mem_free(t);
}

void tape_set_dtype(struct tape *t, enum dtype type)
{
    t->dtype = type;
}

void tape_set_recompute(struct tape *t, bool recompute)
{
    t->recompute = recompute;
}

enum dtype tape_dtype(const struct tape *t)
{
    return t->dtype;
}

void tape_begin(struct tape *t, bool record)
{
    pool_reset(t->pool);
    arena_reset(t->small);
    arena_reset(t->scratch);
    t->cells = NULL;
    t->nodes = NULL;
    t->record = record;
    t->backward_done = false;
}

static struct cell *root_of(struct tensor *x)
{
    return ((struct cell *)x)->root;
}

static int64_t bytes_of(const struct tensor *x)
{
    return tensor_count(x) * (int64_t)dtype_size(x->type);
}

static struct cell *cell_new(struct tape *t, int nd, const int64_t *dim,
                             enum dtype type)
{
    ERR_BUG_IF(nd < 1 || nd > 4);
    struct cell *c = arena_take(t->small, 1, sizeof *c);
    *c = (struct cell){.t = {.nd = nd, .type = type},
                       .root = c,
                       .references = 1,
                       .previous = t->cells};
    for (int i = 0; i < 4; i++) {
        c->t.dim[i] = i < nd ? dim[i] : 1;
        ERR_BUG_IF(c->t.dim[i] < 1);
    }
    t->cells = c;
    return c;
}

struct tensor *tape_result(struct tape *t, int nd, const int64_t *dim, enum dtype type,
                           bool want_grad)
{
    struct cell *c = cell_new(t, nd, dim, type);
    c->t.raw = pool_take(t->pool, bytes_of(&c->t));
    c->t.wants_grad = t->record && want_grad;
    return &c->t;
}

struct tensor *tape_tensor(struct tape *t, int nd, const int64_t *dim, bool want_grad)
{
    return tape_result(t, nd, dim, DTYPE_F32, want_grad);
}

struct tensor *tape_alias(struct tape *t, struct tensor *x, int nd, const int64_t *dim)
{
    struct cell *c = cell_new(t, nd, dim, x->type);
    ERR_BUG_IF(tensor_count(&c->t) != tensor_count(x));
    c->t.raw = x->raw;
    c->t.wants_grad = x->wants_grad;
    c->root = root_of(x);
    c->root->references++;
    return &c->t;
}

static void drop_unused(struct tape *t, struct cell *root)
{
    if (root->references > 0 || (root->needs > 0 && root->maker == NULL))
        return;
    if (root->t.raw != NULL)
        pool_give(t->pool, root->t.raw);
    root->t.raw = NULL;
}

void tape_release(struct tape *t, struct tensor *x)
{
    if (x == NULL)
        return;
    struct cell *root = root_of(x);
    ERR_BUG_IF(root->references < 1);
    root->references--;
    drop_unused(t, root);
}

struct node *tape_node(struct tape *t, struct tensor *out,
                       void (*backward)(struct tape *t, const struct node *n),
                       const void *saved, size_t size)
{
    if (!t->record || !out->wants_grad)
        return NULL;
    struct node *n = arena_take(t->small, 1, sizeof *n);
    *n = (struct node){.backward = backward, .out = out, .previous = t->nodes};
    if (size > 0)
        n->saved = memcpy(arena_take(t->small, 1, size), saved, size);
    root_of(out)->made = true;
    t->nodes = n;
    return n;
}

void node_keep(struct node *n, struct tensor *x)
{
    int i = 0;
    while (i < NODE_INPUTS && n->kept[i] != NULL)
        i++;
    ERR_BUG_IF(i == NODE_INPUTS);
    n->kept[i] = x;
    root_of(x)->needs++;
}

void node_remake(struct node *n, void (*make)(struct tape *t, const struct node *n))
{
    n->remake = make;
    root_of(n->out)->maker = n;
}

/* What n keeps has its values again. */
static void restore(struct tape *t, const struct node *n)
{
    for (int i = 0; i < NODE_INPUTS && n->kept[i] != NULL; i++) {
        struct cell *root = root_of(n->kept[i]);
        if (root->t.raw == NULL) {
            restore(t, root->maker);
            root->t.raw = pool_take(t->pool, bytes_of(&root->t));
            root->maker->remake(t, root->maker);
        }
        n->kept[i]->raw = root->t.raw;
    }
}

void *tape_sink(struct tape *t, struct tensor *x, bool *add)
{
    if (x == NULL || !x->wants_grad)
        return NULL;
    struct cell *root = root_of(x);
    *add = root->written;
    if (root->t.raw_grad == NULL)
        root->t.raw_grad = pool_take(t->pool, bytes_of(&root->t));
    root->written = true;
    return x->raw_grad = root->t.raw_grad;
}

void tape_pass(struct tape *t, const struct node *n, struct tensor *x)
{
    if (x == NULL || !x->wants_grad)
        return;
    struct cell *from = root_of(n->out), *to = root_of(x);
    ERR_BUG_IF(from->t.type != to->t.type);
    if (from->t.raw_grad == NULL) {
        ERR_BUG("a gradient was handed on twice");
    } else if (to->t.raw_grad == NULL) {
        to->t.raw_grad = from->t.raw_grad;
        from->t.raw_grad = NULL;
        to->written = true;
    } else {
        bool add;
        void *dx = tape_sink(t, x, &add);
        accumulate(tensor_count(x), x->type, from->t.raw_grad, dx, add);
    }
}

static void run_node(struct tape *t, const struct node *n)
{
    struct cell *out = root_of(n->out);
    if (out->written) { /* else what is asked for does not depend on it */
        struct arena_mark mark = arena_mark(t->scratch);
        restore(t, n);
        n->backward(t, n);
        arena_release(t->scratch, mark);
    }
    if (out->t.raw_grad != NULL)
        pool_give(t->pool, out->t.raw_grad);
    out->t.raw_grad = NULL;
    for (int i = 0; i < NODE_INPUTS && n->kept[i] != NULL; i++) {
        struct cell *root = root_of(n->kept[i]);
        root->needs--;
        if (root->needs == 0)
            drop_unused(t, root);
    }
}

struct segment {
    tape_segment_f f;
    void *ctx;
    struct tensor *in[NODE_INPUTS];
};

/* Runs the segment once more, recorded, and its operations backward. */
static void segment_backward(struct tape *t, const struct node *n)
{
    const struct segment *s = n->saved;
    struct node *before = t->nodes;
    struct cell *out = root_of(n->out);
    t->nodes = NULL;
    struct tensor *y;
    s->f(t, s->ctx, s->in, &y);
    root_of(y)->t.raw_grad = out->t.raw_grad;
    root_of(y)->written = true;
    out->t.raw_grad = NULL;
    tape_release(t, y);
    for (const struct node *k = t->nodes; k != NULL; k = k->previous)
        run_node(t, k);
    t->nodes = before;
}

struct tensor *tape_segment(struct tape *t, tape_segment_f f, const void *ctx,
                            size_t size, struct tensor *const *in, int n)
{
    ERR_BUG_IF(n > NODE_INPUTS);
    struct tensor *y;
    if (!t->record || !t->recompute) {
        f(t, ctx, in, &y);
        return y;
    }
    struct segment s = {.f = f};
    s.ctx = memcpy(tape_keepsake(t, 1, size), ctx, size);
    memcpy(s.in, in, (size_t)n * sizeof *in);
    t->record = false;
    f(t, ctx, in, &y);
    t->record = true;
    y->wants_grad = true;
    struct node *node = tape_node(t, y, segment_backward, &s, sizeof s);
    for (int i = 0; i < n; i++)
        if (in[i] != NULL)
            node_keep(node, in[i]);
    return y;
}

int tape_backward(struct tape *t, struct tensor *out, const float *seed)
{
    ERR_BUG_IF(!t->record || t->backward_done || out->type != DTYPE_F32);
    bool add;
    float *top = tape_sink(t, out, &add);
    if (top != NULL)
        memcpy(top, seed, (size_t)tensor_count(out) * sizeof *seed);
    for (const struct node *n = t->nodes; n != NULL; n = n->previous)
        run_node(t, n);
    for (struct cell *c = t->cells; c != NULL; c = c->previous) {
        if (c->root != c || c->made || !c->t.wants_grad || c->written)
            continue;
        c->t.raw_grad = pool_take(t->pool, bytes_of(&c->t));
        memset(c->t.raw_grad, 0, (size_t)bytes_of(&c->t));
    }
    t->backward_done = true;
    return 0;
}

struct arena *tape_scratch(struct tape *t)
{
    return t->scratch;
}

void *tape_keepsake(struct tape *t, int64_t count, size_t size)
{
    return arena_take(t->small, count, size);
}

const struct backend *tape_kernels(const struct tape *t)
{
    return t->backend;
}

int64_t tape_bytes(const struct tape *t)
{
    return pool_peak(t->pool) + arena_peak(t->small) + arena_peak(t->scratch);
}

int64_t tape_scratch_bytes(const struct tape *t)
{
    return arena_peak(t->scratch);
}
