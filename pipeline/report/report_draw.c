/* Single samples as HTML: a picture inside the page, a curve as SVG. */
#include "pipeline/report/report_parts.h"

#include "io/image.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"

#include <math.h>
#include <string.h>

enum { SIDE = 192 }; /* pixels */

/* The means of by x by blocks of a picture; what is left over at its edges is cut off. */
static void shrink(uint8_t *rgb, int64_t height, int64_t width, int64_t by)
{
    for (int64_t y = 0; y < height / by; y++)
        for (int64_t x = 0; x < width / by; x++)
            for (int64_t c = 0; c < 3; c++) {
                int64_t sum = 0;
                for (int64_t k = 0; k < by * by; k++)
                    sum += rgb[((y * by + k / by) * width + x * by + k % by) * 3 + c];
                rgb[(y * (width / by) + x) * 3 + c] = (uint8_t)(sum / (by * by));
            }
}

void report_png(struct text *out, const uint8_t *rgb, int64_t height, int64_t width,
                const char *alt)
{
    struct text png = {0};
    if (image_png(rgb, height, width, &png) == 0) {
        text_add(out, "<img alt=\"%s\" src=\"data:image/png;base64,", alt);
        report_base64(out, png.s, png.len);
        text_add(out, "\">");
    }
    text_free(&png);
}

/* Channels other than 1 and 3 (latents) show their first channel. */
void report_picture(struct text *out, const struct report_image *p)
{
    int64_t height = p->height, width = p->width, longer = height > width ? height : width;
    const int64_t by = (longer + SIDE - 1) / SIDE;
    uint8_t *rgb = mem_alloc(height * width, 3);
    pixels_from_sample(p->x, p->channels == 3 ? 3 : 1, height, width, rgb);
    if (by > 1 && height >= by && width >= by) {
        shrink(rgb, height, width, by);
        height /= by;
        width /= by;
    }
    report_png(out, rgb, height, width, p->alt);
    mem_free(rgb);
}

void report_curve(struct text *out, const float *x, int64_t n, const double *range,
                  const char *alt)
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
             "<svg viewBox=\"0 0 96 48\" role=\"img\" aria-label=\"%s\"><polyline fill=\"none\" "
             "stroke=\"#1d4ed8\" stroke-width=\"1.4\" points=\"",
             alt);
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            text_add(out, "%.1f,%.1f ", 96.0 * (double)i / (double)(n > 1 ? n - 1 : 1),
                     46 - ((double)x[i] - low) * scale);
    text_add(out, "\"/></svg>");
}

bool report_is_text(const struct coding *c, int64_t channels, int64_t height)
{
    return c->kind == CODING_TEXT && height == 1 && channels == (int64_t)strlen(c->alphabet);
}

void report_sample(struct text *out, const struct coding *c, const struct report_image *p,
                   const double *range)
{
    if (report_is_text(c, p->channels, p->height)) {
        char *line = mem_alloc(p->width + 1, 1);
        coding_decode_text(c, p->x, p->width, line);
        text_add(out, "<code>");
        report_escape(out, line);
        text_add(out, "</code>");
        mem_free(line);
    } else if (p->height == 1) {
        report_curve(out, p->x, p->width, range, p->alt);
    } else {
        report_picture(out, p);
    }
}
