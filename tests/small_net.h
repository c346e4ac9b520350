/* Networks with few weights, all of them random and of a size that makes outputs vary.
 */
#ifndef SLUICE_TESTS_SMALL_NET_H
#define SLUICE_TESTS_SMALL_NET_H

#include "io/sys/err.h"
#include "io/sys/rng.h"
#include "stages/model/model.h"

#include <math.h>

static inline void small_net_fill(struct model *m)
{
    for (int64_t i = 0; i < param_number(model_params(m)); i++) {
        struct param *p = param_at(model_params(m), i);
        float scale = p->t.nd == 2 ? 0.7f / sqrtf((float)p->t.dim[1]) : 0.2f;
        rng_normal(rng_key(4, RNG_TEST, i, 0, 0, 0), p->t.data, tensor_count(&p->t));
        for (int64_t k = 0; k < tensor_count(&p->t); k++)
            p->t.data[k] *= scale;
    }
    param_touch(model_params(m));
}

/* config: text of a config.json. The caller destroys it. */
static inline struct model *small_net(const char *config)
{
    struct model *m = model_new_text(config, "config", 1);
    if (m == NULL)
        ERR_BUG("%s", err_text());
    small_net_fill(m);
    return m;
}

#endif
