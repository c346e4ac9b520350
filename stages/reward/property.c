/* Normal equations by Cholesky in double, in one fixed order: the same table gives the
 * same weights everywhere. Most features of a molecule are 0 and are passed over. */
#include "stages/reward/property.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdbool.h>

#define RIDGE 0.3

struct property {
    double w[FEATURES], mean; /* of the rows fitted; predictions are mean + w f */
    struct property_fit_quality quality;
};

/* Rows first, first + stride, ...: at most `most`. */
struct part {
    int64_t first, stride, most;
};

static bool features_of(const struct lookup *t, int64_t row, double f[FEATURES])
{
    struct molecule m;
    if (smiles_parse(lookup_text(t, row), &m) != NULL)
        return false;
    molecule_features(&m, f);
    return true;
}

/* Adds f f^T (lower half) and f y; skips zeros. */
static void add(double *a, double *b, const double *f, double y)
{
    int at[FEATURES], n = 0;
    for (int i = 0; i < FEATURES; i++)
        if (f[i] != 0)
            at[n++] = i;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++)
            a[at[i] * FEATURES + at[j]] += f[at[i]] * f[at[j]];
        b[at[i]] += f[at[i]] * y;
    }
}

/* Solves a x = b in place of b; a positive definite, its lower half is overwritten. */
static void solve(double *a, double *b)
{
    const int n = FEATURES;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            b[i] -= a[i * n + k] * b[k];
        b[i] /= a[i * n + i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            b[i] -= a[k * n + i] * b[k];
        b[i] /= a[i * n + i];
    }
}

static double predict(const struct property *p, const double *f)
{
    double sum = p->mean;
    for (int i = 0; i < FEATURES; i++)
        sum += p->w[i] * f[i];
    return sum;
}

static double explained(const struct property *p, const struct lookup *t,
                        struct part part, int64_t *used)
{
    double f[FEATURES], sum = 0, squares = 0, errors = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < part.most; k++) {
        int64_t row = part.first + k * part.stride;
        if (row >= lookup_rows(t) || !features_of(t, row, f))
            continue;
        double y = *lookup_values(t, row), e = y - predict(p, f);
        n++;
        sum += y;
        squares += y * y;
        errors += e * e;
    }
    *used = n;
    double spread = squares - sum * sum / (double)n;
    return n > 1 && spread > 0 ? 1 - errors / spread : (double)NAN;
}

struct property *property_fit(const struct lookup *table, int64_t rows)
{
    const int64_t all = lookup_rows(table);
    const int64_t stride = rows > 0 && rows < all ? all / rows : 1;
    const struct part fit = {0, stride, rows > 0 && rows < all ? rows : all};
    const struct part held_out = {stride / 2, stride, stride > 1 ? fit.most : 0};
    struct property *p = mem_alloc(1, sizeof *p);
    double *a = mem_alloc((int64_t)FEATURES * FEATURES, sizeof *a), f[FEATURES],
           sum = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < fit.most; k++)
        if (features_of(table, k * stride, f)) {
            sum += *lookup_values(table, k * stride);
            n++;
        }
    p->mean = n > 0 ? sum / (double)n : 0;
    for (int64_t k = 0; k < fit.most; k++)
        if (features_of(table, k * stride, f))
            add(a, p->w, f, *lookup_values(table, k * stride) - p->mean);
    for (int i = 0; i < FEATURES; i++)
        a[i * FEATURES + i] += RIDGE;
    if (n >= 16)
        solve(a, p->w);
    mem_free(a);
    if (n < 16) {
        property_free(p);
        err_set(ERR_INPUT, "%lld molecules are too few to fit a model", (long long)n);
        return NULL;
    }
    p->quality.fitted = explained(p, table, fit, &p->quality.rows);
    p->quality.held_out = explained(p, table, held_out, &p->quality.held_out_rows);
    return p;
}

void property_free(struct property *p)
{
    mem_free(p);
}

struct property_fit_quality property_quality(const struct property *p)
{
    return p->quality;
}

double property_of(const struct property *p, const struct molecule *m)
{
    double f[FEATURES];
    molecule_features(m, f);
    return predict(p, f);
}
