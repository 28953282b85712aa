"""Where ``tokprof`` and ``python -m tokprof.profiler`` begin."""


def main() -> None:
    """Load the commands and run them; Ctrl-C before they are loaded ends the process without a traceback."""
    import signal

    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tokprof.profiler.cli import main as run

    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
