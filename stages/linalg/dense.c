/* Dense algebra. The grid has one row of processes: columns lie block-cyclically over all
 * ranks, so that a whole matrix in memory and the local part differ by copies of columns.
 * Blocks are small and fixed. BLACS makes its own copy of the communicator. */
#include "stages/linalg/dense.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/linalg/scalapack.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32, MOST_STEPS = 60 };

struct grid {
    const struct comm *c;
    int handle, context;
};

/* An [n, n] matrix (or n right sides) in columns of length m: this rank's blocks. */
struct part {
    int m, n, desc[9];
    double *a;
};

static void grid_open(struct grid *g, const struct comm *c)
{
    g->c = c;
    g->handle = Csys2blacs_handle(c->mpi);
    g->context = g->handle;
    Cblacs_gridinit(&g->context, "Row", 1, c->size);
}

static void grid_close(struct grid *g)
{
    Cblacs_gridexit(g->context);
    Cfree_blacs_system_handle(g->handle);
}

static int64_t block_columns(int64_t n, int64_t block)
{
    int64_t left = n - block * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

static struct part part_create(const struct grid *g, int64_t m, int64_t n)
{
    const int zero = 0, block = BLOCK;
    int64_t mine = 0;
    int info;
    struct part p = {.m = (int)m, .n = (int)n};
    for (int64_t b = g->c->rank; b * BLOCK < n; b += g->c->size)
        mine += block_columns(n, b);
    p.a = mem_alloc(m * (mine > 0 ? mine : 1), sizeof *p.a);
    descinit_(p.desc, &p.m, &p.n, &block, &block, &zero, &zero, &g->context, &p.m, &info);
    ERR_BUG_IF(info != 0);
    return p;
}

/* whole[n][m], columns one after another, to and from the ranks' parts. */
static void part_take(const struct grid *g, struct part *p, const double *whole)
{
    double *to = p->a;
    for (int64_t b = g->c->rank; b * BLOCK < p->n; b += g->c->size) {
        int64_t len = block_columns(p->n, b) * p->m;
        memcpy(to, whole + b * BLOCK * p->m, (size_t)len * sizeof *to);
        to += len;
    }
}

static int part_whole(const struct grid *g, const struct part *p, double *whole)
{
    const double *from = p->a;
    for (int64_t b = 0; b * BLOCK < p->n; b++) {
        int64_t len = block_columns(p->n, b) * p->m;
        int root = (int)(b % g->c->size);
        if (root == g->c->rank) {
            memcpy(whole + b * BLOCK * p->m, from, (size_t)len * sizeof *from);
            from += len;
        }
        if (comm_bcast(g->c, whole + b * BLOCK * p->m, len * (int64_t)sizeof *whole,
                       root) != 0)
            return -1;
    }
    return 0;
}

int64_t dense_packed(int64_t m)
{
    return m * (m + 1) / 2;
}

static int not_positive(int64_t at, int64_t m)
{
    return err_set(ERR_NUMERIC,
                   "a matrix of %lld features is not positive definite (at number %lld): "
                   "features are not finite or depend on each other; raise lambda",
                   (long long)m, (long long)at);
}

int dense_cholesky(int64_t m, const double *a, double *u)
{
    double *row = u;
    for (int64_t i = 0; i < m; i++) {
        memcpy(row, a + i * m + i, (size_t)(m - i) * sizeof *row);
        row += m - i;
    }
    row = u;
    for (int64_t k = 0; k < m; k++) {
        if (!(row[0] > 0) || !isfinite(row[0]))
            return not_positive(k, m);
        double pivot = sqrt(row[0]);
        row[0] = pivot;
        for (int64_t j = 1; j < m - k; j++)
            row[j] /= pivot;
        double *below = row + (m - k);
        for (int64_t i = 1; i < m - k; i++) {
            double f = row[i];
            for (int64_t j = 0; j < m - k - i; j++)
                below[j] -= f * row[i + j];
            below += m - k - i;
        }
        row += m - k;
    }
    return 0;
}

void dense_forward(int64_t m, const double *u, double *v)
{
    for (int64_t i = 0; i < m; i++) {
        double z = v[i] / u[0];
        v[i] = z;
        for (int64_t j = 1; j < m - i; j++)
            v[i + j] -= z * u[j];
        u += m - i;
    }
}

void dense_backward(int64_t m, const double *u, double *v)
{
    u += dense_packed(m);
    for (int64_t i = m - 1; i >= 0; i--) {
        double s = v[i];
        u -= m - i;
        for (int64_t j = 1; j < m - i; j++)
            s -= u[j] * v[i + j];
        v[i] = s / u[0];
    }
}

/* Who proposes corrections: ScaLAPACK's factor, or the plain one in a group of one. */
struct proposer {
    const struct comm *c;
    struct grid grid;
    struct part a, b;
    double *u;
};

static int proposer_open(struct proposer *p, int64_t m, int64_t k, const double *a)
{
    const int one = 1;
    int info;
    if (p->c->size == 1) {
        p->u = mem_alloc(dense_packed(m), sizeof *p->u);
        return dense_cholesky(m, a, p->u);
    }
    grid_open(&p->grid, p->c);
    p->a = part_create(&p->grid, m, m);
    p->b = part_create(&p->grid, m, k);
    part_take(&p->grid, &p->a, a);
    pdpotrf_("L", &p->a.m, p->a.a, &one, &one, p->a.desc, &info, 1);
    return comm_agree(p->c, info == 0 ? 0 : not_positive(info - 1, m));
}

static void proposer_close(struct proposer *p)
{
    if (p->c->size > 1)
        grid_close(&p->grid);
    mem_free(p->u);
    mem_free(p->a.a);
    mem_free(p->b.a);
}

/* d[k, m] <- about A^-1 r. */
static int propose(struct proposer *p, int64_t m, int64_t k, const double *r, double *d)
{
    const int one = 1;
    int info;
    if (p->u != NULL) {
        memcpy(d, r, (size_t)(m * k) * sizeof *d);
        for (int64_t i = 0; i < k; i++) {
            dense_forward(m, p->u, d + i * m);
            dense_backward(m, p->u, d + i * m);
        }
        return 0;
    }
    part_take(&p->grid, &p->b, r);
    pdpotrs_("L", &p->a.m, &p->b.n, p->a.a, &one, &one, p->a.desc, p->b.a, &one, &one,
             p->b.desc, &info, 1);
    ERR_BUG_IF(info != 0);
    return part_whole(&p->grid, &p->b, d);
}

/* r = b - A x with sums in 113 bits, rounded once; the ranks share the entries. */
static int residual(const struct comm *c, int64_t m, int64_t k, const double *a,
                    const double *b, const __float128 *x, double *r)
{
    int64_t *count = mem_alloc(c->size, sizeof *count), n = m * k;
    for (int64_t i = 0; i < c->size; i++)
        count[i] = n * (i + 1) / c->size - n * i / c->size;
    int64_t first = n * c->rank / c->size;
    for (int64_t e = first; e < first + count[c->rank]; e++) {
        const double *row = a + e % m * m;
        const __float128 *v = x + e / m * m;
        __float128 s = b[e];
        for (int64_t j = 0; j < m; j++)
            s -= row[j] * v[j];
        r[e] = (double)s;
    }
    int rc = comm_gather_all(c, r + first, count, sizeof *r, r);
    mem_free(count);
    return rc;
}

/* Largest |d| / largest |x| over the right sides. */
static double correction(int64_t m, int64_t k, const double *d, const __float128 *x)
{
    double most = 0;
    for (int64_t i = 0; i < k; i++) {
        double top_d = 0, top_x = 0;
        for (int64_t j = i * m; j < (i + 1) * m; j++) {
            if (!isfinite(d[j]))
                return INFINITY;
            top_d = fmax(top_d, fabs(d[j]));
            top_x = fmax(top_x, fabs((double)x[j]));
        }
        if (top_d > 0)
            most = fmax(most, top_d / top_x);
    }
    return most;
}

static int refine(struct proposer *p, int64_t m, int64_t k, const double *a,
                  const double *b, double *x)
{
    const double enough = 0x1p-100, fair = 0x1p-80;
    double *r = mem_alloc(m * k, sizeof *r), *d = mem_alloc(m * k, sizeof *d);
    __float128 *exact = mem_alloc(m * k, sizeof *exact);
    double last = INFINITY;
    int rc = 0;
    memcpy(r, b, (size_t)(m * k) * sizeof *r);
    for (int step = 0; rc == 0 && last > enough; step++) {
        rc = propose(p, m, k, r, d);
        if (rc != 0)
            break;
        for (int64_t i = 0; i < m * k; i++)
            exact[i] += d[i];
        double now = correction(m, k, d, exact);
        if (step > 0 && now > last / 2 && last <= fair)
            break; /* the residual's own rounding */
        if (!isfinite(now) || step == MOST_STEPS || (step > 1 && now > last / 2))
            rc = err_set(ERR_NUMERIC,
                         "a solution for %lld features cannot be made exact: the "
                         "features depend on each other too nearly; raise lambda",
                         (long long)m);
        last = now;
        if (rc == 0)
            rc = residual(p->c, m, k, a, b, exact, r);
    }
    for (int64_t i = 0; i < m * k; i++)
        x[i] = (double)exact[i];
    mem_free(r);
    mem_free(d);
    mem_free(exact);
    return rc;
}

int dense_solve(const struct comm *c, int64_t m, int64_t k, const double *a,
                const double *b, double *x)
{
    struct proposer p = {.c = c};
    int rc = proposer_open(&p, m, k, a);
    if (rc == 0)
        rc = refine(&p, m, k, a, b, x);
    proposer_close(&p);
    return rc;
}

static int eigen_alone(int64_t n, double *value, double *vector)
{
    const int size = (int)n;
    int info, ask = -1;
    double want;
    dsyev_("V", "L", &size, vector, &size, value, &want, &ask, &info, 1, 1);
    int work_n = (int)want;
    double *work = mem_alloc(work_n, sizeof *work);
    dsyev_("V", "L", &size, vector, &size, value, work, &work_n, &info, 1, 1);
    mem_free(work);
    return info;
}

static int eigen_together(struct grid *g, int64_t n, double *value, double *vector,
                          int *info)
{
    const int one = 1;
    int ask = -1;
    double want;
    struct part a = part_create(g, n, n), z = part_create(g, n, n);
    part_take(g, &a, vector);
    pdsyev_("V", "L", &a.m, a.a, &one, &one, a.desc, value, z.a, &one, &one, z.desc,
            &want, &ask, info, 1, 1);
    int work_n = (int)want;
    double *work = mem_alloc(work_n, sizeof *work);
    pdsyev_("V", "L", &a.m, a.a, &one, &one, a.desc, value, z.a, &one, &one, z.desc, work,
            &work_n, info, 1, 1);
    int rc = part_whole(g, &z, vector);
    mem_free(work);
    mem_free(a.a);
    mem_free(z.a);
    return rc;
}

int dense_eigen(const struct comm *c, int64_t n, const double *a, double *value,
                double *vector)
{
    int info = 0, rc = 0;
    for (int64_t i = 0; i < n * n; i++)
        if (!isfinite(a[i]))
            return err_set(ERR_NUMERIC, "a matrix of size %lld is not finite: it has no "
                                        "eigenvalues", (long long)n);
    memmove(vector, a, (size_t)(n * n) * sizeof *a);
    if (c->size == 1) {
        info = eigen_alone(n, value, vector);
    } else {
        struct grid g;
        grid_open(&g, c);
        rc = eigen_together(&g, n, value, vector, &info);
        grid_close(&g);
    }
    if (rc == 0 && info != 0)
        rc = err_set(ERR_NUMERIC, "the eigenvalues of a matrix of size %lld do not "
                                  "converge", (long long)n);
    return comm_agree(c, rc);
}

int dense_product(const struct comm *c, const int64_t shape[3], const double *a,
                  const double *b, double *out)
{
    int64_t n = shape[0], m = shape[1], p = shape[2];
    int64_t *count = mem_alloc(c->size, sizeof *count);
    for (int64_t r = 0; r < c->size; r++)
        count[r] = (n * (r + 1) / c->size - n * r / c->size) * p;
    int64_t first = n * c->rank / c->size, last = n * (c->rank + 1) / c->size;
    for (int64_t i = first; i < last; i++) {
        double *row = out + i * p;
        memset(row, 0, (size_t)p * sizeof *row);
        for (int64_t k = 0; k < m; k++) {
            double f = a[i * m + k];
            for (int64_t j = 0; j < p; j++)
                row[j] += f * b[k * p + j];
        }
    }
    int rc = comm_gather_all(c, out + first * p, count, sizeof *out, out);
    mem_free(count);
    return rc;
}
