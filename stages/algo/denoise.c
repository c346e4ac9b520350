/* Squared errors on noised samples. */
#include "stages/algo/denoise.h"

#include "io/sys/err.h"

#include <math.h>

double denoise_square(int64_t d, const float *o, const float *goal, double scale,
                      double *loss, float *grad)
{
    double sum = 0, slope = 2 * scale / (double)d;
    for (int64_t j = 0; j < d; j++) {
        double e = (double)o[j] - (double)goal[j];
        sum += e * e;
        grad[j] += (float)(slope * e);
    }
    *loss += scale * sum / (double)d;
    return sum / (double)d;
}

int denoise_check(const struct algo_pair *p, double loss, const float *grad)
{
    float worst = 0;
    for (int64_t j = 0; j < p->d; j++)
        worst += grad[j] * 0.0f; /* NaN from any infinity or NaN */
    if (worst == 0 && isfinite(loss))
        return 0;
    return err_set(ERR_NUMERIC,
                   "draw %lld at alpha-bar %g, advantage %g: loss %g%s; lower update.lr",
                   (long long)p->step, p->alpha_bar, p->advantage, loss,
                   worst == 0 ? "" : " and a gradient that is not finite");
}
