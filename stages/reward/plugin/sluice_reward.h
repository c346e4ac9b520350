/* The interface between Sluice and a reward in a shared object (reward.name=plugin).
 * This file is all that a plugin needs: C11 or C++11, no library.
 * examples/rewards/PLUGIN.md has plugins to start from and how they are built.
 *
 * A plugin exports one symbol, `sluice_reward_entry`, which returns a description of
 * the reward; its functions then score batches of samples.
 *
 * VERSIONS. SLUICE_REWARD_ABI is a number that changes only when the meaning of
 * something that exists changes; a plugin with another number is refused. Each struct
 * begins with (or, where it holds no version, is) `size`, its sizeof for whom filled
 * it. Fields are only ever added at the end: a plugin that uses a field added later
 * asks SLUICE_REWARD_HAS first; Sluice takes what a shorter description lacks as 0.
 *
 * OWNERSHIP. What Sluice passes is Sluice's and is valid until the function returns.
 * What the plugin returns (description, strings in it) is the plugin's and stays valid
 * as long as the process lives; the object is never unloaded. *state is the plugin's
 * from open to close; there may be several at a time.
 *
 * THREADS AND RANKS. Each MPI rank loads the plugin for itself. All calls come from one
 * thread, one at a time, unless the flag SLUICE_REWARD_THREADS is set: then `score` is
 * called from several threads at the same time with the same state.
 *
 * RESULTS. A sample's score must not depend on the other samples of a batch, nor on how
 * many there are: runs give the same bits for any number of ranks.
 *
 * ERRORS. Functions return 0, or not 0 with a text in `message` that says what to do. A
 * sample that cannot be scored is no error but a status. No C++ exception may leave a
 * function, and a plugin that crashes takes the job with it: a program that is not to
 * be trusted belongs behind reward.name=exec. A plugin leaves the process as it is:
 * locale, signals, working folder, standard output, MPI. The floating-point environment
 * is put back after each call. */
#ifndef SLUICE_REWARD_H
#define SLUICE_REWARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_REWARD_ABI 1

/* Does *p, which the other side filled, have this field? */
#define SLUICE_REWARD_HAS(p, field) \
    ((const char *)&(p)->field + sizeof(p)->field <= (const char *)(p) + (p)->size)

/* Flags of a description. */
#define SLUICE_REWARD_DETERMINISTIC 1u /* same sample, same score */
#define SLUICE_REWARD_GRADIENT 2u      /* fills gradient where it is asked for */
#define SLUICE_REWARD_THREADS 4u       /* score may run in several threads at a time */

/* Status of a sample. Where it is not ok, score and gradient are not looked at. A score
 * or gradient that is not finite makes its sample non-finite by itself. */
enum sluice_reward_status {
    SLUICE_REWARD_OK = 0,
    SLUICE_REWARD_FAILED = 1,
    SLUICE_REWARD_TIMED_OUT = 2,
    SLUICE_REWARD_INFEASIBLE = 3, /* not a valid object: no reward is defined */
    SLUICE_REWARD_NON_FINITE = 4
};

/* What samples are. */
enum sluice_reward_kind {
    SLUICE_REWARD_NUMBERS = 0, /* pictures, or vectors as the network draws them */
    SLUICE_REWARD_SERIES = 1,  /* with a unit of their own */
    SLUICE_REWARD_TEXT = 2
};

enum sluice_reward_level { SLUICE_REWARD_INFO = 0, SLUICE_REWARD_WARNING = 1 };

/* What open returns beside 0: the configuration is wrong (exit code 2), or something
 * else is, such as a file that is missing (exit code 3). */
enum sluice_reward_result {
    SLUICE_REWARD_BAD_OPTIONS = 2,
    SLUICE_REWARD_BAD_INPUT = 3
};

/* Who calls. */
struct sluice_reward_host {
    uint32_t size;
    uint32_t abi;         /* SLUICE_REWARD_ABI of Sluice */
    const char *software; /* "sluice 0.1.0" */
    const char *options;  /* plugin.options as it stands, "" for none; any format */
    /* A line in the run's log, from any thread, valid until the process ends. level:
     * enum sluice_reward_level. */
    void (*log)(int level, const char *text);
};

/* What samples look like. */
struct sluice_reward_scene {
    uint32_t size;
    int32_t kind; /* enum sluice_reward_kind */
    int64_t channels, height, width;
    int64_t classes;      /* labels are 0 .. classes - 1; 0: samples have none */
    uint64_t seed;        /* of the run, for rewards with noise */
    const char *alphabet; /* text: a character per channel, else NULL */
    char *message;        /* out: what is wrong, message_size bytes with the NUL */
    uint64_t message_size;
};

/* Samples to score. Arrays are dense, the last index runs fastest. */
struct sluice_reward_batch {
    uint32_t size;
    uint32_t reserved; /* 0 */
    int64_t n;         /* 1 or more */
    int64_t channels, height, width;
    /* Sample i is number first + i of the iteration: with the seed the key of noise. */
    int64_t iteration, first;
    /* [n, channels, height, width]. Pictures: -1 black .. 1 white, values beyond may
     * occur. Series: in the units of the data. Text: a channel per character of the
     * alphabet, the largest counts. Else as the network draws them. */
    const float *sample;
    const int64_t *label;    /* [n], or NULL where samples have none */
    const char *const *text; /* [n] text: NUL-terminated, without blanks at the end;
                              * else NULL */
    double *score;           /* out [n]; NaN before; bigger is better */
    uint8_t *status;         /* out [n] enum sluice_reward_status; ok before */
    float *gradient; /* out [n, channels, height, width] d score / d sample, with
                      * sample as above; 0 before; NULL where it is not wanted */
    char *message;   /* out, as in the scene */
    uint64_t message_size;
};

/* What the plugin offers. */
struct sluice_reward_description {
    uint32_t size;
    uint32_t abi;      /* SLUICE_REWARD_ABI, as the plugin was built */
    uint32_t flags;    /* SLUICE_REWARD_DETERMINISTIC | ... */
    uint32_t reserved; /* 0 */
    const char *name;  /* for the log: a word, and perhaps a version */
    const char *units; /* of the score, "1" for none */
    /* Prepares for samples of this shape, or says why it cannot; *state is NULL before.
     * May be NULL. */
    int (*open)(const struct sluice_reward_host *host,
                const struct sluice_reward_scene *scene, void **state);
    /* Not 0 ends the run (exit code 7): for trouble with all samples, now and later. */
    int (*score)(void *state, const struct sluice_reward_batch *batch);
    /* After an open that gave 0. May be NULL. */
    void (*close)(void *state);
};

/* The exported symbol. Called first, once or several times; the description may depend
 * on the options. NULL: no reward here (say why by host->log). */
const struct sluice_reward_description *
sluice_reward_entry(const struct sluice_reward_host *host);

#ifdef __cplusplus
}
#endif

#endif
