/* Ranges of iterations on a command line. */
#ifndef SLUICE_PIPELINE_ITERATIONS_H
#define SLUICE_PIPELINE_ITERATIONS_H

#include <stdint.h>

/* "A:B" (both included; either may be absent), "A". first and last receive 0 and
 * INT64_MAX where absent. ERR_USAGE names the option. */
int iterations_parse(const char *option, const char *text, int64_t *first,
                     int64_t *last);

#endif
