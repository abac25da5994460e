"""docs/cli.md, out of the command line's own help."""

from collections.abc import Iterator
from enum import Enum, EnumType
from pathlib import Path
from typing import Any, get_args

import typer

from lambda_pipeline.cli import app

_HEAD = """# The command line

`lambda-pipeline --help` says the same. Settings come from the environment and `.env`, see
[`.env.example`](../.env.example). A command that fails says why on standard error and ends with 1; one that was called
wrongly ends with 2.

<!-- made by `make docs` from the commands; do not edit -->
"""


def reference() -> str:
    """The page."""
    return "\n".join([_HEAD, *_command(typer.main.get_command(app), "lambda-pipeline")]).rstrip() + "\n"


def _command(command: Any, path: str) -> Iterator[str]:
    """A command and those below it. Typer carries a Click of its own, whose types have no public name."""
    context = command.context_class(command, info_name=path)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = " ".join([path, *(_argument(one) for one in arguments)])
    yield f"## {usage}"
    yield ""
    yield _plain(command.help or "")
    yield ""
    described = [one for one in arguments if one.help]
    for argument in described:
        yield f"- `{_argument(argument)}`: {_plain(argument.help)} {_choices(argument)}".rstrip()
    if described:
        yield ""
    if options:
        yield "| option | | default |"
        yield "| --- | --- | --- |"
        for option in options:
            yield f"| {_spelled(option)} | {_plain(option.help or '')} | {_default(option)} |"
        yield ""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _command(below, f"{path} {name}")


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return f"{name if argument.required else f'[{name}]'}{'...' if argument.nargs == -1 else ''}"


def _choices(argument: Any) -> str:
    return f"One of {_wanted(argument)}." if isinstance(argument.type_descriptor.annotation, EnumType) else ""


def _spelled(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or _wanted(option)}"


def _wanted(parameter: Any) -> str:
    """What it takes: the choices, or the name of the type."""
    annotation = parameter.type_descriptor.annotation
    annotation = next(iter(get_args(annotation)), annotation)  # of a list
    if isinstance(annotation, EnumType):
        return ", ".join(str(choice.value) for choice in annotation)  # type: ignore[attr-defined]
    return {Path: "PATH", int: "NUMBER"}.get(annotation, "TEXT")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag or option.default is None or callable(option.default):
        return ""
    if isinstance(option.default, list):
        choices = next(iter(get_args(option.type_descriptor.annotation)))
        if not isinstance(choices, EnumType):
            return ", ".join(map(str, option.default))
        left_out = ", ".join(str(one.value) for one in choices if one not in option.default)
        return f"all but {left_out}" if left_out else "all"
    return str(option.default.value if isinstance(option.default, Enum) else option.default)


def _plain(text: str) -> str:
    """Without the terminal's markup, in one line a paragraph."""
    paragraphs = text.replace("[bold]", "**").replace("[/bold]", "**").replace("|", "\\|").split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)
