/* A run as Slurm jobs: which jobs, their scripts, and handing them to sbatch. Nothing here
 * needs Slurm but submit_send. */
#ifndef SLUICE_PIPELINE_SUBMIT_H
#define SLUICE_PIPELINE_SUBMIT_H

#include "io/config.h"
#include "scheduler/layout.h"

enum submit_kind {
    SUBMIT_ONE,    /* one allocation for all groups */
    SUBMIT_HET,    /* a heterogeneous job: groups on partitions of their own */
    SUBMIT_STAGES, /* a job for each stage of each iteration, one after another */
    SUBMIT_BLOCKS, /* jobs of so many iterations each, one after another */
};

/* Everything that the scripts say, checked. Made by submit_open. */
struct submit {
    struct config *config; /* of the run; borrowed, with run.dir absolute and groups.* set */
    const struct config *options, *site; /* submit_options, submit_site; borrowed */
    enum submit_kind kind;
    int64_t ranks, cpus, nodes; /* nodes 0: as Slurm likes */
    int64_t group_ranks[GROUPS];   /* of SUBMIT_HET and SUBMIT_STAGES */
    char partition[GROUPS][64];    /* of these; "": the site's */
    int64_t time_s, signal_s, requeue_max, block; /* time_s 0: the partition's limit */
    char **launcher;        /* words, NULL-terminated */
    char **sbatch, **environment, **container; /* words of the site */
    bool srun;
    char dir[4096], cwd[4096], program[4096];
};

/* The command's options and a site file's keys. */
extern const struct config_key submit_options[], submit_site[];

/* Reads the site file that --site, $SLUICE_SITE, PREFIX/share/sluice/site.yaml or
 * slurm/site.yaml beside the program name, the first there is. ERR_USAGE, ERR_INPUT. */
int submit_read_site(struct config *site, const struct config *options);
/* Checks options, site and configuration as the job would, and that they fit together.
 * ERR_USAGE, ERR_INPUT, ERR_ENV. submit_close frees, in any case. */
int submit_open(struct submit *s, struct config *c, const struct config *options,
                const struct config *site);
void submit_close(struct submit *s);

/* Adds the script of a job: of the stage for SUBMIT_STAGES, else of the whole run. */
void submit_script(const struct submit *s, enum group stage, struct text *out);
/* Path of that script below the run directory; free with mem_free. */
char *submit_script_path(const struct submit *s, enum group stage);

/* Writes scripts and configuration into the run directory and submits all jobs; prints
 * their numbers, one a line. ERR_ENV: sbatch is not there or refuses, with its words. */
int submit_send(const struct submit *s);

#endif
