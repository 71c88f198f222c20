"""Every frame that a client sends to a server, one class each; ``COMMANDS`` maps names to them.

The classes stand in the ``commands_*`` modules by theme; everybody else imports this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pinecall_cli.protocol.commands_agent import (
    AgentConfigure,
    AgentCreate,
    AgentRemove,
    AgentResume,
    ChannelAdd,
    ChannelConfigure,
    ChannelRemove,
    ClientInfo,
    Connect,
    DevConfig,
    LineConfig,
    LineCreate,
    LineDestroy,
    Ping,
    Pong,
    SessionConfigure,
)
from pinecall_cli.protocol.commands_call import (
    BotCancel,
    BotClear,
    BotReply,
    BotReplyStream,
    CallAccept,
    CallBridge,
    CallDial,
    CallDtmf,
    CallForward,
    CallHangup,
    CallHold,
    CallMute,
    CallReject,
    CallRoute,
    CallUnhold,
    CallUnmute,
    Media,
    SessionPause,
    SessionResume,
    SessionSend,
    SetContext,
)
from pinecall_cli.protocol.commands_llm import (
    HistoryAdd,
    HistoryAddContext,
    HistoryClear,
    HistoryGet,
    HistorySet,
    HistorySetInstructions,
    HistorySetVars,
    LlmChat,
    LlmReady,
    LlmToolResult,
    SkillLoad,
    SkillUnload,
    ToolResult,
)
from pinecall_cli.protocol.frames import Command, wire_name

__all__ = [
    "COMMANDS",
    "AgentConfigure",
    "AgentCreate",
    "AgentRemove",
    "AgentResume",
    "BotCancel",
    "BotClear",
    "BotReply",
    "BotReplyStream",
    "CallAccept",
    "CallBridge",
    "CallDial",
    "CallDtmf",
    "CallForward",
    "CallHangup",
    "CallHold",
    "CallMute",
    "CallReject",
    "CallRoute",
    "CallUnhold",
    "CallUnmute",
    "ChannelAdd",
    "ChannelConfigure",
    "ChannelRemove",
    "ClientInfo",
    "Connect",
    "DevConfig",
    "HistoryAdd",
    "HistoryAddContext",
    "HistoryClear",
    "HistoryGet",
    "HistorySet",
    "HistorySetInstructions",
    "HistorySetVars",
    "LineConfig",
    "LineCreate",
    "LineDestroy",
    "LlmChat",
    "LlmReady",
    "LlmToolResult",
    "Media",
    "Ping",
    "Pong",
    "SessionConfigure",
    "SessionPause",
    "SessionResume",
    "SessionSend",
    "SetContext",
    "SkillLoad",
    "SkillUnload",
    "ToolResult",
]

COMMANDS: Mapping[str, type[Command]] = MappingProxyType(
    {
        wire_name(frame): frame
        for frame in list(vars().values())
        if isinstance(frame, type) and issubclass(frame, Command) and frame is not Command
    }
)
"""The class of each command by its name on the wire."""
