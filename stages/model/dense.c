/* A linear layer with its bias. */
#include "stages/model/dense.h"

#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdarg.h>
#include <stdio.h>

struct dense dense_declare(struct param_set *s, int64_t in, int64_t out, const char *fmt,
                           ...)
{
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    char *weight = text_new("%s.weight", name), *bias = text_new("%s.bias", name);
    struct dense d;
    d.weight = param_declare(s, weight, 2, (const int64_t[]){out, in});
    d.bias = param_declare(s, bias, 1, &out);
    mem_free(weight);
    mem_free(bias);
    return d;
}

struct tensor *dense_run(struct tape *t, struct param_set *s, struct dense d,
                         struct tensor *x)
{
    return op_linear(t, (struct inputs){.first = x}, param_at(s, d.weight),
                     param_at(s, d.bias), NULL);
}
