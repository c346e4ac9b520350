/* The run directory: where everything lies. Paths are functions of numbers; nothing else
 * in the program spells them. */
#ifndef SLUICE_IO_RUNDIR_H
#define SLUICE_IO_RUNDIR_H

#include <stdbool.h>
#include <stdint.h>

/* Paths relative to the run directory, zero-padded so that name order is time order:
 * rollout/i000004/s00017.h5, reward/i000004/s00017.h5, advantage/i000004.h5,
 * policy/v000005.h5. buf of at least 96 bytes; returns buf. */
const char *rundir_rollout(char *buf, int64_t iteration, int64_t shard);
const char *rundir_reward(char *buf, int64_t iteration, int64_t shard);
const char *rundir_advantage(char *buf, int64_t iteration);
const char *rundir_policy(char *buf, int64_t version);

/* "DIR/RELATIVE"; caller frees with mem_free. */
char *rundir_path(const char *dir, const char *relative);

/* Creates DIR, rollout/, reward/, advantage/, policy/, log/. ERR_IO. */
int rundir_create(const char *dir);

/* Numbers of the policy files present, ascending; caller frees with mem_free. */
int rundir_policies(const char *dir, int64_t **version, int64_t *n);

/* Removes leftovers of killed writers ("*.tmp.*") below DIR. */
int rundir_sweep(const char *dir);

/* Whether DIR/NAME (say "STOP") exists. */
bool rundir_flag(const char *dir, const char *name);
void rundir_clear_flag(const char *dir, const char *name);

#endif
