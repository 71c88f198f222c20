"""``pinecall agents new``: files of an agent that runs, to be changed into one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinecall_cli.errors import UsageError


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The agent's name: `front-desk`.")],
    python: Annotated[
        bool, typer.Option("--python", help="One Python file, not YAML with files beside it.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            show_default=False,
            help="Where to; else `agents` here, where `pinecall dev` looks.",
        ),
    ] = None,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Write an agent that runs as it stands: prompt, tool, script and specs.

    The script answers in place of a model, so that it talks without a key.
    Nothing that is there already is written over.

    Examples:
      pinecall agents new pizza-shop
      pinecall agents new night-desk --python --dir agents
    """
    from shlex import quote

    from pinecall_cli.agent.problems import shown_path
    from pinecall_cli.agent.scaffold import checked_name, scaffold

    slug = checked_name(name, python=python)
    into = folder or default_folder(Path.cwd())
    texts = scaffold(slug, python=python)
    refuse_what_is_there(slug, into, texts)
    write(into, texts)
    files = [shown_path(into / path) for path in texts]
    if json:
        options.echo_json({"agent": slug, "files": files})
    else:
        typer.echo("\n".join(map(options.inert, files)))
    if not quiet:
        agent, spec = quote(files[0]), quote(next(f for f in files if f.endswith(".spec.yaml")))
        typer.echo(options.inert(f"talk to it:  pinecall dev {agent}"), err=True)
        typer.echo(options.inert(f"test it:     pinecall test {spec}"), err=True)


def default_folder(here: Path) -> Path:
    """Return the folder of agents: ``agents`` here, or here if this is one."""
    return Path() if here.name == "agents" else Path("agents")


def refuse_what_is_there(slug: str, folder: Path, texts: Mapping[str, str]) -> None:
    """Make sure that no file is written over, and no name is taken twice.

    Raises:
        UsageError: If one would be.
    """
    from pinecall_cli.agent.check import check
    from pinecall_cli.agent.problems import shown_path
    from pinecall_cli.errors import UsageError, Where

    for path in texts:
        if (folder / path).exists():
            raise UsageError(
                f"`{shown_path(folder / path)}` is there already, and is not written over",
                where=Where(shown_path(folder / path)),
                fix="take another name, or another folder with `--dir`",
                code="file_exists",
            )
    checked = check(folder) if folder.is_dir() else ()
    taken = next((one for one in checked if slug in one.agents), None)
    if taken is not None:
        raise UsageError(
            f"`{taken.file}` has an agent `{slug}` already",
            where=Where(taken.file),
            fix="take another name, or another folder with `--dir`",
            code="duplicate_agent",
        )


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all of the files, or none.

    Raises:
        UsageError: If one cannot be written.
    """
    written: list[Path] = []
    for path, text in texts.items():
        file = folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                written.append(file)
                opened.write(text)
        except OSError as problem:
            for one in written:
                one.unlink(missing_ok=True)
            raise cannot_write(file, problem, fix=TAKE_ANOTHER_FOLDER) from None


TAKE_ANOTHER_FOLDER = "choose a folder you can write to with `--dir`"


def cannot_write(file: Path, problem: OSError, *, fix: str) -> UsageError:
    """Return the error for a file that cannot be written."""
    from pinecall_cli.agent.problems import shown_path
    from pinecall_cli.errors import UsageError, Where

    shown = shown_path(file)
    message = f"cannot write `{shown}`: {problem.strerror}"
    return UsageError(message, where=Where(shown), fix=fix, code="cannot_write")
