/* Single samples as HTML: a picture inside the page, a curve as SVG. */
#include "pipeline/report/report_parts.h"

#include "io/image.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"

#include <math.h>

/* Channels other than 1 and 3 (latents) show their first channel. */
void report_picture(struct text *out, const float *x, int64_t channels, int64_t height,
                    int64_t width)
{
    struct text png = {0};
    uint8_t *rgb = mem_alloc(height * width, 3);
    pixels_from_sample(x, channels == 3 ? 3 : 1, height, width, rgb);
    if (image_png(rgb, height, width, &png) == 0) {
        text_add(out, "<img alt=\"sample\" src=\"data:image/png;base64,");
        report_base64(out, png.s, png.len);
        text_add(out, "\">");
    }
    text_free(&png);
    mem_free(rgb);
}

void report_curve(struct text *out, const float *x, int64_t n, const double *range)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, (double)x[i]);
        high = fmax(high, (double)x[i]);
    }
    if (range != NULL) {
        low = range[0];
        high = range[1];
    }
    double scale = high > low ? 44.0 / (high - low) : 0;
    text_add(out,
             "<svg viewBox=\"0 0 96 48\"><polyline fill=\"none\" stroke=\"#1d4ed8\" "
             "stroke-width=\"1.4\" points=\"");
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            text_add(out, "%.1f,%.1f ", 96.0 * (double)i / (double)(n > 1 ? n - 1 : 1),
                     46 - ((double)x[i] - low) * scale);
    text_add(out, "\"/></svg>");
}
