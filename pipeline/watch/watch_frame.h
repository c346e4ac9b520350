/* What `sluice watch` shows: one run on several lines, or many runs on a line each. */
#ifndef SLUICE_PIPELINE_WATCH_FRAME_H
#define SLUICE_PIPELINE_WATCH_FRAME_H

#include "pipeline/watch/watch_canvas.h"
#include "pipeline/watch/watch_run.h"

/* The two clocks: clock_s(), and seconds of the calendar. */
struct watch_clocks {
    double now, wall;
};

/* Everything about one run. */
void watch_frame_run(struct watch_canvas *c, const struct watch_run *r,
                     struct watch_clocks t);
/* How many runs are in which state, then a line for each of run[n]; where the canvas
 * has fewer rows, those that need looking at come first, and a last line says how many
 * are left out. */
void watch_frame_runs(struct watch_canvas *c, struct watch_run *const *run, int64_t n,
                      struct watch_clocks t);

/* Seconds after which a running job that shows nothing is pointed out. */
enum { WATCH_QUIET_S = 60 };
/* "3 s", "4 min 10 s", "2 h 05 min", "3 d 04 h"; "-" where not finite. buf: 32 bytes.
 */
const char *watch_frame_span(char *buf, double seconds);
/* Colour of a run's state; odd for one that shows no sign of life. */
enum watch_colour watch_frame_colour(const struct watch_run *r, double age);

#endif
