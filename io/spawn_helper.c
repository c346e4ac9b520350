/* The helper: a forked copy of a process without MPI and threads of its own. It blocks all
 * signals, so those of the job concern it no more than the programs, which lead sessions of
 * their own. A program's group is killed when its leader ends (before the leader is reaped,
 * while its number is taken), on request, and when the socket closes. As subreaper it also
 * gets, and in the end kills, what a program has detached. */
#include "io/spawn_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { PROGRAMS = 1024 };

struct helper {
    int fd;
    pid_t self;
    int n;
    struct {
        uint64_t id;
        pid_t pid;
    } program[PROGRAMS];
};

/* Descriptors of the process that was copied: a launcher's pipes must not stay open. */
static void close_others(int fd)
{
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return;
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        int n = atoi(e->d_name);
        if (n > 2 && n != fd && n != dirfd(d))
            close(n);
    }
    closedir(d);
    int none = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3 && none >= 0; i++)
        dup2(none, i);
    if (none > 2)
        close(none);
}

/* What a launcher tells a rank would make a program that knows MPI take its place. */
static void clean_environment(void)
{
    static const char *const prefix[] = {"OMPI_", "PMIX_", "PMI_", "ORTE_"};
    char name[256];
    for (char **e = environ; *e != NULL;) {
        bool ours = false;
        for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
            ours |= strncmp(*e, prefix[i], strlen(prefix[i])) == 0;
        int len = (int)strcspn(*e, "=");
        if (ours && len < (int)sizeof name) {
            snprintf(name, sizeof name, "%.*s", len, *e);
            unsetenv(name);
        } else {
            e++;
        }
    }
}

static void say(struct helper *h, const struct spawn_letter *l, const int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof *fd)];
    } extra;
    struct iovec io = {(void *)(uintptr_t)l, sizeof *l};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd != NULL) {
        memset(&extra, 0, sizeof extra);
        m.msg_control = extra.bytes;
        m.msg_controllen = sizeof extra.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(3 * sizeof *fd);
        memcpy(CMSG_DATA(c), fd, 3 * sizeof *fd);
    }
    while (sendmsg(h->fd, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

/* In the child: becomes the program, or reports errno. */
static _Noreturn void become(const struct helper *h, char *const *argv, const int fd[3],
                             int report)
{
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != h->self)
        _exit(127);
    if (dup2(fd[0], 0) == 0 && dup2(fd[1], 1) == 1 && dup2(fd[2], 2) == 2)
        execvp(argv[0], argv);
    int code = errno;
    (void)!write(report, &code, sizeof code);
    _exit(127);
}

/* Its pid, or -errno. fd: its ends of the pipes. */
static int32_t launch(const struct helper *h, char *const *argv, const int fd[3])
{
    int report[2], code = 0;
    if (pipe2(report, O_CLOEXEC) != 0)
        return -errno;
    pid_t pid = fork();
    int saved = errno;
    if (pid == 0)
        become(h, argv, fd, report[1]);
    close(report[1]);
    ssize_t n = 0;
    while (pid > 0 && (n = read(report[0], &code, sizeof code)) < 0 && errno == EINTR)
        continue;
    close(report[0]);
    if (pid < 0)
        return -saved;
    if (n != sizeof code)
        return pid;
    waitpid(pid, NULL, 0);
    return -code;
}

static void start(struct helper *h, uint64_t id, char *const *argv)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct spawn_letter l = {.op = SPAWN_STARTED, .value = -EAGAIN, .id = id};
    bool good = h->n < PROGRAMS;
    for (int i = 0; i < 3 && good; i++)
        if (pipe2(pipes[i], O_CLOEXEC) != 0) {
            l.value = -errno;
            good = false;
        }
    if (good)
        l.value = launch(h, argv, (int[]){pipes[0][0], pipes[1][1], pipes[2][1]});
    if (l.value > 0) {
        const int mine[] = {pipes[0][1], pipes[1][0], pipes[2][0]};
        h->program[h->n].id = id;
        h->program[h->n++].pid = l.value;
        /* Only the asking end waits on them, and it never blocks. */
        for (int i = 0; i < 3; i++)
            fcntl(mine[i], F_SETFL, fcntl(mine[i], F_GETFL) | O_NONBLOCK);
        say(h, &l, mine);
    } else {
        say(h, &l, NULL);
    }
    for (int i = 0; i < 6; i++)
        if (pipes[i / 2][i % 2] >= 0)
            close(pipes[i / 2][i % 2]);
}

static void reap(struct helper *h)
{
    for (;;) {
        siginfo_t who = {.si_pid = 0};
        struct spawn_letter l = {.op = SPAWN_EXITED};
        if (waitid(P_ALL, 0, &who, WEXITED | WNOHANG | WNOWAIT) != 0 || who.si_pid == 0)
            return;
        int i = 0, status = 0;
        while (i < h->n && h->program[i].pid != who.si_pid)
            i++;
        if (i < h->n)
            kill(-who.si_pid, SIGKILL);
        waitpid(who.si_pid, &status, 0);
        if (i == h->n)
            continue;
        l.value = status;
        l.id = h->program[i].id;
        h->program[i] = h->program[--h->n];
        say(h, &l, NULL);
    }
}

/* False once nobody is there to serve. */
static bool obey(struct helper *h)
{
    static struct {
        struct spawn_letter head;
        char words[SPAWN_BYTES];
    } l;
    char *argv[SPAWN_WORDS] = {NULL};
    ssize_t n = recv(h->fd, &l, sizeof l, 0);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < (ssize_t)sizeof l.head)
        return false;
    if (l.head.op == SPAWN_KILL) {
        for (int i = 0; i < h->n; i++)
            if (h->program[i].id == l.head.id)
                kill(-h->program[i].pid, SIGKILL);
        return true;
    }
    char *p = l.words, *end = (char *)&l + n;
    for (int i = 0; i < l.head.value && i < SPAWN_WORDS - 1 && p < end; i++) {
        argv[i] = p;
        p += strnlen(p, (size_t)(end - p)) + 1;
    }
    start(h, l.head.id, argv);
    return true;
}

/* Kills whatever has this process as its parent; the kernel's list, if it has one. */
static void kill_children(void)
{
    FILE *f = fopen("/proc/thread-self/children", "r");
    int pid;
    while (f != NULL && fscanf(f, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    if (f != NULL)
        fclose(f);
}

_Noreturn void spawn_helper_serve(int fd)
{
    static struct helper h;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    prctl(PR_SET_NAME, "sluice-spawn");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    close_others(fd);
    clean_environment();
    h.fd = fd;
    h.self = getpid();
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    int ended = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    for (bool on = true; on;) {
        struct pollfd p[] = {{fd, POLLIN, 0}, {ended, POLLIN, 0}};
        struct signalfd_siginfo info;
        /* It sleeps as long as nothing runs; without the descriptor it looks by itself. */
        poll(p, ended >= 0 ? 2 : 1, h.n > 0 && ended < 0 ? 100 : -1);
        while (ended >= 0 && read(ended, &info, sizeof info) > 0)
            continue;
        if (p[0].revents != 0)
            on = obey(&h);
        reap(&h);
    }
    for (int i = 0; i < h.n; i++)
        kill(-h.program[i].pid, SIGKILL);
    for (int i = 0; i < 5000; i++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            break;
        if (pid == 0) {
            kill_children();
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
    }
    _exit(0);
}
