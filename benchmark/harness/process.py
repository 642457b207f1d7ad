"""Processes that are stopped when the block that started them is left, however it is left."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """Said to whoever ran the benchmark, without a traceback."""


@contextmanager
def running(argv, log, env=None, user=None, stop=signal.SIGTERM, stdout=None):
    """A process in a group of its own: Ctrl-C in the terminal must not stop Postgres before the server. Should this program
    be killed, the process gets the same signal. `user` is an entry of the password file."""
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    with open(log, "ab") as file:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            **identity,
            stdin=subprocess.DEVNULL,
            stdout=stdout or file,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, stop),
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill_group(process.pid)
            process.wait()


def kill_group(pid):
    """Whatever the leader left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def tail(path, lines=15):
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-lines:])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, process, log, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"it ended before it listened:\n{tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"it does not listen:\n{tail(log)}")
