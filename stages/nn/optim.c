/* AdamW and EMA, element by element: the result of a value does not depend on how the
 * vector is cut into slices. Operations in the order of torch's single-tensor AdamW. */
#include "stages/nn/optim.h"

#include "io/sys/err.h"

#include <math.h>

void optim_adamw(const struct adamw *o, int64_t step, double grad_scale, const float *g,
                 float *theta, float *m, float *v, int64_t n)
{
    ERR_BUG_IF(step < 1);
    float scale = (float)grad_scale, keep = (float)(1 - o->lr * o->weight_decay);
    float b1 = (float)o->beta1, c1 = (float)(1 - o->beta1);
    float b2 = (float)o->beta2, c2 = (float)(1 - o->beta2);
    float rate = (float)(-o->lr / (1 - pow(o->beta1, (double)step)));
    float root = (float)sqrt(1 - pow(o->beta2, (double)step));
    float eps = (float)o->eps;
    for (int64_t i = 0; i < n; i++) {
        float gi = scale * g[i];
        m[i] = m[i] * b1 + c1 * gi;
        v[i] = v[i] * b2 + c2 * gi * gi;
        theta[i] = theta[i] * keep + rate * m[i] / (sqrtf(v[i]) / root + eps);
    }
}

void optim_ema(double decay, const float *theta, float *ema, int64_t n)
{
    float d = (float)decay, c = (float)(1 - decay);
    for (int64_t i = 0; i < n; i++)
        ema[i] = d * ema[i] + c * theta[i];
}

double optim_ema_decay(double decay, int64_t s, int warmup)
{
    double early = (double)(1 + s) / (double)(10 + s);
    return warmup && early < decay ? early : decay;
}

double optim_clip_scale(double limit, double norm)
{
    if (limit <= 0)
        return 1;
    double scale = limit / (norm + 1e-6);
    return scale < 1 ? scale : 1;
}
