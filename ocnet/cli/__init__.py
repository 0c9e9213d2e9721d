"""The command line, `ocnet COMMAND`: a file of this package for each group of commands."""

import importlib
import pkgutil

import typer


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
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        if hasattr(module, "register"):
            module.register(app)
    return app


def main() -> None:
    """Runs the command that the user typed."""
    build()()
