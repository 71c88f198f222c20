"""``pinecall config``: every setting, where it came from, and what it went before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinecall_cli.commands import options

if TYPE_CHECKING:
    from pinecall_cli.settings import Places, Setting, Settings

app = typer.Typer(no_args_is_help=True, subcommand_metavar="COMMAND [ARGS]...")

MASK = "***"


@app.callback()
def config() -> None:
    """Show which settings are in force, and where they come from.

    Examples:
      pinecall config list
      pinecall config list --show-origin
    """


@app.command("list")
def list_settings(
    show_origin: Annotated[
        bool,
        typer.Option("--show-origin", help="Say where each came from, and what that shadowed."),
    ] = False,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    local: options.Local = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """List every setting; keys are never shown.

    A flag goes before the environment, that before the nearest .env, then the
    project's pinecall.toml, the profile of `pinecall login`, and the default.

    Examples:
      pinecall config list
      pinecall config list --show-origin --json
    """
    from pinecall_cli.settings import Flags, Surroundings, places, resolve

    flags, around = Flags(server, api_key, local), Surroundings.here()
    settings = resolve(flags, around)
    read = places(Flags(server, MASK if api_key else None, local), around)
    rows = list(every(read))
    if not quiet:
        for notice in settings.notices:
            typer.echo(options.inert(notice), err=True)
        typer.echo(options.inert(leads_to(settings)), err=True)
    if json:
        options.echo_json({"settings": [document(name, said) for name, said in rows]})
        return
    print_settings(rows, show_origin=show_origin, plain=plain)


def every(read: Places) -> Iterator[tuple[str, Setting[str] | None]]:
    """Yield each setting with its value as it may be shown; None where nobody sets it."""
    from pinecall_cli.settings.resolve import first

    yield "server", without_password(read.server())
    yield "api_key", masked(read.key())
    yield "profile", read.profile
    allow = read.project.allow if read.project is not None else None
    yield "call.allow", first((None if allow is None else ", ".join(allow) or "-", read.in_project))
    for name, variable in (("route_callers", "DEV_CALLERS"), ("models", "PINECALL_MODELS")):
        yield name, first(*read.asked(variable)[:1])
    for variable in provider_variables():
        found = first(*read.asked(variable))
        if found is not None:
            hide = masked if variable.endswith("_KEY") else without_password
            yield variable, hide(found)
    yield from folders(read)


def provider_variables() -> Iterator[str]:
    """Yield the variables of language models: their keys, and the addresses that move them."""
    from pinecall_cli.engines.llm import PROVIDERS

    for name, provider in PROVIDERS.items():
        yield from provider.keys
        yield f"{name.upper()}_BASE_URL"
    yield "OLLAMA_HOST"


def folders(read: Places) -> Iterator[tuple[str, Setting[str]]]:
    """Yield our folders, and the variables that moved them."""
    from pinecall_cli import settings
    from pinecall_cli.settings import Origin, Setting

    around = read.around
    for name, variable, folder in (
        ("config_dir", "XDG_CONFIG_HOME", settings.config_dir(around)),
        ("data_dir", "XDG_DATA_HOME", settings.data_dir(around)),
        ("state_dir", "XDG_STATE_HOME", settings.state_dir(around)),
        ("run_dir", "XDG_RUNTIME_DIR", settings.run_dir(around)),
    ):
        named = around.environ.get(variable, "")
        moved = bool(named) and folder.is_relative_to(named)
        origin = Origin("environment", f"`{variable}`") if moved else Origin("default", "default")
        yield name, Setting(str(folder), origin)


def masked(setting: Setting[str] | None) -> Setting[str] | None:
    """Return a setting whose values, shadowed ones too, are not to be read."""
    from pinecall_cli.settings import Setting

    if setting is None:
        return None
    shadows = tuple(Setting(MASK, one.origin) for one in setting.shadows)
    return Setting(MASK, setting.origin, shadows)


def without_password(setting: Setting[str] | None) -> Setting[str] | None:
    """Return an address, and those that it shadows, without what stands before an ``@``."""
    import re

    from pinecall_cli.settings import Setting

    def shown(url: str) -> str:
        return re.sub(r"^([^/]*//)?[^/]*@", rf"\g<1>{MASK}@", url)

    if setting is None:
        return None
    shadows = tuple(Setting(shown(one.value), one.origin) for one in setting.shadows)
    return Setting(shown(setting.value), setting.origin, shadows)


def leads_to(settings: Settings) -> str:
    """Return which server commands use with these settings."""
    from pinecall_cli.errors import PinecallError

    try:
        target = settings.target()
    except PinecallError as refused:
        return f"commands that need a server are refused: {refused.message} (fix: {refused.fix})"
    if target.url is None:
        return "commands use the embedded server, or local ones that run"
    return f"commands use {target.url}" + ("" if target.kind == "hosted" else ", a local server")


# --- what is printed ------------------------------------------------------------------------


def document(name: str, setting: Setting[str] | None) -> dict[str, Any]:
    """Return a setting as ``--json`` prints it."""
    if setting is None:
        return {"name": name, "value": None, "origin": None, "where": None, "shadows": []}
    return {
        "name": name,
        **said(setting),
        "shadows": [said(shadowed) for shadowed in setting.shadows],
    }


def said(setting: Setting[str]) -> dict[str, str]:
    """Return a value and its place."""
    origin = setting.origin
    return {"value": setting.value, "origin": origin.kind, "where": origin.where.strip("`")}


def print_settings(
    rows: list[tuple[str, Setting[str] | None]], *, show_origin: bool, plain: bool
) -> None:
    """Print the settings, one a row."""
    from pinecall_cli.view.tables import print_table
    from pinecall_cli.view.twins import console_for

    columns = ["setting", "value"] + (["from", "shadows"] if show_origin else [])
    cells = []
    for name, setting in rows:
        row = [name, "-" if setting is None else setting.value]
        if show_origin:
            shadows = "" if setting is None else "; ".join(map(shadowed, setting.shadows))
            row += ["-" if setting is None else place(setting), shadows or "-"]
        cells.append(row)
    print_table(console_for(), columns, cells, plain=plain)


def place(setting: Setting[str]) -> str:
    """Return where a value came from."""
    return setting.origin.where.strip("`")


def shadowed(setting: Setting[str]) -> str:
    """Return a value that is not in force, and where it stands."""
    return f"{setting.value} ({place(setting)})"
