"""Server and key: flag, environment, ``.env``, project, profile, default, in that order."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinecall_cli.errors import NotAuthorisedError, UsageError, Where
from pinecall_cli.settings.dotenv import Dotenv, nearest_dotenv
from pinecall_cli.settings.profile import DEFAULT, exposed, profile_file, read_profiles
from pinecall_cli.settings.project import Project, project_file
from pinecall_cli.settings.urls import http_base, is_loopback
from pinecall_cli.settings.values import (
    HOSTED_URL,
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    URL_VARIABLE,
    Flags,
    Origin,
    Secret,
    Setting,
    Surroundings,
    Target,
)

PROJECTS = frozenset({"dotenv", "project"})
"""Places that come with a folder: whoever wrote them may be a stranger."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Server and key as resolved, each with its origin."""

    server: Setting[str] | None
    key: Setting[Secret] | None
    local: bool = False
    notices: tuple[str, ...] = field(default=())
    """Sentences for stderr: what was ignored, and why."""
    profile: str = DEFAULT
    """The profile that was asked."""
    profile_url: str | None = None
    """The server that the profile's key is for; None: the hosted one."""

    def target(self) -> Target:
        """Return the server these settings lead to.

        Raises:
            UsageError: If the URL is none.
            NotAuthorisedError: If the URL comes from a project's file and the key from elsewhere,
                or the server is not local and there is no key.
        """
        if self.local or (self.server is None and self.key is None):
            return Target("embedded")
        key = None if self.key is None else self.key.value
        if self.server is None:
            return Target("hosted", HOSTED_URL, key)
        try:
            url = http_base(self.server.value)
        except UsageError as problem:
            where = Where(self.server.origin.where)
            raise UsageError(problem.message, where=where, fix=problem.fix) from None
        if is_loopback(url):
            # A local server that a project names gets the key of its runtime file or none.
            return Target("local", url, None if self._meant_for_another(url) else key)
        if self._meant_for_another(url):
            raise self._leak()
        if key is None:
            raise NotAuthorisedError(
                f"no API key for {url}",
                fix=f"`pinecall login --server {url}`, set `{KEY_VARIABLE}`, "
                "or pass `--api-key -` to type it",
            )
        return Target("hosted", url, key)

    def _meant_for_another(self, url: str) -> bool:
        """Tell whether a project's file names the server while the key is not meant for it.

        A cloned folder must not receive the key of whoever runs a command in it.
        """
        if self.server is None or self.key is None or self.server.origin.kind not in PROJECTS:
            return False
        if self.key.origin.kind == "flag" or self.key.origin == self.server.origin:
            return False
        # A saved key was saved for one server, and may go there whoever names it.
        saved_for = http_base(self.profile_url or HOSTED_URL)
        return self.key.origin.kind != "profile" or saved_for != url

    def _leak(self) -> NotAuthorisedError:
        """Return the error for a server that would get another one's key."""
        assert self.server is not None
        assert self.key is not None
        url, origin = self.server.value, self.server.origin
        if origin.kind == "dotenv":
            place = "a .env"
            beside = f"put `{KEY_VARIABLE}` beside `{URL_VARIABLE}` in that file"
        else:
            place = "the project's"
            beside = f"save a key for it: `pinecall login --server {url}`"
        return NotAuthorisedError(
            f"the server `{url}` is named by {place} file, but the key comes from "
            f"{self.key.origin}",
            where=Where(origin.where),
            fix=f"{beside}, or name the server yourself with `--server`",
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Everything that a setting may be read from, read once."""

    flags: Flags
    around: Surroundings
    dotenv: Dotenv | None
    project: Project | None
    profile: Setting[str]
    saved: Mapping[str, str]
    """What that profile holds."""
    profile_file: Path
    notices: tuple[str, ...]

    @property
    def in_project(self) -> Origin | None:
        """The project's file, if there is one."""
        return None if self.project is None else Origin("project", str(self.project.path))

    def asked(self, variable: str) -> list[tuple[str | None, Origin | None]]:
        """Return what environment and ``.env`` say about a variable."""
        dotenv = self.dotenv
        return [
            (self.around.environ.get(variable), Origin("environment", f"`{variable}`")),
            (
                dotenv.values.get(variable) if dotenv else None,
                Origin("dotenv", str(dotenv.path)) if dotenv else None,
            ),
        ]

    def server(self) -> Setting[str] | None:
        """Return the server's URL; None if nobody names one."""
        return first(
            (self.flags.server, Origin("flag", "`--server`")),
            *self.asked(URL_VARIABLE),
            (None if self.project is None else self.project.url, self.in_project),
            (self.saved.get("url"), Origin("profile", str(self.profile_file))),
        )

    def key(self) -> Setting[str] | None:
        """Return the key; None if there is none. No project's ``pinecall.toml`` holds one."""
        return first(
            (self.flags.api_key, Origin("flag", "`--api-key`")),
            *self.asked(KEY_VARIABLE),
            (self.saved.get("api_key"), Origin("profile", str(self.profile_file))),
        )


def first(*places: tuple[str | None, Origin | None]) -> Setting[str] | None:
    """Return what the first place says that says anything, and whom that shadows."""
    said = [Setting(value, origin) for value, origin in places if value and origin]
    return Setting(said[0].value, said[0].origin, tuple(said[1:])) if said else None


def places(flags: Flags, around: Surroundings) -> Places:
    """Return what settings are read from.

    Raises:
        UsageError: If a file cannot be read, or there is no profile of the name that is set.
    """
    dotenv, notices = nearest_dotenv(around)
    project, more = project_file(around)
    file = profile_file(around)
    profiles = read_profiles(file)
    chosen = first(
        (around.environ.get(PROFILE_VARIABLE), Origin("environment", f"`{PROFILE_VARIABLE}`")),
        (
            None if project is None else project.profile,
            None if project is None else Origin("project", str(project.path)),
        ),
        (DEFAULT, Origin("default", "default")),
    )
    assert chosen is not None, "the default is always there"
    notices = (*notices, *more, *exposed(file, around))
    if chosen.value not in profiles and chosen.value != DEFAULT:
        if chosen.origin.kind == "environment":
            raise no_profile(chosen.value, profiles)
        notices = (
            *notices,
            f"{chosen.origin} names the profile `{chosen.value}`, which you have not saved: "
            f"`pinecall login --profile {chosen.value}`",
        )
    saved = profiles.get(chosen.value, {})
    return Places(flags, around, dotenv, project, chosen, saved, file, notices)


def no_profile(name: str, profiles: Mapping[str, object]) -> UsageError:
    """Return the error for a profile that is not there."""
    near = difflib.get_close_matches(name, profiles, 1)
    fix = f"`pinecall login --profile {name}` saves one"
    return UsageError(
        f"there is no profile `{name}`",
        fix=f"did you mean `{near[0]}`? {fix}" if near else fix,
        code="no_profile",
    )


def resolve(flags: Flags, around: Surroundings, *, read_key: Callable[[], str] = input) -> Settings:
    """Return server and key: flag, environment, nearest ``.env``, project, profile.

    Args:
        flags: What the command line said; an ``api_key`` of ``-`` is asked for with `read_key`.
        around: Where everything else is read from.
        read_key: Returns one line of standard input.
    """
    if flags.api_key == "-":
        try:
            typed = read_key().strip()
        except EOFError:
            typed = ""
        if not typed:
            raise UsageError("no key on standard input", fix="pipe the key into `--api-key -`")
        flags = Flags(flags.server, typed, flags.local)
    read = places(flags, around)
    key = read.key()
    return Settings(
        server=read.server(),
        key=None if key is None else secret(key),
        local=flags.local,
        notices=read.notices,
        profile=read.profile.value,
        profile_url=read.saved.get("url"),
    )


def secret(key: Setting[str]) -> Setting[Secret]:
    """Return a setting that no ``repr`` shows."""
    return Setting(
        Secret(key.value),
        key.origin,
        tuple(Setting(Secret(other.value), other.origin) for other in key.shadows),
    )
