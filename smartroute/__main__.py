"""Start the command line, or say what it lacks."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without its extra, say which one and exit with 1."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.stderr.write(
            f'the smartroute command needs typer and rich ({error}): pip install "smartroute[cli]"\n'
        )
        raise SystemExit(1) from None
    from smartroute.cli import app

    app(prog_name="smartroute")


if __name__ == "__main__":
    main()
