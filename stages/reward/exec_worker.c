/* A program that breaks the protocol in any way is killed: no answer of it is used after
 * that. What it writes when nothing was asked breaks the protocol too. */
#include "stages/reward/exec_worker.h"

#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PIECE = 65536,    /* bytes per read */
    LOG_LINE = 500,   /* longer lines are cut into such */
    LOG_BURST = 40,   /* lines that may be logged at once */
    LOG_RATE = 10,    /* and per second from then on */
};

static const double linger = 0.2; /* s for the word of its end, once its output has ended */

int exec_worker_start(struct exec_worker *w, double now)
{
    w->reply.len = w->request.len = w->line.len = w->sent = 0;
    w->closed = w->drained = w->timed_out = false;
    w->why[0] = w->last[0] = '\0';
    if (w->score == NULL) {
        w->score = mem_alloc(w->batch, sizeof *w->score);
        w->status = mem_alloc(w->batch, sizeof *w->status);
        w->allowance = LOG_BURST;
    }
    if (spawn_ask(&w->program, w->argv) != 0) {
        char *text = mem_text(err_text());
        err_set(ERR_REWARD, "exec.command: %.200s: %s", w->argv[0], text);
        mem_free(text);
        return -1;
    }
    w->state = EXEC_STARTING;
    w->deadline = now + w->start_timeout;
    return 0;
}

void exec_worker_ask(struct exec_worker *w, uint64_t id, int64_t n, double now)
{
    w->id = id;
    w->n = n;
    w->sent = 0;
    w->deadline = now + w->timeout;
    w->state = EXEC_BUSY;
}

static void log_line(struct exec_worker *w, double now)
{
    for (int64_t i = 0; i < w->line.len; i++)
        if ((unsigned char)w->line.s[i] < ' ' || w->line.s[i] == 127)
            w->line.s[i] = w->line.s[i] == '\t' ? ' ' : '?';
    if (w->line.len > 0)
        snprintf(w->last, sizeof w->last, "%s", w->line.s);
    w->allowance += (now - w->counted) * LOG_RATE;
    if (w->allowance > LOG_BURST)
        w->allowance = LOG_BURST;
    w->counted = now;
    if (w->allowance < 1) {
        w->left_out++;
    } else if (w->line.len > 0) {
        if (w->left_out > 0)
            log_info("%s: %lld lines are left out here", w->tag, (long long)w->left_out);
        w->left_out = 0;
        w->allowance -= 1;
        log_info("%s: %s", w->tag, w->line.s);
    }
    w->line.len = 0;
}

static void read_errors(struct exec_worker *w, double now)
{
    char buf[PIECE];
    ssize_t n = w->program.err < 0 ? 0 : read(w->program.err, buf, sizeof buf);
    if (n == 0 && w->program.err >= 0) {
        close(w->program.err);
        w->program.err = -1;
    }
    for (const char *p = buf; n > 0 && p < buf + n; p++) {
        if (*p != '\n')
            text_add_bytes(&w->line, p, 1);
        if (*p == '\n' || w->line.len >= LOG_LINE)
            log_line(w, now);
    }
}

/* Reads one piece at most, so that a program that floods us does not keep us. */
static void read_output(struct exec_worker *w)
{
    char buf[PIECE];
    ssize_t n = w->program.out < 0 ? 0 : read(w->program.out, buf, sizeof buf);
    if (n > 0)
        text_add_bytes(&w->reply, buf, n);
    w->closed = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    w->drained = n < 0 && errno == EAGAIN;
}

static void write_request(struct exec_worker *w)
{
    while (w->sent < w->request.len && w->program.in >= 0) {
        ssize_t n = write(w->program.in, w->request.s + w->sent,
                          (size_t)(w->request.len - w->sent));
        if (n > 0) {
            w->sent += n;
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else if (errno != EINTR) { /* nobody reads: its end says why */
            w->sent = w->request.len;
        }
    }
}

static void tell_end(struct exec_worker *w)
{
    const int s = w->program.status;
    char text[64] = "closed its output";
    if (w->program.phase == SPAWN_OVER && s != -1 && WIFEXITED(s))
        snprintf(text, sizeof text, "ended with exit code %d", WEXITSTATUS(s));
    else if (w->program.phase == SPAWN_OVER && s != -1 && WIFSIGNALED(s))
        snprintf(text, sizeof text, "was ended by signal %d", WTERMSIG(s));
    else if (w->program.phase == SPAWN_OVER)
        snprintf(text, sizeof text, "is lost, as is the helper that starts programs");
    snprintf(w->why, sizeof w->why, "it %s%s", text,
             w->state == EXEC_STARTING ? " before its first line"
             : w->reply.len > 0        ? " within a reply"
                                       : "");
}

/* What its output means; -1: it is broken, and why is set. */
static int64_t understand(struct exec_worker *w)
{
    const char *why = "";
    char name[128];
    int64_t n = 0;
    if (w->state == EXEC_STARTING) {
        n = exec_wire_hello(w->wire, w->reply.s, w->reply.len, name, &why);
        if (n > 0)
            log_info("%s: process %lld, %s", w->tag, (long long)w->program.pid, name);
    } else if (w->state == EXEC_BUSY) {
        n = exec_wire_reply(w->wire, w->reply.s, w->reply.len, w->id, w->n, w->score,
                            w->status, &why);
    }
    if (n >= 0 && w->reply.len > n && (n > 0 || w->state == EXEC_IDLE)) {
        n = -1;
        why = "it wrote more than was asked for";
    } else if (n > 0 && w->sent < w->request.len) {
        n = -1;
        why = "it answered before it had read the request";
    }
    if (n < 0)
        snprintf(w->why, sizeof w->why, "%s", why);
    return n;
}

static enum exec_event break_off(struct exec_worker *w, double now)
{
    for (int i = 0; i < 16 && w->program.err >= 0; i++) /* its last words */
        read_errors(w, now);
    if (w->line.len > 0)
        log_line(w, now);
    if (w->last[0] != '\0') {
        size_t k = strlen(w->why);
        snprintf(w->why + k, sizeof w->why - k, "; its last words: %s", w->last);
    }
    exec_worker_drop(w);
    return EXEC_BROKEN;
}

static enum exec_event overdue(struct exec_worker *w, double now)
{
    if (w->state == EXEC_IDLE || now < w->deadline)
        return EXEC_NOTHING;
    w->timed_out = w->state == EXEC_BUSY;
    snprintf(w->why, sizeof w->why, "%s after %g s (%s)",
             w->timed_out ? "no reply" : "no first line",
             w->timed_out ? w->timeout : w->start_timeout,
             w->timed_out ? "exec.timeout" : "exec.start_timeout");
    return break_off(w, now);
}

enum exec_event exec_worker_step(struct exec_worker *w, double now)
{
    const enum spawn_phase phase = w->program.phase;
    if (w->state == EXEC_GONE)
        return EXEC_NOTHING;
    if (phase == SPAWN_FAILED) {
        snprintf(w->why, sizeof w->why, "it cannot be started: %s",
                 strerror(w->program.status));
        return break_off(w, now);
    }
    if (phase == SPAWN_ASKED)
        return overdue(w, now);
    read_errors(w, now);
    if (w->state == EXEC_BUSY)
        write_request(w);
    const bool was_closed = w->closed;
    read_output(w);
    int64_t n = understand(w);
    if (n < 0)
        return break_off(w, now);
    if (n > 0) {
        enum exec_event e = w->state == EXEC_BUSY ? EXEC_REPLY : EXEC_READY;
        w->reply.len = w->request.len = w->sent = 0;
        w->state = EXEC_IDLE;
        return e;
    }
    if (w->closed && !was_closed)
        w->deadline = w->state == EXEC_IDLE || now + linger < w->deadline ? now + linger
                                                                          : w->deadline;
    if ((phase == SPAWN_OVER && (w->closed || w->drained)) ||
        (w->closed && now >= w->deadline)) {
        tell_end(w);
        return break_off(w, now);
    }
    return overdue(w, now);
}

int exec_worker_waits(const struct exec_worker *w, struct pollfd f[3])
{
    int n = 0;
    if (w->state == EXEC_GONE || w->program.phase == SPAWN_ASKED)
        return 0;
    if (w->program.out >= 0 && !w->closed)
        f[n++] = (struct pollfd){w->program.out, POLLIN, 0};
    if (w->program.err >= 0)
        f[n++] = (struct pollfd){w->program.err, POLLIN, 0};
    if (w->state == EXEC_BUSY && w->program.in >= 0 && w->sent < w->request.len)
        f[n++] = (struct pollfd){w->program.in, POLLOUT, 0};
    return n;
}

void exec_worker_drop(struct exec_worker *w)
{
    if (w->state != EXEC_GONE)
        spawn_drop(&w->program);
    w->state = EXEC_GONE;
}

void exec_worker_free(struct exec_worker *w)
{
    exec_worker_drop(w);
    text_free(&w->request);
    text_free(&w->reply);
    text_free(&w->line);
    mem_free(w->score);
    mem_free(w->status);
}
