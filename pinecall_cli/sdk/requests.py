"""What can be asked of a server in an agent's name; a reload is made of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinecall_cli.agent.config import AgentConfig
from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import NotFoundError
from pinecall_cli.protocol import commands
from pinecall_cli.sdk.answers import REQUEST_TIMEOUT, Answer, Key
from pinecall_cli.sdk.call import Call, ask_history
from pinecall_cli.sdk.dials import dial
from pinecall_cli.sdk.office import Office
from pinecall_cli.sdk.registrar import channel_ref
from pinecall_cli.sdk.registration import Registration, frame_of


class Requests:
    """The requests of a client. Each is sent at once, and over when the server has answered.

    All of them raise `NotFoundError` for an agent or call that the client does not have; their
    answers fail with `RequestTimeoutError` after 10 s, and with the server's refusal.
    """

    _office: Office

    def swap(self, name: str, agent: Agent, config: AgentConfig) -> None:
        """Put a newer version of an agent in its place, in one step; nothing is sent.

        Its tools and handlers serve what happens from now on; what runs already finishes on
        the old ones.
        """
        self._registration(name).replace(config, agent.tools)
        before = self._office.agents[name]
        self._office.agents[name], agent.wire, before.wire = agent, before.wire, None

    def create(self, name: str) -> Answer[None]:
        """Send an agent's whole configuration again; also after it was refused or displaced."""
        registration = self._registration(name)
        return self._office.request(
            ("agent.created", name),
            lambda _: registration.create(embedded=self._office.embedded),
            timeout=REQUEST_TIMEOUT,
        )

    def configure(self, name: str, patch: Mapping[str, Any]) -> Answer[None]:
        """Change an agent for the sessions to come; ``patch`` is wire payload."""
        frame = frame_of("agent.configure", agent_id=name, **patch)
        return self._ask(name, frame, ("agent.configured", name))

    def configure_session(self, call_id: str, patch: Mapping[str, Any]) -> Answer[None]:
        """Change one live call; ``patch`` is wire payload."""
        name = self._call(call_id).agent_id
        frame = frame_of("session.configure", agent_id=name, session_id=call_id, **patch)
        return self._ask(name, frame, ("session.configured", call_id))

    def set_prompt(self, call_id: str, prompt: str) -> Answer[None]:
        """Replace the prompt of one live call, as a reload does: the call may be changed again."""
        frame = commands.HistorySetInstructions
        name = self._call(call_id).agent_id
        return ask_history(self._office, name, call_id, frame, prompt=prompt)

    def set_prompt_vars(self, call_id: str, variables: Mapping[str, str]) -> Answer[None]:
        """Set prompt variables of one live call, as a reload does."""
        frame = commands.HistorySetVars
        name = self._call(call_id).agent_id
        return ask_history(self._office, name, call_id, frame, vars=dict(variables))

    def dial(self, name: str, to: str, **options: Any) -> Answer[Call]:
        """Have an agent call a number, as `Agent.dial` does.

        Raises:
            UsageError: If ``from_`` is left out, and the agent has no number or several.
        """
        self._registration(name)
        return dial(self._office, name, to, **options)

    def channel_add(self, name: str, channel: Mapping[str, Any]) -> Answer[None]:
        """Add a channel, or replace its configuration; ``channel`` has ``type`` and ``ref``."""
        self._registration(name).keep_channel(channel)
        frame = frame_of("channel.add", agent_id=name, **channel)
        ref = channel_ref(channel.get("ref"))
        return self._ask(name, frame, ("channel.added", name, channel["type"], ref))

    def channel_configure(self, name: str, ref: str, patch: Mapping[str, Any]) -> Answer[None]:
        """Change a channel's configuration; ``patch`` is wire payload."""
        self._registration(name).change_channel(ref, patch)
        frame = frame_of("channel.configure", agent_id=name, ref=ref, **patch)
        return self._ask(name, frame, ("channel.configured", name, channel_ref(ref)))

    def channel_remove(self, name: str, ref: str) -> Answer[None]:
        """Give a channel up."""
        self._registration(name).forget_channel(ref)
        frame = frame_of("channel.remove", agent_id=name, ref=ref)
        return self._ask(name, frame, ("channel.removed", name, channel_ref(ref)))

    def _ask(self, name: str, frame: str, key: Key) -> Answer[None]:
        self._registration(name)
        return self._office.ask_raw(name, frame, key, timeout=REQUEST_TIMEOUT)

    def _registration(self, name: str) -> Registration:
        registration = self._office.registrations.get(name)
        if registration is None:
            raise NotFoundError(f"this client has no agent `{name}`")
        return registration

    def _call(self, call_id: str) -> Call:
        call = self._office.calls.get(call_id)
        if call is None:
            raise NotFoundError(f"there is no live call `{call_id}`")
        return call
