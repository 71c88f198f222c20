"""Servers that commands run for themselves."""

from __future__ import annotations

from pinecall_cli.commands.hosting import own_server


async def test_the_engines_of_a_commands_own_server_go_with_it():
    async with own_server(["desk"], speech=False, notice=print) as place:
        assert place.embedded is not None
        engines = place.embedded.engines
        assert not engines.closed
    assert engines.closed
