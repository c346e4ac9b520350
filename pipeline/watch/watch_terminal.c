/* The terminal. Signals are blocked but for the wait, so none comes while a file is
 * read or a picture is half drawn; a handler only notes which one came. */
#include "pipeline/watch/watch_terminal.h"

#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

const char watch_terminal_end[] = "\x1b[K\n";

struct watch_terminal {
    struct termios before;
    struct sigaction handler[NSIG];
    sigset_t mask;
    bool keys; /* standard input is a terminal of ours */
    bool lost; /* nothing can be written any more */
};

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
enum { SIGNALS = sizeof signals / sizeof *signals };

static volatile sig_atomic_t leave, suspend;

static void note(int s)
{
    if (s == SIGTSTP)
        suspend = 1;
    else if (s != SIGWINCH)
        leave = 1;
}

bool watch_terminal_fits(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) != 0 && term != NULL && term[0] != '\0' &&
           strcmp(term, "dumb") != 0;
}

void watch_terminal_size(int *columns, int *rows)
{
    enum { LEAST = 20, USUAL = 80, MOST = 1000 };
    struct winsize size = {0};
    const char *word = getenv("COLUMNS");
    int64_t n = 0;
    const bool known = isatty(STDOUT_FILENO) != 0 &&
                       ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    if (known)
        n = size.ws_col;
    else if (word == NULL || !text_to_i64(word, &n) || n <= 0)
        n = USUAL;
    *columns = n < LEAST ? LEAST : n > MOST ? MOST : (int)n;
    *rows = known ? size.ws_row : 0;
}

static void put(struct watch_terminal *t, const char *s)
{
    for (size_t len = strlen(s); len > 0 && !t->lost;) {
        ssize_t n = write(STDOUT_FILENO, s, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            t->lost = true;
        s += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void enter(struct watch_terminal *t)
{
    struct termios now = t->before;
    now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    if (t->keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
    put(t, "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J");
}

static void restore(struct watch_terminal *t)
{
    put(t, "\x1b[0m\x1b[?25h\x1b[?1049l");
    if (t->keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
}

struct watch_terminal *watch_terminal_open(void)
{
    struct watch_terminal *t = mem_alloc(1, sizeof *t);
    struct sigaction act = {.sa_handler = note};
    sigset_t block;
    sigemptyset(&block);
    leave = suspend = 0;
    t->keys = isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &t->before) == 0;
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&block, signals[i]);
    sigprocmask(SIG_BLOCK, &block, &t->mask);
    sigemptyset(&act.sa_mask);
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &act, &t->handler[signals[i]]);
    enter(t);
    return t;
}

void watch_terminal_close(struct watch_terminal *t)
{
    if (t == NULL)
        return;
    restore(t);
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &t->handler[signals[i]], NULL);
    sigprocmask(SIG_SETMASK, &t->mask, NULL);
    mem_free(t);
}

void watch_terminal_draw(struct watch_terminal *t, const char *text)
{
    put(t, "\x1b[H");
    put(t, text);
    put(t, "\x1b[J");
}

/* Ctrl-Z: the shell finds its terminal as it was, and we ours when we go on. */
static void step_aside(struct watch_terminal *t)
{
    suspend = 0;
    restore(t);
    raise(SIGSTOP);
    enter(t);
}

/* False: q, or the end of the input. */
static bool take_key(struct watch_terminal *t)
{
    char key[64];
    ssize_t n = read(STDIN_FILENO, key, sizeof key);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        t->keys = false;
    for (ssize_t i = 0; i < n; i++)
        if (key[i] == 'q' || key[i] == 'Q')
            return false;
    return true;
}

bool watch_terminal_wait(struct watch_terminal *t, double seconds)
{
    struct timespec wait = {.tv_sec = (time_t)seconds,
                            .tv_nsec =
                                (long)((seconds - (double)(time_t)seconds) * 1e9)};
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    const int n = ppoll(&input, t->keys ? 1 : 0, &wait, &t->mask);
    if (suspend)
        step_aside(t);
    if (leave || t->lost)
        return false;
    return n <= 0 || take_key(t);
}
