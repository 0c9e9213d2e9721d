"""The command line: `ocnet problems | train | compare ...`, a file for each group of commands."""

import importlib

import typer


COMMANDS = ("problems", "compare", "train", "depth", "prune", "bounds")
"""The modules of this package that add commands, in the order in which help lists them."""


def build() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="ocnet",
        help="Deep residual networks and classical control as one optimal control problem.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").register(app)
    return app


def main() -> None:
    """Runs the command that the user typed."""
    build()()
