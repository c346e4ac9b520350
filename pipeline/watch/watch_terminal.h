/* The terminal while a picture is drawn on it again and again: the other screen, no
 * cursor, keys without a return; all as before at the end, also after Ctrl-C and
 * SIGTERM, and while stopped by Ctrl-Z. One at a time in a process, without MPI. */
#ifndef SLUICE_PIPELINE_WATCH_TERMINAL_H
#define SLUICE_PIPELINE_WATCH_TERMINAL_H

#include <stdbool.h>

/* Whether standard output is a terminal that knows cursor moves (TERM is not "dumb").
 */
bool watch_terminal_fits(void);
/* Its size; 80 columns and no limit of rows (0) where standard output is none. COLUMNS
 * in the environment counts before 80. At least 20 columns, at most 1000. */
void watch_terminal_size(int *columns, int *rows);

struct watch_terminal;
struct watch_terminal *watch_terminal_open(void);
/* NULL is fine. */
void watch_terminal_close(struct watch_terminal *t);
/* Replaces what is on the screen; lines end in watch_terminal_end. */
void watch_terminal_draw(struct watch_terminal *t, const char *text);
extern const char watch_terminal_end[];
/* Waits for so long, or until a key, a new size or a continuation asks for another
 * picture. False: the user wants to leave (q, Ctrl-C, a signal), or the terminal is
 * gone. */
bool watch_terminal_wait(struct watch_terminal *t, double seconds);

#endif
