"""Start the command line, or say what it lacks."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without its extra, say which one and exit with 1.

    Where what it prints cannot be written, say so and exit with 2.
    """
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.stderr.write(
            f'the smartroute command needs typer and rich ({error}): pip install "smartroute[cli]"\n'
        )
        raise SystemExit(1) from None
    from smartroute.cli.app import app

    try:
        app(prog_name="smartroute")
    except OSError as error:
        if error.filename is not None:
            raise
        sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
