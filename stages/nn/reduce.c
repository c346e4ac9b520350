/* The canonical tree. Splitting at the largest power of two below the size makes its
 * nodes exactly the ranges [k 2^j, min((k + 1) 2^j, m)): two neighbours [a, b), [b, c)
 * are siblings if b - a = 2^j, a is a multiple of 2^(j+1) and c = min(a + 2^(j+1), m).
 *
 * Invariant: a rank's stack holds the sums of the largest nodes within its leaves so
 * far, from left to right. After its last leaf these are its `parts`, which every rank
 * knows of every other, because they follow from the ranges alone. Sums are left +
 * right, element by element, wherever they are taken. */
#include "stages/nn/reduce.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <string.h>

#define DEPTH_MAX 128 /* parts of one range: at most 2 log2(2^63) */

struct node {
    int64_t lo, hi;
};

struct part {
    struct node node;
    float *sum; /* this rank's slice of it, after the exchange */
};

struct reduce {
    const struct comm *c;
    int64_t n, leaves, chunks;
    int64_t *first_leaf; /* [size + 1] */
    int64_t *slice_at;   /* [size + 1] */
    int64_t *chunk_at;   /* [size + 1] */
    struct part *part;   /* all ranks' parts, from left to right */
    int64_t *part_at;    /* [size + 1]: each rank's first */
    int64_t rounds;      /* most parts of one rank */

    struct node stack[DEPTH_MAX];
    float *vector[DEPTH_MAX]; /* [n] each, NULL until needed */
    int64_t depth, next_leaf;

    float *received;          /* [parts, own slice] */
    int64_t *send_n, *recv_n; /* [size] */
    double *chunk_sum;        /* [chunks] */
    int64_t *chunk_count;     /* [size] */
};

/* Can the last two nodes of a stack be replaced by their parent? */
static int siblings(const struct node *left, const struct node *right, int64_t leaves)
{
    int64_t size = left->hi - left->lo;
    if ((size & (size - 1)) != 0 || left->lo % (2 * size) != 0)
        return 0;
    int64_t end = left->lo + 2 * size < leaves ? left->lo + 2 * size : leaves;
    return right->hi == end;
}

/* Pushes leaf i; returns how often the last two nodes were merged. */
static int push(struct node *stack, int64_t *depth, int64_t i, int64_t leaves)
{
    int merged = 0;
    ERR_BUG_IF(*depth >= DEPTH_MAX);
    stack[(*depth)++] = (struct node){i, i + 1};
    while (*depth >= 2 && siblings(&stack[*depth - 2], &stack[*depth - 1], leaves)) {
        stack[*depth - 2].hi = stack[*depth - 1].hi;
        (*depth)--;
        merged++;
    }
    return merged;
}

static int trailing_zeros(int64_t v)
{
    return v == 0 ? 63 : __builtin_ctzll((unsigned long long)v);
}

/* Contiguous ranges of at most ceil(leaves / size); within that freedom each boundary
 * is the roundest number, which leaves few parts to exchange. */
static void assign_leaves(struct reduce *r)
{
    int64_t size = r->c->size, most = (r->leaves + size - 1) / size;
    for (int64_t k = 1; k <= size; k++) {
        int64_t before = r->first_leaf[k - 1];
        int64_t hi = before + most < r->leaves ? before + most : r->leaves;
        int64_t lo = r->leaves - (size - k) * most;
        lo = lo > before + 1 ? lo : before + 1;
        r->first_leaf[k] = hi;
        for (int64_t b = hi; b >= lo; b--)
            if (trailing_zeros(b) > trailing_zeros(r->first_leaf[k]))
                r->first_leaf[k] = b;
    }
    ERR_BUG_IF(r->first_leaf[size] != r->leaves);
}

static void assign_slices(struct reduce *r)
{
    int64_t size = r->c->size;
    for (int64_t k = 0; k <= size; k++) {
        int64_t share = r->chunks / size, rest = r->chunks % size;
        r->chunk_at[k] = k * share + (k < rest ? k : rest);
        int64_t at = r->chunk_at[k] * REDUCE_CHUNK;
        r->slice_at[k] = at < r->n ? at : r->n;
    }
    for (int64_t k = 0; k < size; k++)
        r->chunk_count[k] = r->chunk_at[k + 1] - r->chunk_at[k];
}

static void list_parts(struct reduce *r)
{
    int64_t cap = 0;
    for (int64_t k = 0; k < r->c->size; k++) {
        struct node stack[DEPTH_MAX];
        int64_t depth = 0, at = r->part_at[k];
        for (int64_t i = r->first_leaf[k]; i < r->first_leaf[k + 1]; i++)
            push(stack, &depth, i, r->leaves);
        r->part = mem_resize(r->part, cap, cap + depth, sizeof *r->part);
        cap += depth;
        for (int64_t i = 0; i < depth; i++)
            r->part[at + i].node = stack[i];
        r->part_at[k + 1] = at + depth;
        r->rounds = depth > r->rounds ? depth : r->rounds;
    }
}

struct reduce *reduce_create(const struct comm *c, int64_t n, int64_t leaves)
{
    ERR_BUG_IF(n < 0 || leaves < 1);
    struct reduce *r = mem_alloc(1, sizeof *r);
    r->c = c;
    r->n = n;
    r->leaves = leaves;
    r->chunks = (n + REDUCE_CHUNK - 1) / REDUCE_CHUNK;
    r->first_leaf = mem_alloc(c->size + 1, sizeof(int64_t));
    r->slice_at = mem_alloc(c->size + 1, sizeof(int64_t));
    r->chunk_at = mem_alloc(c->size + 1, sizeof(int64_t));
    r->part_at = mem_alloc(c->size + 1, sizeof(int64_t));
    r->send_n = mem_alloc(c->size, sizeof(int64_t));
    r->recv_n = mem_alloc(c->size, sizeof(int64_t));
    r->chunk_count = mem_alloc(c->size, sizeof(int64_t));
    r->chunk_sum = mem_alloc(r->chunks, sizeof(double));
    assign_leaves(r);
    assign_slices(r);
    list_parts(r);
    r->next_leaf = r->first_leaf[c->rank];
    return r;
}

void reduce_destroy(struct reduce *r)
{
    if (r == NULL)
        return;
    for (int i = 0; i < DEPTH_MAX; i++)
        mem_free(r->vector[i]);
    void *all[] = {r->first_leaf, r->slice_at, r->chunk_at, r->part_at,
                   r->part,       r->send_n,   r->recv_n,   r->chunk_count,
                   r->chunk_sum,  r->received};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    mem_free(r);
}

int64_t reduce_bytes(int64_t n, int64_t leaves, int ranks)
{
    const struct comm c = {.size = ranks};
    struct reduce *r = reduce_create(&c, n, leaves);
    int64_t most = 0, at, own;
    for (int k = 0; k < ranks; k++) {
        r->depth = 0;
        for (int64_t i = r->first_leaf[k]; i < r->first_leaf[k + 1]; i++) {
            int64_t depth = r->depth;
            bool kept = push(r->stack, &r->depth, i, leaves) == 0;
            most = kept && depth + 1 > most ? depth + 1 : most;
        }
    }
    reduce_slice(r, &at, &own); /* rank 0's, which is no smaller than another's */
    int64_t received = ranks > 1 ? r->part_at[ranks] * own : 0;
    reduce_destroy(r);
    return (int64_t)sizeof(float) * (most * n + received);
}

void reduce_leaves(const struct reduce *r, int64_t *first, int64_t *number)
{
    *first = r->first_leaf[r->c->rank];
    *number = r->first_leaf[r->c->rank + 1] - *first;
}

void reduce_slice(const struct reduce *r, int64_t *at, int64_t *len)
{
    *at = r->slice_at[r->c->rank];
    *len = r->slice_at[r->c->rank + 1] - *at;
}

static void add_into(float *restrict left, const float *restrict right, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        left[i] += right[i];
}

void reduce_add(struct reduce *r, const float *leaf)
{
    ERR_BUG_IF(r->next_leaf >= r->first_leaf[r->c->rank + 1]);
    int64_t at = r->depth;
    int merged = push(r->stack, &r->depth, r->next_leaf++, r->leaves);
    if (merged == 0) {
        if (r->vector[at] == NULL)
            r->vector[at] = mem_alloc(r->n, sizeof(float));
        memcpy(r->vector[at], leaf, (size_t)r->n * sizeof(float));
        return;
    }
    add_into(r->vector[--at], leaf, r->n); /* the new leaf needs no vector of its own */
    for (; --merged > 0; at--)
        add_into(r->vector[at - 1], r->vector[at], r->n);
}

/* Round k carries every rank's part k; a part is cut into the ranks' slices, which lie
 * one after another in it as they are. */
static int exchange(struct reduce *r, int64_t own)
{
    const struct comm *c = r->c;
    float *into = r->received;
    for (int64_t k = 0; k < r->rounds; k++) {
        int64_t arrived = 0;
        int gives = k < r->part_at[c->rank + 1] - r->part_at[c->rank];
        for (int q = 0; q < c->size; q++) {
            r->send_n[q] = gives ? r->slice_at[q + 1] - r->slice_at[q] : 0;
            r->recv_n[q] = k < r->part_at[q + 1] - r->part_at[q] ? own : 0;
            if (k < r->part_at[q + 1] - r->part_at[q])
                r->part[r->part_at[q] + k].sum = into + own * arrived++;
        }
        const float *from = gives ? r->vector[k] : into;
        if (comm_exchange(c, from, r->send_n, into, r->recv_n) != 0)
            return -1;
        into += own * arrived;
    }
    return 0;
}

/* Sum of node [lo, hi) for the own slice; *next is the first part that is not used yet.
 * The result overwrites the received left-most part. */
static float *combine(struct reduce *r, struct node node, int64_t own, int64_t *next)
{
    struct part *p = &r->part[*next];
    if (p->node.lo == node.lo && p->node.hi == node.hi) {
        (*next)++;
        return p->sum;
    }
    int64_t half = 1;
    while (2 * half < node.hi - node.lo)
        half *= 2;
    float *left = combine(r, (struct node){node.lo, node.lo + half}, own, next);
    float *right = combine(r, (struct node){node.lo + half, node.hi}, own, next);
    add_into(left, right, own);
    return left;
}

int reduce_finish(struct reduce *r, float *out)
{
    int64_t at, own, next = 0, parts = r->part_at[r->c->size];
    reduce_slice(r, &at, &own);
    ERR_BUG_IF(r->next_leaf != r->first_leaf[r->c->rank + 1]);
    r->next_leaf = r->first_leaf[r->c->rank];
    r->depth = 0;
    if (r->c->size == 1) {
        memcpy(out, r->vector[0], (size_t)own * sizeof *out);
        return 0;
    }
    if (r->received == NULL)
        r->received = mem_alloc(parts * own, sizeof(float));
    if (exchange(r, own) != 0)
        return -1;
    float *sum = combine(r, (struct node){0, r->leaves}, own, &next);
    ERR_BUG_IF(next != parts);
    memcpy(out, sum, (size_t)own * sizeof *out);
    return 0;
}

/* Element i of a chunk goes to lane i mod 8, lanes are summed pairwise. */
static double square_sum(const float *v, int64_t n)
{
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            lane[k] += (double)v[i + k] * (double)v[i + k];
    for (int k = 0; i < n; i++, k++)
        lane[k] += (double)v[i] * (double)v[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

int reduce_norm2(const struct reduce *r, const float *slice, double *norm2)
{
    int64_t at, len, first = r->chunk_at[r->c->rank];
    reduce_slice(r, &at, &len);
    for (int64_t k = 0; k < r->chunk_count[r->c->rank]; k++) {
        int64_t from = k * REDUCE_CHUNK, left = len - from;
        r->chunk_sum[first + k] =
            square_sum(slice + from, left < REDUCE_CHUNK ? left : REDUCE_CHUNK);
    }
    if (comm_gather_all(r->c, r->chunk_sum + first, r->chunk_count, sizeof(double),
                        r->chunk_sum) != 0)
        return -1;
    *norm2 = 0;
    for (int64_t k = 0; k < r->chunks; k++)
        *norm2 += r->chunk_sum[k];
    return 0;
}

int reduce_spread(const struct reduce *r, const float *slice, float *whole)
{
    for (int q = 0; q < r->c->size; q++)
        r->recv_n[q] = r->slice_at[q + 1] - r->slice_at[q];
    return comm_gather_all(r->c, slice, r->recv_n, sizeof(float), whole);
}
