/* The asking end. The process has one helper, as it has one table of file descriptors:
 * hence one static structure. Programs have numbers that are never used twice, so that a
 * late word about a dropped one concerns nobody. */
#include "io/spawn.h"

#include "io/spawn_internal.h"
#include "io/sys/err.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    int fd; /* of the socket; 0: no helper */
    pid_t pid;
    uint64_t last;
    struct spawned *list;
} helper;

int spawn_begin(void)
{
    int fd[2];
    ERR_BUG_IF(helper.fd != 0);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0)
        return err_set(ERR_ENV, "cannot make a socket: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[0]);
        spawn_helper_serve(fd[1]);
    }
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return err_set(ERR_ENV, "cannot fork: %s", strerror(errno));
    }
    helper.fd = fd[0];
    helper.pid = pid;
    signal(SIGPIPE, SIG_IGN);
    return 0;
}

static void close_pipe(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void spawn_close_input(struct spawned *p)
{
    close_pipe(&p->in);
}

/* The helper gives itself five seconds for programs that not even SIGKILL ends. */
void spawn_end(void)
{
    if (helper.fd == 0)
        return;
    while (helper.list != NULL)
        spawn_drop(helper.list);
    close(helper.fd);
    helper.fd = 0;
    for (int i = 0; i < 6000 && waitpid(helper.pid, NULL, WNOHANG) == 0; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

bool spawn_ready(void)
{
    return helper.fd != 0;
}

int spawn_fd(void)
{
    return helper.fd != 0 ? helper.fd : -1;
}

int spawn_ask(struct spawned *p, char *const *argv)
{
    struct {
        struct spawn_letter head;
        char words[SPAWN_BYTES];
    } l = {.head = {.op = SPAWN_START, .id = ++helper.last}};
    size_t n = 0;
    if (helper.fd == 0)
        return err_set(ERR_ENV, "this command was not prepared to start programs");
    for (; argv[l.head.value] != NULL; l.head.value++) {
        size_t len = strlen(argv[l.head.value]) + 1;
        if (len > sizeof l.words - n || l.head.value + 1 >= SPAWN_WORDS)
            return err_set(ERR_ENV, "the command line is longer than %d bytes or %d words",
                           SPAWN_BYTES, SPAWN_WORDS - 1);
        memcpy(l.words + n, argv[l.head.value], len);
        n += len;
    }
    if (send(helper.fd, &l, sizeof l.head + n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return err_set(ERR_ENV, "the helper that starts programs does not answer: %s",
                       strerror(errno));
    *p = (struct spawned){.phase = SPAWN_ASKED,
                          .in = -1,
                          .out = -1,
                          .err = -1,
                          .id = l.head.id,
                          .next = helper.list};
    helper.list = p;
    return 0;
}

static struct spawned *find(uint64_t id)
{
    struct spawned *p = helper.list;
    while (p != NULL && p->id != id)
        p = p->next;
    return p;
}

/* fd: three descriptors that came with the letter, or -1. */
static void take(const struct spawn_letter *l, const int fd[3])
{
    struct spawned *p = find(l->id);
    if (l->op == SPAWN_STARTED && p != NULL && fd[0] >= 0) {
        p->phase = SPAWN_RUNNING;
        p->pid = l->value;
        p->in = fd[0];
        p->out = fd[1];
        p->err = fd[2];
        return;
    }
    for (int i = 0; i < 3; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    if (p == NULL)
        return;
    if (l->op == SPAWN_STARTED) {
        p->phase = SPAWN_FAILED;
        p->status = l->value < 0 ? -l->value : EIO;
    } else if (l->op == SPAWN_EXITED) {
        p->phase = SPAWN_OVER;
        p->status = l->value;
    }
}

/* One letter; 0: there is none, -1: the helper is gone. */
static int hear_one(void)
{
    struct spawn_letter l;
    int fd[3] = {-1, -1, -1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fd)];
    } extra;
    struct iovec io = {&l, sizeof l};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = extra.bytes,
                       .msg_controllen = sizeof extra.bytes};
    ssize_t n = recvmsg(helper.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n != sizeof l)
        return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(fd, CMSG_DATA(c), sizeof fd);
    take(&l, fd);
    return 1;
}

void spawn_hear(void)
{
    int rc = 0;
    while (helper.fd != 0 && (rc = hear_one()) > 0)
        continue;
    if (rc >= 0)
        return;
    for (struct spawned *p = helper.list; p != NULL; p = p->next)
        if (p->phase == SPAWN_ASKED || p->phase == SPAWN_RUNNING) {
            p->phase = SPAWN_OVER;
            p->status = -1;
        }
}

void spawn_drop(struct spawned *p)
{
    struct spawned **at = &helper.list;
    if (p->phase == SPAWN_NONE)
        return;
    if (p->phase != SPAWN_OVER && p->phase != SPAWN_FAILED) {
        const struct spawn_letter l = {.op = SPAWN_KILL, .id = p->id};
        (void)!send(helper.fd, &l, sizeof l, MSG_NOSIGNAL); /* a lost helper kills it too */
    }
    close_pipe(&p->in);
    close_pipe(&p->out);
    close_pipe(&p->err);
    while (*at != NULL && *at != p)
        at = &(*at)->next;
    if (*at == p)
        *at = p->next;
    p->phase = SPAWN_NONE;
}
