/* Heat maps: a picture of one pixel per value, enlarged by the browser, between labels that
 * are text of the page. */
#include "pipeline/report/report_pictures.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>

void report_map_free(struct report_map *m)
{
    mem_free(m->iteration);
    mem_free(m->t);
    mem_free(m->value);
    *m = (struct report_map){0};
}

/* Viridis at 0, 0.1, ..., 1 (S. van der Walt, N. Smith 2015, as in viridisLite). */
void report_heat_colour(double u, uint8_t rgb[3])
{
    static const uint8_t anchor[11][3] = {
        {0x44, 0x01, 0x54}, {0x48, 0x25, 0x76}, {0x41, 0x44, 0x87}, {0x35, 0x60, 0x8d},
        {0x2a, 0x78, 0x8e}, {0x21, 0x90, 0x8c}, {0x22, 0xa8, 0x84}, {0x43, 0xbf, 0x71},
        {0x7a, 0xd1, 0x51}, {0xbb, 0xdf, 0x27}, {0xfd, 0xe7, 0x25}};
    const double at = 10 * fmin(fmax(u, 0), 1);
    const int k = at < 9 ? (int)at : 9;
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)lrint(anchor[k][c] + (at - k) * (anchor[k + 1][c] - anchor[k][c]));
}

static const uint8_t missing[3] = {203, 213, 225}; /* grey is no colour of viridis */

struct scale {
    double low, high;
    bool log;
    int64_t known, argmax;
};

/* Values of two orders of magnitude and more are shown by their logarithms. Linear scales
 * of values that come near 0 start there. */
static struct scale scale_of(const struct report_map *m)
{
    struct scale s = {INFINITY, -INFINITY, false, 0, 0};
    double positive = INFINITY;
    for (int64_t i = 0; i < m->columns * m->rows; i++) {
        const double v = m->value[i];
        if (!isfinite(v))
            continue;
        s.known++;
        s.low = fmin(s.low, v);
        if (v > s.high) {
            s.high = v;
            s.argmax = i;
        }
        if (v > 0)
            positive = fmin(positive, v);
    }
    if (s.low < s.high && s.low >= 0) {
        s.log = s.high > 100 * positive;
        if (s.log)
            s.low = fmax(positive, 1e-6 * s.high);
        else if (s.low < 0.5 * s.high)
            s.low = 0;
    }
    return s;
}

static double place(const struct scale *s, double v)
{
    if (s->log)
        return v > s->low ? log(v / s->low) / log(s->high / s->low) : 0;
    return (v - s->low) / (s->high - s->low);
}

static void add_cells(struct text *out, const struct report_map *m, const struct scale *s)
{
    struct text alt = {0};
    uint8_t *rgb = mem_alloc(m->columns * m->rows, 3);
    for (int64_t c = 0; c < m->columns; c++)
        for (int64_t r = 0; r < m->rows; r++) {
            const double v = m->value[c * m->rows + r];
            uint8_t *to = rgb + 3 * (r * m->columns + c);
            if (isfinite(v))
                report_heat_colour(place(s, v), to);
            else
                for (int k = 0; k < 3; k++)
                    to[k] = missing[k];
        }
    text_add(&alt, "Heat map: %s, by iteration from left (%lld) to right (%lld) and step of "
                   "the chain from the noise above to the sample below; from %.3g to %.3g, "
                   "the largest in iteration %lld, step %lld of %lld",
             m->title, (long long)m->iteration[0],
             (long long)m->iteration[m->columns - 1], s->low, s->high,
             (long long)m->iteration[s->argmax / m->rows],
             (long long)(s->argmax % m->rows + 1), (long long)m->rows);
    report_png(out, rgb, m->rows, m->columns, alt.s);
    text_free(&alt);
    mem_free(rgb);
}

/* Labels along an axis, each in the middle of its row or column. */
static void add_steps(struct text *out, const struct report_map *m)
{
    const int64_t shown = m->rows < 6 ? m->rows : 6;
    text_add(out, "<div class=\"rows\">");
    for (int64_t i = 0; i < shown; i++) {
        const int64_t r = report_even(i, shown, m->rows);
        text_add(out, "<span style=\"top:%.2f%%\">", 100 * ((double)r + 0.5) / (double)m->rows);
        if (m->t[r] < 0)
            text_add(out, "sample</span>");
        else
            text_add(out, "%.0f</span>", m->t[r]);
    }
    text_add(out, "</div>");
}

static void add_columns(struct text *out, const struct report_map *m)
{
    const int64_t shown = m->columns < 6 ? m->columns : 6;
    text_add(out, "<div class=\"cols\">");
    for (int64_t i = 0; i < shown; i++) {
        const int64_t c = report_even(i, shown, m->columns);
        text_add(out, "<span style=\"left:%.2f%%\">%lld</span>",
                 100 * ((double)c + 0.5) / (double)m->columns, (long long)m->iteration[c]);
    }
    text_add(out, "</div>");
}

static void add_legend(struct text *out, const struct report_map *m, const struct scale *s)
{
    enum { LEVELS = 64 };
    uint8_t rgb[LEVELS * 3];
    const double middle = s->log ? sqrt(s->low * s->high) : (s->low + s->high) / 2;
    for (int k = 0; k < LEVELS; k++)
        report_heat_colour(1 - (double)k / (LEVELS - 1), rgb + 3 * k);
    text_add(out, "<div class=\"legend\">");
    report_png(out, rgb, LEVELS, 1, "colour scale, the largest value above");
    text_add(out, "<span>%.3g</span><span>%.3g</span><span>%s%.3g</span></div>", s->high,
             middle, s->log ? "≤ " : "", s->low);
    text_add(out, "<div class=\"unit\">%s%s%s</div>", m->unit,
             s->log && m->unit[0] != '\0' ? ", " : "", s->log ? "logarithmic" : "");
}

bool report_map_draw(struct text *out, const struct report_map *m)
{
    const struct scale s = scale_of(m);
    if (s.known == 0)
        return false;
    if (!(s.low < s.high)) {
        text_add(out, "<p class=\"same\"><b>%s</b> is %.4g in all iterations and steps.</p>\n",
                 m->title, s.high);
        return true;
    }
    text_add(out,
             "<figure class=\"map\" data-low=\"%.9g\" data-high=\"%.9g\" data-scale=\"%s\">"
             "<figcaption><b>%s</b> <span>%s%s</span></figcaption><div class=\"field\">"
             "<div class=\"axis\"><span>timestep</span></div>",
             s.low, s.high, s.log ? "log" : "linear", m->title, m->note,
             s.known < m->columns * m->rows ? "; grey: none" : "");
    add_steps(out, m);
    text_add(out, "<div class=\"cells\">");
    add_cells(out, m, &s);
    text_add(out, "</div>");
    add_legend(out, m, &s);
    add_columns(out, m);
    text_add(out, "<div class=\"below\">iteration</div></div></figure>\n");
    return true;
}

void report_heat(struct text *out, const char *rundir)
{
    enum { MAPS = 2 + REPORT_MAPS_STORED };
    struct report_map map[MAPS] = {0};
    struct text maps = {0}, same = {0};
    int64_t damaged = 0;
    report_map_updates(rundir, map);
    report_map_stored(rundir, map + 2, &damaged);
    for (int k = 0; k < MAPS; k++) {
        const struct scale s = scale_of(&map[k]);
        report_map_draw(s.low < s.high ? &maps : &same, &map[k]);
        report_map_free(&map[k]);
    }
    if (maps.len > 0 || same.len > 0 || damaged > 0) {
        text_add(out, "<section><h2>Step by step</h2>\n<p class=\"scale\">Each column is an "
                      "iteration, each row a step of the denoising chain: from the noise "
                      "above to the sample below. Of long runs evenly chosen iterations are "
                      "shown, and of what is stored evenly chosen shards are read.</p>\n");
        if (damaged > 0)
            text_add(out, "<p class=\"note\">%lld damaged file(s) were left out.</p>\n",
                     (long long)damaged);
        if (maps.len > 0)
            text_add(out, "<div class=\"plots maps\">\n%s</div>\n", maps.s);
        if (same.len > 0)
            text_add_bytes(out, same.s, same.len);
        text_add(out, "</section>\n");
    }
    text_free(&maps);
    text_free(&same);
}
