/* The clock by which work is timed. */
#ifndef SLUICE_IO_SYS_CLOCK_H
#define SLUICE_IO_SYS_CLOCK_H

/* Seconds of a monotonic clock, from any point in time. */
double clock_s(void);

#endif
