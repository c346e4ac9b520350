/* Per-prompt FIFOs of rewards. Prompts keep their order of first appearance, values
 * their order of insertion, sums run in that order: the result is a function of the
 * sequence of batches alone. */
#include "stages/algo/tracker.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

struct fifo {
    char *key;
    double *value; /* [len], oldest first */
    int64_t len, cap;
};

/* The arrays that tracker_state hands out. */
struct flat {
    const char **key;
    int64_t *length;
    double *value;
};

struct tracker {
    int64_t buffer, min_count;
    struct fifo *fifo;
    int64_t n, cap;
    struct flat *flat;
};

struct tracker *tracker_create(int64_t buffer, int64_t min_count)
{
    ERR_BUG_IF(buffer < 1 || min_count < 1);
    struct tracker *t = mem_alloc(1, sizeof *t);
    t->buffer = buffer;
    t->min_count = min_count;
    t->flat = mem_alloc(1, sizeof *t->flat);
    return t;
}

static void flat_clear(struct flat *f)
{
    mem_free(f->key);
    mem_free(f->length);
    mem_free(f->value);
    *f = (struct flat){0};
}

static void clear(struct tracker *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        mem_free(t->fifo[i].key);
        mem_free(t->fifo[i].value);
    }
    mem_free(t->fifo);
    t->fifo = NULL;
    t->n = t->cap = 0;
}

void tracker_destroy(struct tracker *t)
{
    if (t == NULL)
        return;
    clear(t);
    flat_clear(t->flat);
    mem_free(t->flat);
    mem_free(t);
}

static int64_t find(const struct tracker *t, const char *key)
{
    for (int64_t i = 0; i < t->n; i++)
        if (strcmp(t->fifo[i].key, key) == 0)
            return i;
    return -1;
}

static int64_t find_or_add(struct tracker *t, const char *key)
{
    int64_t at = find(t, key);
    if (at >= 0)
        return at;
    if (t->n == t->cap) {
        int64_t cap = t->cap > 0 ? 2 * t->cap : 16;
        t->fifo = mem_resize(t->fifo, t->cap, cap, sizeof *t->fifo);
        t->cap = cap;
    }
    t->fifo[t->n] = (struct fifo){.key = mem_text(key)};
    return t->n++;
}

static void push(struct fifo *f, double value, int64_t buffer)
{
    if (f->len == buffer) {
        memmove(f->value, f->value + 1, (size_t)(buffer - 1) * sizeof *f->value);
        f->len--;
    } else if (f->len == f->cap) {
        int64_t cap = f->cap > 0 ? 2 * f->cap : 4;
        cap = cap < buffer ? cap : buffer;
        f->value = mem_resize(f->value, f->cap, cap, sizeof *f->value);
        f->cap = cap;
    }
    f->value[f->len++] = value;
}

/* Equal values have deviation 0 and not their mean's rounding error, which would be as large
 * as each one's distance from it. */
static void moments(const double *v, int64_t n, double *mean, double *std)
{
    double sum = 0, square = 0, low = v[0], high = v[0];
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        low = fmin(low, v[i]);
        high = fmax(high, v[i]);
    }
    *mean = low == high ? low : sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += (v[i] - *mean) * (v[i] - *mean);
    *std = sqrt(square / (double)n);
}

void tracker_update(struct tracker *t, int64_t n, const char *const *prompt,
                    const double *reward, double *adv)
{
    if (n == 0)
        return;
    int64_t *at = mem_alloc(n, sizeof *at);
    for (int64_t i = 0; i < n; i++) {
        at[i] = find_or_add(t, prompt[i]);
        push(&t->fifo[at[i]], reward[i], t->buffer);
    }
    double batch_mean, batch_std;
    moments(reward, n, &batch_mean, &batch_std);
    for (int64_t i = 0; i < n; i++) {
        const struct fifo *f = &t->fifo[at[i]];
        double mean = batch_mean, std = batch_std;
        if (f->len >= t->min_count)
            moments(f->value, f->len, &mean, &std);
        adv[i] = (reward[i] - mean) / (std + 1e-6);
    }
    mem_free(at);
}

void tracker_batch(int64_t n, const double *reward, double *adv)
{
    double mean, std;
    if (n == 0)
        return;
    moments(reward, n, &mean, &std);
    for (int64_t i = 0; i < n; i++)
        adv[i] = (reward[i] - mean) / (std + 1e-8);
}

int64_t tracker_state(const struct tracker *t, const char *const **keys,
                      const int64_t **length, const double **values)
{
    struct flat *f = t->flat;
    int64_t total = 0;
    flat_clear(f);
    for (int64_t i = 0; i < t->n; i++)
        total += t->fifo[i].len;
    f->key = mem_alloc(t->n, sizeof *f->key);
    f->length = mem_alloc(t->n, sizeof *f->length);
    f->value = mem_alloc(total, sizeof *f->value);
    total = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const struct fifo *from = &t->fifo[i];
        f->key[i] = from->key;
        f->length[i] = from->len;
        memcpy(f->value + total, from->value, (size_t)from->len * sizeof *f->value);
        total += from->len;
    }
    *keys = f->key;
    *length = f->length;
    *values = f->value;
    return t->n;
}

static int check_state(int64_t np, const char *const *keys, const int64_t *length,
                       const double *values, int64_t n_values)
{
    int64_t left = n_values;
    for (int64_t i = 0; i < np; i++) {
        if (length[i] < 1 || length[i] > left)
            return err_set(ERR_INPUT,
                           "per-prompt statistics: prompt \"%s\" claims %lld of %lld "
                           "remaining rewards",
                           keys[i], (long long)length[i], (long long)left);
        left -= length[i];
        for (int64_t j = 0; j < i; j++)
            if (strcmp(keys[i], keys[j]) == 0)
                return err_set(ERR_INPUT,
                               "per-prompt statistics: prompt \"%s\" occurs twice",
                               keys[i]);
    }
    if (np < 0 || left != 0)
        return err_set(ERR_INPUT,
                       "per-prompt statistics: %lld rewards belong to no prompt",
                       (long long)left);
    for (int64_t i = 0; i < n_values; i++)
        if (!isfinite(values[i]))
            return err_set(ERR_INPUT,
                           "per-prompt statistics: reward %lld is not finite",
                           (long long)i);
    return 0;
}

int tracker_restore(struct tracker *t, int64_t np, const char *const *keys,
                    const int64_t *length, const double *values, int64_t n_values)
{
    if (check_state(np, keys, length, values, n_values) != 0)
        return -1;
    clear(t);
    for (int64_t i = 0; i < np; i++) {
        int64_t at = find_or_add(t, keys[i]);
        for (int64_t k = 0; k < length[i]; k++)
            push(&t->fifo[at], *values++, t->buffer);
    }
    return 0;
}
