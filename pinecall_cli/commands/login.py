"""``pinecall login`` and ``logout``: keep a key for the servers that want one, and forget it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pinecall_cli.commands import complete, options

if TYPE_CHECKING:
    from pinecall_cli.settings import Secret, Surroundings

Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default=False,
        autocompletion=complete.profiles,
        help="One of several: PINECALL_PROFILE chooses among them, or a project's "
        "pinecall.toml. Left out: the one that is used when none is named.",
    ),
]


def login(
    profile: Profile = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            autocompletion=complete.servers,
            help="The server that the key is for, else PINECALL_URL, else the hosted one.",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            show_default=False,
            help="The key. Better left out: others on this machine can see what stands on a "
            "command line. It is asked for, or read from stdin where that is no terminal.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Ask the server whether it takes the key."),
    ] = True,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Save a key, readable by you alone.

    The key is typed without being shown. A server that refuses it keeps it
    from being saved; one that does not answer does not.

    Examples:
      pinecall login
      pinecall login --profile staging --server https://voice.example
    """
    from pinecall_cli.settings import DEFAULT, Surroundings, profile_file, read_profiles

    around = Surroundings.here()
    name = profile_name(profile or around.environ.get("PINECALL_PROFILE") or DEFAULT)
    read_profiles(profile_file(around))  # a broken file is told before anything is typed
    url = server_for(name, server, around)
    if api_key not in (None, "-"):
        warn("a key on a command line can be seen by others on this machine; type it, or pipe it")
    key = typed_key(api_key, url)
    checked = takes(url, key) if check else None
    file = save(name, url, key, around)
    if check and checked is None:
        warn(f"{url} does not answer: the key is not checked")
    if not quiet:
        typer.echo(options.inert(f"saved the profile `{name}` for {url} in {file}"), err=True)
        if name != DEFAULT and around.environ.get("PINECALL_PROFILE") != name:
            typer.echo(f"it is used with PINECALL_PROFILE={name}", err=True)
        warn_of_others(around)
    if json:
        options.echo_json({"profile": name, "server": url, "file": file, "checked": checked})


def logout(
    profile: Profile = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget every profile.")] = False,
    json: options.Json = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Forget a key that `pinecall login` saved.

    It is taken out of the file on this machine; the server goes on taking it.

    Examples:
      pinecall logout
      pinecall logout --profile staging
    """
    from pinecall_cli.errors import NotFoundError
    from pinecall_cli.settings import (
        DEFAULT,
        Surroundings,
        no_profile,
        profile_file,
        read_profiles,
        write_profiles,
    )

    around = Surroundings.here()
    file = profile_file(around)
    saved = read_profiles(file)
    name = profile or around.environ.get("PINECALL_PROFILE") or DEFAULT
    gone = sorted(saved) if everything else [one for one in (name,) if one in saved]
    if not gone and name != DEFAULT and not everything:
        missing = no_profile(name, saved)
        raise NotFoundError(missing.message, fix=missing.fix, code=missing.code)
    if gone:
        write_profiles(file, {one: saved[one] for one in saved if one not in gone})
    if not quiet:
        said = ", ".join(f"`{one}`" for one in gone)
        typer.echo(f"forgot the profile {said}" if gone else "there was no key to forget", err=True)
        warn_of_others(around)
    if json:
        options.echo_json({"profiles": gone, "file": str(file)})


# --- what is saved --------------------------------------------------------------------------


def profile_name(name: str) -> str:
    """Return a profile's name.

    Raises:
        UsageError: If it is none.
    """
    import re

    from pinecall_cli.errors import UsageError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"`{name}` is no name for a profile", fix="letters, digits, `.`, `-` and `_` make one"
        )
    return name


def server_for(name: str, server: str | None, around: Surroundings) -> str:
    """Return the server that a key is to be saved for.

    A URL from a project's files is never it: a cloned folder would be sent the key that is typed.
    """
    from pinecall_cli.settings import (
        HOSTED_URL,
        URL_VARIABLE,
        http_base,
        is_loopback,
        profile_file,
        read_profile,
    )

    url = http_base(
        server
        or around.environ.get(URL_VARIABLE)
        or read_profile(profile_file(around), name).get("url")
        or HOSTED_URL
    )
    if url.startswith("http://") and not is_loopback(url):
        warn(f"{url} is not encrypted: everybody on the way can read the key")
    return url


def typed_key(given: str | None, url: str) -> Secret:
    """Return the key: from the command line, typed without being shown, or from stdin.

    Raises:
        UsageError: If there is none, or it is no key.
    """
    from pinecall_cli.commands.typed_key import read_key
    from pinecall_cli.errors import UsageError
    from pinecall_cli.settings import Secret

    text = read_key(f"API key for {url}: ") if given in (None, "-") else str(given)
    text = text.strip()
    if not text:
        raise UsageError("no key was given", fix="type it, or pipe it: `pinecall login < FILE`")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise UsageError("that is no key: it has spaces or signs in it", fix="copy the key again")
    return Secret(text)


def takes(url: str, key: Secret) -> bool | None:
    """Return True if the server takes the key, None if it cannot be asked.

    Raises:
        NotAuthorisedError: If it refuses the key.
    """
    import asyncio

    from pinecall_cli.errors import InfrastructureError, NotFoundError
    from pinecall_cli.sdk.rest import Rest

    async def asked() -> bool:
        async with Rest(url, key, timeout=5.0) as rest:
            await rest.agents()
        return True

    try:
        return asyncio.run(asked())
    except (InfrastructureError, NotFoundError):
        return None


def save(name: str, url: str, key: Secret, around: Surroundings) -> str:
    """Save a profile beside the others; return the file."""
    from pinecall_cli.settings import HOSTED_URL, profile_file, read_profiles, write_profiles

    file = profile_file(around)
    profile = {"api_key": key.reveal()} | ({} if url == HOSTED_URL else {"url": url})
    write_profiles(file, read_profiles(file) | {name: profile})
    return str(file)


def warn_of_others(around: Surroundings) -> None:
    """Say that a key is set which goes before a saved one."""
    from pinecall_cli.errors import UsageError
    from pinecall_cli.settings import Flags, places

    try:
        key = places(Flags(), around).key()
    except UsageError:  # a project's file is broken: whoever needs it says so
        return
    if key is not None and key.origin.kind != "profile":
        warn(f"a key is set in {key.origin}, and goes before saved ones")


def warn(text: str) -> None:
    """Say something on stderr that nobody asked for and everybody wants to know."""
    typer.echo(options.inert(f"note: {text}"), err=True)
