/* Lines of text for a terminal: cut to its columns and rows, with colours and block
 * characters where it has them. Text from files is made harmless on the way in. */
#ifndef SLUICE_PIPELINE_WATCH_CANVAS_H
#define SLUICE_PIPELINE_WATCH_CANVAS_H

#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

enum watch_colour {
    WATCH_PLAIN,
    WATCH_DIM,
    WATCH_BOLD,
    WATCH_GOOD,
    WATCH_ODD,
    WATCH_BAD
};

/* Plain data. All zero but columns is an empty canvas. */
struct watch_canvas {
    int columns;
    int rows;    /* later lines are left out; 0: no limit */
    bool utf8;   /* the locale is UTF-8: block characters, text beyond ASCII as it is */
    bool colour; /* SGR sequences */
    const char *end; /* of each line; NULL: a newline */
    struct text out;
    int indent;      /* of lines that go on with items */
    int used, lines; /* columns of the line at hand, lines before it */
    bool gap;        /* an item keeps its distance from what stands there */
};

/* Appends to the line, cut at its end. Control characters, bytes that are no UTF-8, and
 * characters that take no column (combining, direction marks) become '?'; so does all
 * that is not ASCII where the locale is not UTF-8. */
void watch_canvas_put(struct watch_canvas *c, enum watch_colour colour, const char *fmt,
                      ...) __attribute__((format(printf, 3, 4)));
/* The same as one piece, two blanks after other text; on a new line, indented, where it
 * does not fit on this one. */
void watch_canvas_item(struct watch_canvas *c, enum watch_colour colour,
                       const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Blanks up to a column. */
void watch_canvas_tab(struct watch_canvas *c, int column);
/* Ends the line, without blanks there. */
void watch_canvas_line(struct watch_canvas *c);

/* A bar of width columns, filled by a fraction (NaN: empty). */
void watch_canvas_bar(struct watch_canvas *c, int width, double fraction);
/* A curve of v[n] from its least to its largest value, one column a value; n columns.
 * Values that are not finite leave a blank. */
void watch_canvas_curve(struct watch_canvas *c, const double *v, int64_t n);

#endif
