/* One polyline per sample; numbers that are not finite leave a gap in none of them,
 * they are passed over. */
#include "pipeline/sample_curves.h"

#include "io/sys/file.h"
#include "io/sys/text.h"

#include <math.h>

enum { MOST = 256, CELL_W = 100, CELL_H = 50, GAP = 6, FOOT = 18 };

static void add_curve(struct text *out, const float *x, int64_t n, double left,
                      double bottom, double low, double scale)
{
    text_add(out, "<polyline points=\"");
    for (int64_t k = 0; k < n; k++)
        if (isfinite(x[k]))
            text_add(out, "%.1f,%.1f ",
                     left + (double)CELL_W * (double)k / (double)(n > 1 ? n - 1 : 1),
                     bottom - ((double)x[k] - low) * scale);
    text_add(out, "\"/>\n");
}

int sample_curves_write(const struct samples *s, const char *path)
{
    const int64_t n = s->n < MOST ? s->n : MOST;
    const int64_t columns =
        s->columns > 0 ? s->columns : (int64_t)ceil(sqrt((double)n));
    const int64_t rows = (n + columns - 1) / columns;
    const int64_t w = columns * (CELL_W + GAP) + GAP,
                  h = rows * (CELL_H + GAP) + GAP + FOOT;
    double low = INFINITY, high = -INFINITY;
    struct text out = {0};
    for (int64_t k = 0; k < n * s->width; k++)
        if (isfinite(s->data[k])) {
            low = fmin(low, (double)s->data[k]);
            high = fmax(high, (double)s->data[k]);
        }
    text_add(
        &out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%lld\" height=\"%lld\">\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
        "<g fill=\"none\" stroke=\"#1d4ed8\" stroke-width=\"1.4\">\n",
        (long long)w, (long long)h);
    for (int64_t i = 0; i < n; i++)
        add_curve(&out, s->data + i * s->width, s->width,
                  (double)(GAP + i % columns * (CELL_W + GAP)),
                  (double)((i / columns + 1) * (CELL_H + GAP)), low,
                  high > low ? CELL_H / (high - low) : 0);
    text_add(&out,
             "</g>\n<text x=\"%d\" y=\"%lld\" font-family=\"sans-serif\" "
             "font-size=\"12\">%.4g to %.4g</text>\n</svg>\n",
             GAP, (long long)(h - GAP), low, high);
    int rc = file_write(path, out.s, out.len);
    text_free(&out);
    return rc;
}
