/* Embeddings of new labels. An item without a label takes row 0 times zero. */
#include "stages/model/label.h"

int64_t label_classes(const struct label *l)
{
    int64_t old = l->old + l->old_null;
    if (l->number == 0)
        return l->old;
    return (old > 0 ? old : 1) * l->number;
}

int64_t label_null(const struct label *l)
{
    if (l->number == 0)
        return l->old_null ? l->old : -1;
    return l->old == 0 || l->old_null ? label_classes(l) : -1;
}

void label_declare(struct label *l, struct param_set *s, int64_t width)
{
    l->table = -1;
    if (l->number > 0)
        l->table = param_declare(s, LABEL_TABLE, 2, (const int64_t[]){l->number, width});
}

const int64_t *label_old(const struct label *l, struct tape *t, const int64_t *labels,
                         int64_t n)
{
    if (l->number == 0)
        return labels;
    int64_t *old = tape_keepsake(t, n, sizeof *old);
    for (int64_t i = 0; i < n; i++)
        old[i] = labels[i] < label_classes(l) ? labels[i] / l->number : l->old;
    return old;
}

struct tensor *label_add(const struct label *l, struct param_set *s, struct tape *t,
                         const struct model_input *in, struct tensor *e)
{
    const int64_t n = in->batch;
    if (l->number == 0)
        return e;
    int64_t *row = tape_keepsake(t, n, sizeof *row);
    float *scale = tape_keepsake(t, n, sizeof *scale);
    float *shift = tape_keepsake(t, n, sizeof *shift);
    for (int64_t i = 0; i < n; i++) {
        bool given = in->labels[i] < label_classes(l);
        row[i] = given ? in->labels[i] % l->number : 0;
        scale[i] = given ? 1 : 0;
        shift[i] = 0;
    }
    struct tensor *rows = op_embedding(t, param_at(s, l->table), row, n);
    return op_add(t, e, op_affine_items(t, rows, scale, shift), 1);
}
