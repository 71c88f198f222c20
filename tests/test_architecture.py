"""The design, held in place: who may import whom, and where each third-party package lives.

Both tables are data. A folder imports what stands on a row below its own, never beside or above.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pinecall_cli"

LAYERS = (
    ("__main__",),
    ("app", "pytest_plugin"),
    ("commands",),
    ("sdk", "server", "reload", "trial", "view"),
    ("caller",),
    ("call", "agent", "engines"),
    ("protocol", "audio", "settings"),
    ("errors",),
)
HOMES = {
    "typer": ("app", "commands"),
    "rich": ("view",),
    "websockets": ("sdk/socket.py",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "h11": ("server/connections.py",),
    "httpx": ("sdk/rest.py", "engines"),
    # The wire's types are msgspec's; whoever handles frames may ask what a field is.
    "msgspec": ("protocol", "agent", "call", "sdk", "server", "view", "reload"),
    "numpy": ("audio", "engines"),
    "onnxruntime": ("audio", "engines"),
    "hibari": ("engines",),
    "pywebrtc_audio": ("audio",),
    "watchfiles": ("reload/watch.py",),
    "yaml": ("agent", "caller"),
    "sounddevice": ("audio/devices.py",),
    "aiortc": ("server/webrtc/peer.py", "server/webrtc/sound.py"),
    "av": ("server/webrtc/sound.py", "server/speech/encoding.py", "server/speech/decoding.py"),
    "phonenumbers": ("protocol/dialable.py",),
    "pytest": ("pytest_plugin",),
}
SERVER = (
    ("routes",),
    ("phone", "text", "speech", "webrtc"),
    ("agents", "voice"),
    ("dialogue", "log"),
)
"""The server's own folders. Its modules at the top wire them together: they may import any folder,
and any folder them."""
ROOT_MAY = {"__init__": ("sdk", "agent")}
"""The front door is opened from the root; it looks in when it is touched."""

TYPES_ALONE = ("agent/define.py", "agent/reach.py")
"""Files whose annotations name what lives above them; when the program runs they do not import it:
a call is the SDK's, and an agent's code must still be told that `dial` gives one."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Yield the full name of every module that ``file`` imports, wherever in it."""
    tree: ast.AST = ast.parse(file.read_text(encoding="utf-8"))
    if file.relative_to(ROOT).as_posix() in TYPES_ALONE:
        tree = WithoutTypes().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            yield node.module or ""
            if node.module == "pinecall_cli":
                yield from (f"pinecall_cli.{alias.name}" for alias in node.names)


class WithoutTypes(ast.NodeTransformer):
    """Takes out what type checkers alone import."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse else node


def part_of(file: Path) -> str:
    """Return the folder, or the module at the root, that ``file`` belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_import_goes_down_and_every_package_is_at_home(file: Path):
    part, place = part_of(file), file.relative_to(ROOT).as_posix()
    for name in imports(file):
        first, *rest = name.split(".")
        if first in sys.stdlib_module_names:
            continue
        if first != "pinecall_cli":
            homes = HOMES.get(first, ())
            assert {part, place} & set(homes), f"{place}: {first} lives in {homes or 'no place'}"
        elif rest and rest[0] in LEVEL and rest[0] != part:
            allowed = rest[0] in ROOT_MAY.get(part, ()) or LEVEL[rest[0]] > LEVEL.get(part, 99)
            assert allowed, f"{place}: {part} may not import {rest[0]}"


SERVER_LEVEL = {name: level for level, names in enumerate(SERVER) for name in names}


@pytest.mark.parametrize("folder", SERVER_LEVEL)
def test_every_folder_of_the_server_knows_only_those_below_it(folder: str):
    for file in (ROOT / "server" / folder).glob("*.py"):
        for name in imports(file):
            _, server, other, *_ = (*name.split("."), "", "", "")
            if server == "server" and other in SERVER_LEVEL and other != folder:
                below = SERVER_LEVEL[other] > SERVER_LEVEL[folder]
                assert below, f"{file.relative_to(ROOT)}: {folder} may not import {other}"


def test_every_folder_of_the_server_has_its_floor():
    folders = {door.parent.name for door in (ROOT / "server").glob("*/__init__.py")}
    assert folders == set(SERVER_LEVEL)


def test_every_folder_and_module_has_its_layer():
    found = {part_of(file) for file in FILES} - {"__init__"}
    assert found <= set(LEVEL), found - set(LEVEL)


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=lambda p: p.name)
def test_every_folder_says_what_lives_there(folder: Path):
    door = folder / "__init__.py"
    assert door.exists(), f"{folder} has no __init__.py"
    assert ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))), f"{door} says nothing"
