"""The command line, `ocnet COMMAND`: a file of this package for each group of commands."""

import importlib
import pkgutil
import sys

import typer

from .._interrupt import loud


__all__ = ["build", "main"]


def build(command: str | None = None) -> typer.Typer:
    """The application with all its commands; or, faster, with only one, if a file has its name.

    Arguments:
        command: The command that will be called; all are there if no file has its name.
    """
    app = typer.Typer(
        name="ocnet",
        help="Deep residual networks and classical control as one optimal control problem.",
        epilog="Exit codes: 0 done; 1 something failed; 2 a wrong call; 130 interrupted by Ctrl-C "
        "(129 by SIGHUP, 143 by SIGTERM).",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # With a callback typer expects the name of a command even if there is only one.
    app.callback()(lambda: None)
    files = [found.name for found in pkgutil.iter_modules(__path__)]
    for name in [command] if command in files else files:
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "register"):
            module.register(app)
    return app


def main() -> None:
    """Runs the command that the user typed."""
    app = build(next(iter(sys.argv[1:]), None))
    loud()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
