/* Reward against fidelity as a curve: one run and one evaluation for each value of a key. */
#ifndef SLUICE_PIPELINE_FRONT_H
#define SLUICE_PIPELINE_FRONT_H

#include <stdint.h>

/* Everything is borrowed; lists end with NULL. */
struct front_options {
    const char *dir;             /* where members and results go */
    const char *const *config;   /* YAML files, one curve each */
    const char *key;             /* that takes the values */
    const char *const *value;
    const char *const *override; /* for all members, section.key=value */
    const char *const *evaluate; /* arguments for `sluice evaluate` */
    const char *launch; /* words before the program, such as "mpirun -np 4"; NULL: none */
    const char *x, *y;  /* names of measures; NULL: chosen */
};

/* Runs what is not finished, evaluates it, prints a table, writes front.csv, front.json
 * and, where gnuplot is there, front.svg and front.png. 0 or -1; ERR_STOPPED: a member was
 * stopped early and the same call goes on. */
int front_make(const struct front_options *o);

#endif
