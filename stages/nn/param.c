/* Parameters in one flat vector of values and one of gradients. */
#include "stages/nn/param.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/kernels.h"

#include <string.h>

struct param_set {
    struct param *param;
    int64_t number, room, total;
    float *values, *grads;
    uint64_t stamp;
};

struct param_set *param_create(void)
{
    return mem_alloc(1, sizeof(struct param_set));
}

void param_destroy(struct param_set *s)
{
    if (s == NULL)
        return;
    for (int64_t i = 0; i < s->number; i++) {
        for (struct packed *k = s->param[i].packed, *next; k != NULL; k = next) {
            next = k->next;
            k->destroy(k);
        }
        mem_free(s->param[i].name);
    }
    mem_free(s->param);
    mem_free(s->values);
    mem_free(s->grads);
    mem_free(s);
}

int64_t param_declare(struct param_set *s, const char *name, int nd, const int64_t *dim)
{
    ERR_BUG_IF(s->values != NULL || nd < 1 || nd > 4);
    if (s->number == s->room) {
        int64_t room = s->room == 0 ? 64 : 2 * s->room;
        s->param = mem_resize(s->param, s->room, room, sizeof *s->param);
        s->room = room;
    }
    struct param *p = &s->param[s->number];
    p->name = mem_text(name);
    p->set = s;
    p->offset = s->total;
    p->t.nd = nd;
    for (int i = 0; i < 4; i++) {
        p->t.dim[i] = i < nd ? dim[i] : 1;
        ERR_BUG_IF(p->t.dim[i] < 1);
    }
    s->total += tensor_count(&p->t);
    return s->number++;
}

void param_allocate(struct param_set *s, int with_grad)
{
    ERR_BUG_IF(s->values != NULL);
    s->values = mem_alloc(s->total, sizeof(float));
    if (with_grad)
        s->grads = mem_alloc(s->total, sizeof(float));
    for (int64_t i = 0; i < s->number; i++) {
        struct param *p = &s->param[i];
        p->t.data = s->values + p->offset;
        p->t.grad = with_grad ? s->grads + p->offset : NULL;
    }
    s->stamp = 1;
}

struct param *param_at(struct param_set *s, int64_t index)
{
    ERR_BUG_IF(index < 0 || index >= s->number);
    return &s->param[index];
}

struct param *param_find(struct param_set *s, const char *name)
{
    for (int64_t i = 0; i < s->number; i++)
        if (strcmp(s->param[i].name, name) == 0)
            return &s->param[i];
    return NULL;
}

int64_t param_number(const struct param_set *s)
{
    return s->number;
}

int64_t param_total(const struct param_set *s)
{
    return s->total;
}

float *param_values(struct param_set *s)
{
    return s->values;
}

float *param_grads(struct param_set *s)
{
    return s->grads;
}

void param_touch(struct param_set *s)
{
    s->stamp++;
}

uint64_t param_stamp(const struct param_set *s)
{
    return s->stamp;
}

struct packed *packed_find(const struct param *p, const void *owner)
{
    struct packed *k = p->packed;
    while (k != NULL && k->owner != owner)
        k = k->next;
    return k;
}

void packed_hang(struct param *p, struct packed *k)
{
    k->next = p->packed;
    p->packed = k;
}
