"""What ``pinecall login`` saves: keys with the servers they are for, readable by their owner alone.

``[profile]`` in ``config.toml`` is what is used when none is named; ``[profiles.NAME]`` are others.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pinecall_cli.errors import UsageError, Where
from pinecall_cli.settings.folders import config_dir
from pinecall_cli.settings.values import Surroundings

DEFAULT = "default"
"""The name of the profile that is used when none is named."""
HEAD = "# Written by `pinecall login`. It holds keys: keep it to yourself.\n"

Profile = Mapping[str, str]


def profile_file(around: Surroundings) -> Path:
    """Return the file of the profiles, whether or not it is there."""
    return config_dir(around) / "config.toml"


def read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """Return what was saved, by the profile's name: ``api_key`` and ``url``, where it has them.

    Raises:
        UsageError: If the file is there and is none of profiles.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"cannot read the profile: {problem}", where=Where(str(path))) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(
            f"the profile is not TOML: {problem}",
            where=Where(str(path)),
            fix="delete it and log in again",
        ) from None
    named = document.get("profiles", {})
    tables = {DEFAULT: document.get("profile")} | (named if isinstance(named, dict) else {})
    return {
        name: {key: value for key, value in table.items() if isinstance(value, str)}
        for name, table in tables.items()
        if isinstance(table, dict)
    }


def read_profile(path: Path, name: str = DEFAULT) -> dict[str, str]:
    """Return what was saved under a name; empty when there is nothing.

    Raises:
        UsageError: If the file is there and is none of profiles.
    """
    return read_profiles(path).get(name, {})


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Write all profiles (0600, a new folder 0700), or take the file away when there is none.

    Raises:
        UsageError: If the file cannot be written.
    """
    try:
        if not profiles:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written aside and moved into place: a key is in the old file or in the new one, and
        # mkstemp's file is 0600 before a byte of it is.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(as_toml(profiles))
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as problem:
        raise UsageError(
            f"cannot write the profile: {problem.strerror}",
            where=Where(str(path)),
            fix="make that folder writable, or set `XDG_CONFIG_HOME` to another",
        ) from None


def as_toml(profiles: Mapping[str, Profile]) -> str:
    """Return the text of the file."""
    tables = []
    for name, values in sorted(profiles.items(), key=lambda one: (one[0] != DEFAULT, one[0])):
        title = "profile" if name == DEFAULT else f"profiles.{quoted(name)}"
        lines = [f"{key} = {quoted(value)}" for key, value in values.items()]
        tables.append("\n".join([f"[{title}]", *lines]) + "\n")
    return HEAD + "\n" + "\n".join(tables)


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML, which escapes as JSON does."""
    return json.dumps(text).replace("\x7f", "\\u007f")
