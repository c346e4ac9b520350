"""watch_pty.py SLUICE RUNDIR: `sluice watch` of a run that goes on, on terminals of our own:
keys, resizing, Ctrl-C, Ctrl-Z, SIGTERM, and what it leaves behind. Prints "good
NAME" or "bad NAME", which tests/e2e/watch.sh counts."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata

PATIENCE = 30
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
program, run = sys.argv[1:3]


def say(good, name, detail=b""):
    print("good" if good else "bad", name, flush=True)
    if not good:
        print("  ", detail[-600:], file=sys.stderr)


def take_terminal(tty):
    os.setsid()
    fcntl.ioctl(tty, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(tty, fd)


class Watch:
    def __init__(self, rows=30, columns=80, options=(), **env):
        self.text = b""
        # the other end stays open, so that the modes can be read after the program's end
        self.fd, self.tty = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(self.tty)
        whole = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env}
        self.pid = os.fork()
        if self.pid == 0:
            take_terminal(self.tty)
            os.execve(program, [program, "watch", run, "--interval=0.2", *options], whole)

    def until(self, done):
        end = time.monotonic() + PATIENCE
        while not done(self.text) and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536)
        return bool(done(self.text))

    def size(self, rows, columns):
        self.text = b""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def frames(self, n=2):
        """Waits for n whole pictures after what has been read."""
        have = self.text.count(b"\x1b[J")
        return self.until(lambda t: t.count(b"\x1b[J") >= have + n)

    def end(self):
        """The exit code; everything written is in self.text."""
        end, pid = time.monotonic() + PATIENCE, 0
        while not pid and time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            while select.select([self.fd], [], [], 0.05)[0]:
                self.text += os.read(self.fd, 65536)
        if pid:
            return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def restored(self):
        return termios.tcgetattr(self.tty) == self.before


def columns_of(line):
    text = re.sub(rb"\x1b\[[0-9?]*[A-Za-z]", b"", line).decode()
    wide = {"W": 2, "F": 2}
    return sum(wide.get(unicodedata.east_asian_width(c), 1) for c in text if c >= " ")


def last_picture(text):
    whole = text[: text.rindex(b"\x1b[J")]
    return whole[whole.rindex(b"\x1b[H") + 3 :].replace(b"\r", b"").split(b"\n")


def left_well(text):
    """The other screen is left, with the cursor, and a plain picture follows."""
    tail = text[text.rindex(LEAVE) + len(LEAVE) :] if LEAVE in text else b"\x1b"
    return (
        text.startswith(ENTER + b"\x1b[?25l")
        and text.count(ENTER) == text.count(LEAVE)
        and b"\x1b[?25h" in text[-len(tail) - 40 :]
        and b"\x1b" not in tail
        and b"running" in tail
    )


w = Watch()
say(w.frames(), "pictures are drawn in place", w.text)
inside = termios.tcgetattr(w.tty)
say(not inside[3] & termios.ECHO and not inside[3] & termios.ICANON, "keys need no return")
say("█".encode() in w.text or "░".encode() in w.text, "blocks in a UTF-8 locale", w.text)
for rows, columns in ((8, 40), (50, 200), (2, 20), (24, 100)):
    w.size(rows, columns)
    w.frames(3)
    lines = last_picture(w.text)
    say(
        len(lines) <= rows and max(map(columns_of, lines)) < columns,
        f"{columns} columns, {rows} rows",
        w.text,
    )
os.write(w.fd, b"x")
say(w.frames(), "another key draws again", w.text)
os.write(w.fd, b"q")
say(w.end() == 0 and w.restored(), "q ends it", w.text)

w = Watch()
w.frames()
os.write(w.fd, b"\x03")
say(w.end() == 0 and left_well(w.text) and w.restored(), "Ctrl-C ends it", w.text)

for name, number in (("SIGTERM", signal.SIGTERM), ("SIGHUP", signal.SIGHUP)):
    w = Watch()
    w.frames()
    os.kill(w.pid, number)
    say(w.end() == 0 and left_well(w.text) and w.restored(), name + " leaves the screen", w.text)

w = Watch()
w.frames()
os.kill(w.pid, signal.SIGTSTP)
pid, status = os.waitpid(w.pid, os.WUNTRACED)
w.until(lambda t: t.endswith(LEAVE))
say(os.WIFSTOPPED(status) and w.text.endswith(LEAVE) and w.restored(), "Ctrl-Z", w.text)
w.text = b""
os.kill(w.pid, signal.SIGCONT)
say(w.frames(2) and w.text.startswith(ENTER), "and on again", w.text)
os.write(w.fd, b"q")
w.end()

w = Watch(NO_COLOR="1")
w.frames()
os.write(w.fd, b"q")
w.end()
say(not re.search(rb"\x1b\[[1-9][0-9]*m", w.text) and ENTER in w.text, "NO_COLOR", w.text)
w = Watch(LC_ALL="C")
w.frames()
os.write(w.fd, b"q")
w.end()
say(max(w.text) < 0x80, "ASCII in the locale C", w.text)
for name, options, env in (("TERM=dumb", (), {"TERM": "dumb"}), ("--once", ("--once",), {})):
    w = Watch(options=options, **env)
    code = w.end()
    say(code == 0 and b"\x1b" not in w.text and b"iteration" in w.text, name, w.text)
