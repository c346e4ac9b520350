/* Errors. A function that can fail returns 0 or -1 and, on -1, leaves one pending
 * error per thread: an exit code, a text and a trail of context.
 *
 * Three kinds of trouble: our own bug -> ERR_BUG aborts with a message; a broken world
 * (out of planned memory, MPI failure) -> message and abort of the job; bad data, files,
 * network, non-finite numbers -> err_set, which the caller handles or passes up. */
#ifndef SLUICE_IO_SYS_ERR_H
#define SLUICE_IO_SYS_ERR_H

/* The process's exit codes (documented in README.md; stable). */
enum err_code {
    ERR_NONE = 0,
    ERR_USAGE = 2,    /* command line or configuration */
    ERR_INPUT = 3,    /* bad input, format, or failed verification */
    ERR_ENV = 4,      /* MPI, rank layout, missing feature */
    ERR_IO = 5,       /* disk full, quota, permission */
    ERR_NUMERIC = 6,  /* a numerical invariant is broken */
    ERR_REWARD = 7,   /* the reward is beyond its failure policy */
    ERR_STALL = 8,    /* a rank made no progress for too long */
    ERR_STOPPED = 75, /* stopped early, resumable */
};

/* Sets the pending error (replacing any earlier one). Always returns -1, so that
 * `return err_set(...)` reads naturally. */
int err_set(enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Sets ERR_IO from errno: "WHAT: PATH: strerror; what to do". Returns -1. */
int err_set_errno(const char *what, const char *path);

/* Puts "CONTEXT: " in front of the pending error's text. Returns -1. */
int err_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The pending error: code (ERR_NONE when there is none) and text ("" when none).
 * The text is valid until the next err_* call of this thread. */
enum err_code err_code(void);
const char *err_text(void);
void err_clear(void);

/* Aborts with file, line and message: for broken invariants of our own code only. */
_Noreturn void err_bug(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define ERR_BUG(...) err_bug(__FILE__, __LINE__, __VA_ARGS__)
#define ERR_BUG_IF(cond)                                                               \
    do {                                                                               \
        if (cond)                                                                      \
            err_bug(__FILE__, __LINE__, "%s", #cond);                                  \
    } while (0)

#endif
