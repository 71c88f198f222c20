"""Prompt files of an application: read below one folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pinecall_cli.errors import UsageError, Where

MAX_PROMPT_BYTES = 256 * 1024
"""As much as a prompt of an agent file may have."""


def prompt_file(folder: Path, name: str) -> str:
    """Return the text of a prompt file.

    Args:
        folder: Where prompt files are.
        name: The file's path below it; ``.md`` may be left out.

    Raises:
        UsageError: If there is no such file below the folder, or it is no text.
    """
    root = folder.resolve()
    paths = [(root / tried).resolve() for tried in (name, f"{name}.md")]
    inside = [path for path in paths if path.is_relative_to(root)]
    if not inside or Path(name).is_absolute():
        raise UsageError(
            f"`{name}` leads out of the prompts' folder",
            where=Where(str(folder)),
            fix="name a file below it, or set `prompts_dir`",
        )
    path = next((path for path in inside if path.is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no prompt `{name}`", where=Where(str(folder)), fix="check `prompts_dir`"
        )
    if path.stat().st_size > MAX_PROMPT_BYTES:
        raise UsageError(
            f"`{name}` is larger than a prompt may be: 256 KiB", where=Where(str(path))
        )
    try:
        return path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"`{name}` cannot be read: {problem}", where=Where(str(path))) from None
