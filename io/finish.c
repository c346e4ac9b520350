/* One thread per file. What it met lies in the struct, because pending errors belong to
 * the thread. Signals are left to the rank's first thread. */
#include "io/finish.h"

#include "io/seal.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

struct finish {
    char *tmp, *path;
    pthread_t thread;
    bool threaded;
    atomic_bool over;
    enum err_code code;
    char text[1024];
};

static void *run(void *ctx)
{
    struct finish *f = ctx;
    int rc = seal_write(f->tmp);
    if (rc != 0)
        unlink(f->tmp);
    if (rc == 0)
        rc = file_publish(f->tmp, f->path);
    if (rc != 0) {
        f->code = err_code();
        snprintf(f->text, sizeof f->text, "%s", err_text());
        err_clear();
    }
    atomic_store(&f->over, true);
    return NULL;
}

struct finish *finish_begin(const char *tmp, const char *path)
{
    struct finish *f = mem_alloc(1, sizeof *f);
    sigset_t all, before;
    f->tmp = mem_text(tmp);
    f->path = mem_text(path);
    atomic_init(&f->over, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    f->threaded = pthread_create(&f->thread, NULL, run, f) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!f->threaded)
        run(f);
    return f;
}

bool finish_over(const struct finish *f)
{
    return atomic_load(&f->over);
}

int finish_end(struct finish *f)
{
    if (f == NULL)
        return 0;
    if (f->threaded)
        pthread_join(f->thread, NULL);
    int rc = f->code == ERR_NONE ? 0 : err_set(f->code, "%s", f->text);
    mem_free(f->tmp);
    mem_free(f->path);
    mem_free(f);
    return rc;
}
