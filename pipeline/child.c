/* Children, started without a shell. */
#include "pipeline/child.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool start_filter(char *const *argv, int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t act;
    if (posix_spawn_file_actions_init(&act) != 0)
        return false;
    bool good = posix_spawn_file_actions_adddup2(&act, in, 0) == 0 &&
                posix_spawn_file_actions_adddup2(&act, out, 1) == 0 &&
                posix_spawn_file_actions_addopen(&act, 2, "/dev/null", 1, 0) == 0 &&
                posix_spawnp(pid, argv[0], &act, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&act);
    return good;
}

static bool send_all(int fd, const char *p, int64_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, (size_t)n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= k;
    }
    return true;
}

static bool read_all(int fd, struct text *out)
{
    char buf[16384];
    for (;;) {
        ssize_t k = read(fd, buf, sizeof buf);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k == 0;
        text_add_bytes(out, buf, k);
    }
}

bool child_filter(char *const *argv, const struct text *input, struct text *output)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, status = -1;
    pid_t pid = -1;
    bool good = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0 ||
        pipe2(out, O_CLOEXEC) != 0 || !start_filter(argv, in[1], out[1], &pid))
        goto done;
    close(in[1]);
    close(out[1]);
    in[1] = out[1] = -1;
    good = send_all(in[0], input->s, input->len);
    shutdown(in[0], SHUT_WR);
    good = read_all(out[0], output) && good;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0 && output->len > 0;
done:
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return good;
}

/* exec keeps the signal of the parent's death, so the child asks for it before it becomes
 * the program. */
int child_become(int argc, char **argv)
{
    int64_t parent;
    if (argc < 3 || !text_to_i64(argv[1], &parent))
        return ERR_USAGE;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != (pid_t)parent) /* it ended before that */
        return ERR_STOPPED;
    execvp(argv[2], argv + 2);
    fprintf(stderr, "sluice: cannot start %s: %s\n", argv[2], strerror(errno));
    return CHILD_NOT_STARTED;
}

/* The words of a child that becomes argv; to be freed, and their third one. */
static char **becoming(char *const *argv)
{
    static char self[] = "/proc/self/exe", name[] = "child";
    int n = 0;
    while (argv[n] != NULL)
        n++;
    char **words = mem_alloc(n + 4, sizeof *words);
    words[0] = self;
    words[1] = name;
    words[2] = text_new("%ld", (long)getpid());
    memcpy(words + 3, argv, (size_t)n * sizeof *words);
    return words;
}

/* Signals that this program holds back are not held back in the child, which is not of
 * its process group: the keyboard's signals reach this program alone. */
static int start_attributes(posix_spawnattr_t *attr)
{
    sigset_t none;
    sigemptyset(&none);
    int rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    return rc != 0 ? rc
                   : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK |
                                                        POSIX_SPAWN_SETPGROUP);
}

static int start(char *const *argv, const char *log, int keep,
                 const posix_spawnattr_t *attr, pid_t *pid)
{
    posix_spawn_file_actions_t act;
    char **words = becoming(argv);
    int rc = posix_spawn_file_actions_init(&act);
    if (rc == 0) {
        rc = posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
        if (rc == 0)
            rc = posix_spawn_file_actions_addopen(&act, 1, log,
                                                  O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(&act, 1, 2);
        if (rc == 0 && keep >= 0)
            rc = posix_spawn_file_actions_adddup2(&act, keep, keep);
        if (rc == 0)
            rc = posix_spawn(pid, words[0], &act, attr, words, environ);
        posix_spawn_file_actions_destroy(&act);
    }
    mem_free(words[2]);
    mem_free(words);
    if (rc != 0)
        return err_set(ERR_ENV, "cannot start %s (output to %s): %s", argv[0], log,
                       strerror(rc));
    return 0;
}

int child_launch(char *const *argv, const char *log, int keep, pid_t *pid)
{
    posix_spawnattr_t attr;
    int rc = posix_spawnattr_init(&attr);
    if (rc != 0 || (rc = start_attributes(&attr)) != 0)
        return err_set(ERR_ENV, "cannot start %s: %s", argv[0], strerror(rc));
    rc = start(argv, log, keep, &attr, pid);
    posix_spawnattr_destroy(&attr);
    return rc;
}

pid_t child_start(char *const *argv, const char *log)
{
    pid_t pid = -1;
    return start(argv, log, -1, NULL, &pid) == 0 ? pid : -1;
}

static int code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool child_ended(pid_t pid, int *code)
{
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) != pid)
        return false;
    *code = code_of(status);
    return true;
}

int child_next(pid_t *pid)
{
    int status = 0;
    while ((*pid = waitpid(-1, &status, WNOHANG)) < 0 && errno == EINTR)
        continue;
    return *pid <= 0 ? -1 : code_of(status);
}

int child_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return code_of(status);
}

int child_run(char *const *argv, const char *log)
{
    pid_t pid = child_start(argv, log);
    if (pid < 0)
        return -1;
    int code = child_wait(pid);
    if (code == CHILD_NOT_STARTED)
        return err_set(ERR_ENV, "cannot start %s; %s says why", argv[0], log);
    return code;
}
