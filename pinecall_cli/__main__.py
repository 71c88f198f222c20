"""The program's first lines: until all the others are loaded, Ctrl-C just ends it.

Loading takes a twentieth of a second, and Python's own answer to Ctrl-C in it is a traceback.
"""

import signal

HEEDED = signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""False where Ctrl-C is ignored on purpose, as in what a script starts with `&`."""
if HEEDED:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    from pinecall_cli.app import main as run  # noqa: PLC0415 - after the signal is seen to

    if HEEDED:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
