"""The commands that the train stage adds to `fauxface`; heavy packages are imported when a command runs."""

import typer

from fauxface_train import calibrate_cli, data_cli, evaluate_cli, generator_cli, locator_cli, train_cli


def register(app: typer.Typer) -> None:
    """Add this stage's commands."""
    for commands in (data_cli, train_cli, evaluate_cli, calibrate_cli, locator_cli, generator_cli):
        commands.register(app)
