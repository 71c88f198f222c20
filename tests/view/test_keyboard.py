"""The keyboard on a real terminal: a child in a pty, and the pty's modes looked at from outside."""

import os
import signal
import sys
import termios
from collections.abc import Iterator

import pytest

pexpect = pytest.importorskip("pexpect", reason="Windows has no pty")

CHILD = """
import asyncio, sys
from pinecall_cli.view.keyboard import Keyboard

async def main():
    done = asyncio.Event()
    def pressed(key):
        print("key", key, flush=True)
        if key == "q":
            done.set()
        if key == "x":
            raise SystemExit(3)
    with Keyboard(
        pressed,
        on_suspend=lambda: print("suspended", flush=True),
        on_resume=lambda: print("resumed", flush=True),
    ) as keyboard:
        print("reading", keyboard.reading, flush=True)
        await done.wait()
    keyboard.close()
    print("closed", keyboard.reading, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def child() -> Iterator[pexpect.spawn]:
    spawned = pexpect.spawn(sys.executable, ["-c", CHILD], timeout=20, encoding="utf-8")
    try:
        yield spawned
    finally:
        spawned.close(force=True)


def raw(child: pexpect.spawn) -> bool:
    """Whether the terminal hands over keys one by one, unechoed."""
    return not termios.tcgetattr(child.child_fd)[3] & (termios.ICANON | termios.ECHO)


def test_keys_come_one_by_one_and_the_terminal_is_put_back(child: pexpect.spawn):
    child.expect("reading True")
    assert raw(child)
    child.send("t\x1b[A")
    child.expect("key t")
    child.expect("key up")
    child.send("q")
    child.expect("closed False")
    child.expect(pexpect.EOF)
    assert not raw(child)


def test_an_error_leaves_the_terminal_as_it_was(child: pexpect.spawn):
    child.expect("reading True")
    child.send("x")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 3
    assert not raw(child)


def test_after_a_stop_that_nobody_announced_the_terminal_is_taken_anew(child: pexpect.spawn):
    child.expect("reading True")
    child.send("a")
    child.expect("key a")
    os.kill(child.pid, signal.SIGCONT)
    child.expect("resumed")
    assert raw(child)


def shell_with_jobs() -> pexpect.spawn:
    shell = pexpect.spawn(
        "/bin/bash", ["--norc", "--noprofile", "-i"], timeout=20, encoding="utf-8"
    )
    shell.sendline("PS1='$ ' PS2=''")
    return shell


def test_a_suspended_program_gives_the_terminal_back_and_takes_it_again(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    shell = shell_with_jobs()
    try:
        shell.sendline(f"{sys.executable} {script}")
        shell.expect("reading True")
        shell.send("\x1a")
        shell.expect("suspended")
        shell.expect("Stopped")
        shell.sendline("echo sh''ell")
        shell.expect("shell")
        shell.sendline("fg")
        shell.expect("resumed")
        shell.send("t")
        shell.expect("key t")
        shell.send("q")
        shell.expect("closed False")
    finally:
        shell.close(force=True)


def test_in_the_background_no_key_is_read_until_it_comes_to_the_front(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    shell = shell_with_jobs()
    try:
        shell.sendline(f"{sys.executable} {script} &")
        shell.expect("reading False")
        shell.sendline("fg")
        shell.expect("child.py")
        shell.send("q")
        shell.expect("key q")
        shell.expect("closed False")
    finally:
        shell.close(force=True)
