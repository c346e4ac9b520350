/* Who works in a folder has a lock on it, which the kernel drops however that process ends.
 * A young folder is left alone: its lock may be yet to come. */
#include "pipeline/scratch.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { YOUNG_S = 60 };

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s;
    (void)kind;
    (void)at;
    remove(path); /* what does not go stays for the next */
    return 0;
}

static void remove_all(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool is_ours_and_old(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid() &&
           time(NULL) - s.st_mtime > YOUNG_S;
}

/* A descriptor, or -1: somebody else has it, or there are no locks here. */
static int lock(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void sweep(const char *folder, const char *prefix)
{
    char **name = NULL;
    int64_t n = 0;
    if (file_list(folder, prefix, "", &name, &n) != 0)
        err_clear();
    for (int64_t i = 0; i < n; i++) {
        char *path = text_new("%s/%s", folder, name[i]);
        int fd = is_ours_and_old(path) ? lock(path) : -1;
        if (fd >= 0) {
            remove_all(path);
            close(fd);
        }
        mem_free(path);
    }
    file_list_free(name, n);
}

int scratch_create(struct scratch *s, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    const char *folder = tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp";
    char host[65] = ""; /* where TMPDIR is shared, locks may hold on one node only */
    gethostname(host, sizeof host - 1);
    char *prefix = text_new("sluice-%s-%s-", name, host);
    sweep(folder, prefix);
    int n = snprintf(s->path, sizeof s->path, "%s/%sXXXXXX", folder, prefix);
    mem_free(prefix);
    if (n >= (int)sizeof s->path) {
        s->path[0] = '\0';
        return err_set(ERR_IO, "TMPDIR: the path is too long: %.100s...", folder);
    }
    if (mkdtemp(s->path) == NULL) {
        err_set_errno("cannot create", s->path);
        s->path[0] = '\0';
        return -1;
    }
    s->lock = lock(s->path);
    return 0;
}

void scratch_remove(struct scratch *s)
{
    if (s->path[0] == '\0')
        return;
    remove_all(s->path);
    if (s->lock >= 0)
        close(s->lock);
    *s = (struct scratch){.path = ""};
}
