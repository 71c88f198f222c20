"""Rounds of tool calls: every tool of a round at once, all results in one frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from pinecall_cli.agent.tools import Tool
from pinecall_cli.protocol import commands, events
from pinecall_cli.sdk import story
from pinecall_cli.sdk.call import Call


async def answer_round(
    event: events.LlmToolCall, call_id: str, call: Call | None, tools: Mapping[str, Tool]
) -> commands.LlmToolResult:
    """Return the results of one ``llm.tool_call``; a tool that fails is an ordinary result.

    Args:
        event: The round.
        call_id: The session it belongs to.
        call: The session itself, where the client knows it; its messages take the round in.
        tools: The agent's tools as they were when the round came.
    """
    ephemeral = {
        wanted.id
        for wanted in event.tool_calls
        if (tool := tools.get(wanted.name)) is not None and tool.ephemeral
    }
    lasting = call is not None and len(ephemeral) < len(event.tool_calls)
    if call is not None and lasting:
        story.tools_called(call, event)
    returned = await asyncio.gather(
        *(run(tools.get(wanted.name), wanted, call) for wanted in event.tool_calls)
    )
    results = []
    for wanted, result in zip(event.tool_calls, returned, strict=True):
        tool = tools.get(wanted.name)
        if call is not None and lasting and wanted.id not in ephemeral:
            story.tool_returned(call, wanted.id, json.dumps(result, ensure_ascii=False))
        results.append(
            commands.ToolResult(
                tool_call_id=wanted.id,
                result=result,
                ephemeral=True if tool is not None and tool.ephemeral else UNSET,
                no_followup=True if tool is not None and tool.no_followup else UNSET,
            )
        )
    return commands.LlmToolResult(call_id=call_id, msg_id=event.msg_id, results=tuple(results))


async def run(tool: Tool | None, wanted: events.ToolCall, call: Call | None) -> Any:
    """Return what one tool call comes to."""
    if tool is None:
        return {"error": f"Unknown tool: {wanted.name}"}
    return await tool.run(wanted.arguments, call)
