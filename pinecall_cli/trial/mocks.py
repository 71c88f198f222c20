"""An agent made ready for a spec: tools that are mocked, variables, and never a real model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from pinecall_cli.agent.config import AgentConfig, Local
from pinecall_cli.agent.load import Loaded
from pinecall_cli.agent.problems import Problems, closest
from pinecall_cli.agent.tools import Function
from pinecall_cli.engines.llm import choose_model
from pinecall_cli.engines.script import BuiltInScript
from pinecall_cli.engines.types import Model
from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol.config import parse_llm
from pinecall_cli.trial.judge import fits
from pinecall_cli.trial.spec import CallsTool, Mock, Spec


def chosen(spec: Spec, loaded: list[Loaded], problems: Problems) -> Loaded | None:
    """Return the agent of a file that a spec is for, and note what the spec says wrong of it."""
    names = [one.config.name for one in loaded]
    listed = ", ".join(f"`{name}`" for name in names)
    where, file = spec.agent.where, spec.agent.file.name
    if spec.agent.name is None and len(loaded) > 1:
        said = f"`{file}` holds several agents: {listed}"
        hint = f"say which one: `agent: …/{file}:{names[0]}`"
        problems.error("several_agents", said, where, hint)
        return None
    wanted = spec.agent.name or names[0]
    agent = next((one for one in loaded if one.config.name == wanted), None)
    if agent is None:
        said = f"`{file}` has no agent `{wanted}`"
        problems.error("unknown_agent", said, where, f"it has {listed}")
        return None
    for mock in spec.mocks:
        if mock.tool not in agent.agent.tools:
            near = closest(mock.tool, agent.agent.tools)
            known = ", ".join(f"`{name}`" for name in agent.agent.tools)
            hint = f"it has {known}" if known else "it has none"
            said = f"agent `{wanted}` has no tool `{mock.tool}`"
            problems.error(
                "unknown_tool", said, mock.where, f"did you mean `{near}`?" if near else hint
            )
    for never in _never_called(spec):
        # Of a misspelt tool this would hold for ever; a tool that there is none of is fine.
        near = None if never.tool in agent.agent.tools else closest(never.tool, agent.agent.tools)
        if near is not None:
            said = f"agent `{wanted}` has no tool `{never.tool}`"
            problems.error("unknown_tool", said, never.where, f"did you mean `{near}`?")
    return agent


def _never_called(spec: Spec) -> Iterator[CallsTool]:
    """Yield every ``not_tool`` of a spec."""
    for one in chain(spec.expect, *(step.expect for step in spec.steps)):
        if isinstance(one, CallsTool) and not one.wanted:
            yield one


def prepare(loaded: Loaded, spec: Spec) -> AgentConfig:
    """Mock the tools of a freshly loaded agent; return its configuration for this spec."""
    agent = loaded.agent
    mocked = {
        mock.tool: replace(agent.tools[mock.tool], function=stand_in(mock)) for mock in spec.mocks
    }
    agent.tools = {**agent.tools, **mocked}
    config = agent.config
    if spec.vars is not None:
        config = replace(config, prompt_vars={**(config.prompt_vars or {}), **spec.vars})
    agent.config = config = replace(config, local=without_model(config))
    return config


def stand_in(mock: Mock) -> Function:
    """Return a function that returns what a spec says.

    Of the cases whose arguments fit, each is used once, in order; the last goes on.
    """
    left = list(mock.cases)

    async def returns(**args: Any) -> Any:
        fitting = [case for case in left if case.args is None or fits(case.args, args)]
        if not fitting:
            raise LookupError(f"the spec mocks `{mock.tool}` for other arguments")
        if len(fitting) > 1:
            left.remove(fitting[0])
        return copy.deepcopy(fitting[0].result)

    return returns


def without_model(config: AgentConfig) -> Local:
    """Return the ``local`` section with a script in it, whatever model was there.

    An agent with no model at all keeps none: its application answers.
    """
    try:
        model = parse_llm(config.local.model() or config.llm)
    except PinecallError:
        return config.local  # it names no model; what is wrong with it, the server says
    if model is None or model.provider == "script":
        return config.local
    return Local(llm="script")


def scripts_only(llm: Any, notice: Callable[[str], None]) -> Model | None:
    """Return the model of a session as a server for specs has it: a script, or none.

    ``notice`` is told when the built-in script stands in for a model.
    """
    try:
        wanted = parse_llm(llm)
    except PinecallError:
        wanted = None  # what is wrong with it, the model says when it is asked
    if wanted is not None and wanted.provider != "script":
        notice(f"llm {wanted} → built-in script: a spec calls no model")
        return BuiltInScript()
    return choose_model(llm, environment={}, notice=notice)
