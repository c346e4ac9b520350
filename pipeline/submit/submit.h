/* A run or a sweep as Slurm jobs: which jobs, their scripts, and handing them to sbatch.
 * Nothing here needs Slurm but submit_queue and submit_send. */
#ifndef SLUICE_PIPELINE_SUBMIT_H
#define SLUICE_PIPELINE_SUBMIT_H

#include "io/config.h"
#include "scheduler/layout.h"

enum submit_kind {
    SUBMIT_ONE,    /* one allocation for all groups */
    SUBMIT_HET,    /* a heterogeneous job: groups on partitions of their own */
    SUBMIT_STAGES, /* a job for each stage of each iteration, one after another */
    SUBMIT_BLOCKS, /* jobs of so many iterations each, one after another */
    SUBMIT_SWEEP,  /* a program that starts its members' ranks itself: one job or an array */
};

/* Bytes, with a margin; 0: not known. */
struct submit_memory {
    double rank, group[GROUPS]; /* of the largest rank; of a rank with this role alone */
    double node;                /* of the fullest node, where the number of nodes is given */
};

/* Everything that the scripts say, checked. Made by submit_open or submit_open_sweep. */
struct submit {
    /* Of the run; borrowed, with run.dir absolute and groups.* set. NULL for a sweep. */
    struct config *config;
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
    struct submit_memory memory;
    /* Files that a script reads bear this number from 2 on: jobs in the queue keep theirs. */
    int64_t edition;
    struct text queued; /* jobs of earlier submissions in the queue, a line each */
    /* SUBMIT_SWEEP: what the program is given, and of an array the indices of its tasks, as
     * sbatch takes them, out of so many; set by the caller, borrowed. */
    char *const *word;
    const char *indices;
    int64_t tasks;
};

/* What submit_open_sweep has to know. */
struct submit_sweep {
    const char *dir;
    int64_t ranks, threads; /* of a member */
    bool array;
};

/* The command's options and a site file's keys. */
extern const struct config_key submit_options[], submit_site[];
/* Number of keys in a table. */
int submit_keys(const struct config_key *table);
/* An option, or the site's default where it is empty. Borrowed. */
const char *submit_chosen(const struct submit *s, const char *key);

/* Reads the site file that --site, $SLUICE_SITE, PREFIX/share/sluice/site.yaml or
 * slurm/site.yaml beside the program name, the first there is. ERR_USAGE, ERR_INPUT. */
int submit_read_site(struct config *site, const struct config *options);
/* Checks options, site and configuration as the job would, and that they fit together.
 * ERR_USAGE, ERR_INPUT, ERR_ENV. submit_close frees, in any case. */
int submit_open(struct submit *s, struct config *c, const struct config *options,
                const struct config *site);
/* The same for a sweep, whose own words, indices and memory are to be filled in. */
int submit_open_sweep(struct submit *s, const struct submit_sweep *w,
                      const struct config *options, const struct config *site);
void submit_close(struct submit *s);

/* s->memory by `sluice plan` of the configuration; where that cannot tell, it stays 0. Says
 * on stderr what a finished part of the run has shown about --time. */
void submit_plan(struct submit *s);
/* What is asked for, for so many bytes estimated in so many ranks. */
double submit_margin(double bytes, int64_t ranks);

/* Finds the jobs of earlier submissions that are still in the queue. ERR_USAGE where the new
 * one would not wait for them (--after). */
int submit_queue(struct submit *s);
/* Notes the numbers of jobs: first those that are left, then each new one. ERR_IO. */
int submit_queue_begin(const struct submit *s);
int submit_queue_add(const struct submit *s, const char *id);

/* "NAME.END", or "NAME-2.END" by the edition; free with mem_free. */
char *submit_file(const struct submit *s, const char *name, const char *end);

/* Adds the script of a job: of the stage for SUBMIT_STAGES, else of the whole run. */
void submit_script(const struct submit *s, enum group stage, struct text *out);
/* Path of that script below the run directory; free with mem_free. */
char *submit_script_path(const struct submit *s, enum group stage);

/* Writes scripts and configuration into the run directory and submits all jobs; prints
 * their numbers, one a line. After submit_queue. ERR_ENV: sbatch is not there or refuses,
 * with its words. */
int submit_send(const struct submit *s);

#endif
