/* Canonical sums. The tree's complete subtrees start at multiples of their size, so a
 * stack on which two equal neighbours merge holds the largest complete ones at any time;
 * at the end they merge from the right. Every rank does this with its own leaves, passes
 * what is left on its stack to all, and all do the same once more. */
#include "stages/linalg/treesum.h"

#include "io/sys/mem.h"

#include <string.h>

enum { DEPTH = 130 }; /* two for each size that an int64_t can have */

struct node {
    int64_t lo, leaves;
    double *v;
};

struct treesum {
    const struct comm *c;
    int64_t n, leaves, next;
    int depth, kept; /* nodes in use; nodes whose vector is allocated */
    struct node node[DEPTH];
};

static int64_t bound(const struct treesum *t, int rank)
{
    return t->leaves / t->c->size * rank + t->leaves % t->c->size * rank / t->c->size;
}

struct treesum *treesum_create(const struct comm *c, int64_t n, int64_t leaves)
{
    struct treesum *t = mem_alloc(1, sizeof *t);
    t->c = c;
    t->n = n;
    t->leaves = leaves;
    t->next = bound(t, c->rank);
    return t;
}

void treesum_destroy(struct treesum *t)
{
    if (t == NULL)
        return;
    for (int i = 0; i < t->kept; i++)
        mem_free(t->node[i].v);
    mem_free(t);
}

void treesum_leaves(const struct treesum *t, int64_t *first, int64_t *number)
{
    *first = bound(t, t->c->rank);
    *number = bound(t, t->c->rank + 1) - *first;
}

static void merge_top(struct treesum *t)
{
    struct node *a = &t->node[t->depth - 2], *b = &t->node[t->depth - 1];
    for (int64_t i = 0; i < t->n; i++)
        a->v[i] += b->v[i];
    a->leaves += b->leaves;
    t->depth--;
}

/* Merges complete neighbours at the top; they are complete when they are written. */
static void settle(struct treesum *t)
{
    while (t->depth >= 2) {
        const struct node *a = &t->node[t->depth - 2], *b = &t->node[t->depth - 1];
        if (a->leaves != b->leaves || a->lo % (2 * a->leaves) != 0)
            return;
        merge_top(t);
    }
}

static double *push(struct treesum *t, int64_t lo, int64_t leaves)
{
    struct node *a = &t->node[t->depth++];
    if (t->depth > t->kept) {
        a->v = mem_alloc(t->n, sizeof *a->v);
        t->kept = t->depth;
    }
    a->lo = lo;
    a->leaves = leaves;
    return a->v;
}

double *treesum_leaf(struct treesum *t)
{
    settle(t);
    double *v = push(t, t->next++, 1);
    memset(v, 0, (size_t)t->n * sizeof *v);
    return v;
}

/* Rank r's nodes to all, in order. */
static int pass(struct treesum *all, const struct treesum *own, int r)
{
    int64_t depth = own->depth;
    if (comm_bcast(own->c, &depth, sizeof depth, r) != 0)
        return -1;
    for (int64_t i = 0; i < depth; i++) {
        int64_t where[2] = {0};
        if (own->c->rank == r) {
            where[0] = own->node[i].lo;
            where[1] = own->node[i].leaves;
        }
        if (comm_bcast(own->c, where, sizeof where, r) != 0)
            return -1;
        double *v = push(all, where[0], where[1]);
        if (own->c->rank == r)
            memcpy(v, own->node[i].v, (size_t)own->n * sizeof *v);
        if (comm_bcast(own->c, v, own->n * (int64_t)sizeof *v, r) != 0)
            return -1;
        settle(all);
    }
    return 0;
}

int treesum_finish(struct treesum *t, double *out)
{
    struct treesum *all = treesum_create(t->c, t->n, t->leaves);
    int rc = 0;
    settle(t);
    for (int r = 0; r < t->c->size && rc == 0; r++)
        rc = pass(all, t, r);
    while (all->depth >= 2)
        merge_top(all);
    if (all->depth == 1)
        memcpy(out, all->node[0].v, (size_t)t->n * sizeof *out);
    else
        memset(out, 0, (size_t)t->n * sizeof *out);
    treesum_destroy(all);
    t->depth = 0;
    t->next = bound(t, t->c->rank);
    return rc;
}
