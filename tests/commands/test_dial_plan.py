"""What `call NUMBER` checks before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pinecall_cli.caller.steps import Play, Say, Wait
from pinecall_cli.commands.dial_plan import (
    Answer,
    DialOptions,
    Plan,
    confirm,
    from_number,
    plan_of,
    preview,
)
from pinecall_cli.errors import NotAuthorisedError, UsageError
from pinecall_cli.protocol.dialable import check_number
from pinecall_cli.settings import Secret, Target

LOCAL = Target("embedded")
HOSTED = Target("hosted", "https://voice.example.com", Secret("pk"))
THEIRS, OURS = "+14155550123", "+13186330963"
AGENT = "name: desk\nllm: openai/gpt-5-mini\nphone_numbers: ['+1 318 633 0963']\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def desk(here: Path) -> str:
    (here / "desk.yaml").write_text(AGENT, "utf-8")
    return "desk.yaml"


def plan(
    number: str = THEIRS, *, target: Target = LOCAL, interactive: bool = False, **options: Any
) -> Plan:
    return plan_of(DialOptions(number=number, **options), target, interactive=interactive)


# --- the number -------------------------------------------------------------------------------


def test_a_number_that_is_not_given_out_is_for_the_local_exchange_alone(desk: str):
    assert plan("+15551234567").to.given_out is False
    with pytest.raises(UsageError, match="given out"):
        plan("+15551234567", target=HOSTED, agent=desk)


def test_a_number_without_its_country_is_taken_for_one_of_the_agents_own(here: Path):
    (here / "desk.yaml").write_text(AGENT.replace("+1 318 633 0963", "+41446681800"), "utf-8")
    with pytest.raises(UsageError) as refused:
        plan("044 668 18 00", agent="desk.yaml")
    assert "`+41446681800` (CH)" in str(refused.value.fix)


@pytest.mark.parametrize("text", ["911", "+19005550123"])
def test_dear_and_dangerous_numbers_are_refused_on_any_server(text: str, desk: str):
    for target in (LOCAL, HOSTED):
        with pytest.raises(UsageError):
            plan(text, target=target, agent=desk, yes=True)


# --- the allow-list ---------------------------------------------------------------------------


def allow(here: Path, text: str) -> None:
    (here / "pinecall.toml").write_text(f"[call]\nallow = {text}\n", "utf-8")


@pytest.mark.parametrize("entry", ["+14155550123", "+1 (415) 555-0123", "+1415*", "*"])
def test_a_number_that_the_project_allows_passes(here: Path, entry: str):
    allow(here, f'["{entry}"]')
    assert plan().to.number == THEIRS


def test_any_other_number_is_refused_with_the_line_that_is_missing(here: Path):
    allow(here, '["+49*"]')
    with pytest.raises(NotAuthorisedError) as refused:
        plan(yes=True)
    assert refused.value.exit_code == 4
    assert refused.value.code == "number_not_allowed"
    assert str(refused.value.where) == "pinecall.toml"
    assert THEIRS in str(refused.value.fix)


def test_the_list_of_a_folder_above_counts_and_test_numbers_need_none(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    allow(here, "[]")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    with pytest.raises(NotAuthorisedError):
        plan()
    assert plan("+15005550001").to.test


@pytest.mark.parametrize("text", ['"+1*"', "[1]", "[", "{}"])
def test_a_list_that_is_none_is_refused(here: Path, text: str):
    allow(here, text)
    with pytest.raises(UsageError):
        plan()


def test_a_project_without_a_list_allows_any_number(here: Path):
    (here / "pinecall.toml").write_text("[server]\n", "utf-8")
    assert plan().to.number == THEIRS


# --- who answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mic", "busy", "no-answer", "reject"])
def test_who_answers_is_named_by_a_word(how: str):
    assert plan(answer=how).answer == Answer(how)


def test_a_terminal_rings_for_what_nobody_else_answers():
    assert plan(interactive=True).answer == Answer("mic", fallback=True)
    assert plan(interactive=False).answer is None
    assert plan("+15005550006", interactive=True).answer is None


def test_a_recording_answers_and_speaks_first_where_the_agent_waits(here: Path):
    polite, first = plan(answer="hello.wav").answer, None
    assert polite is not None
    assert polite.caller is not None
    assert polite.caller.steps == (Wait("greeting"), Play(Path("hello.wav")))
    first = plan(answer="hello.wav", wait_greeting=True).answer
    assert first is not None
    assert first.caller is not None
    assert first.caller.steps == (Play(Path("hello.wav")),)


def test_a_virtual_caller_answers(here: Path):
    (here / "ana.yaml").write_text("steps: [{say: Hello}]\n", "utf-8")
    answer = plan(answer="ana.yaml").answer
    assert answer is not None
    assert answer.caller is not None
    assert answer.caller.steps == (Say("Hello"),)


def test_nobody_answers_as_something_else():
    with pytest.raises(UsageError) as refused:
        plan(answer="buzy")
    assert refused.value.fix == "did you mean `busy`?"


# --- metadata, and the number to call from ----------------------------------------------------


def test_metadata_is_pairs():
    assert plan(metadata=("order=7", "note=a=b")).metadata == {"order": "7", "note": "a=b"}
    for wrong in ("order", "=7"):
        with pytest.raises(UsageError, match="no pair"):
            plan(metadata=(wrong,))


def test_the_agents_only_number_is_called_from_unless_another_is_named():
    assert from_number(plan(), "desk", [OURS]).number == OURS
    assert from_number(plan(from_="+1 415 555 0100"), "desk", [OURS]).number == "+14155550100"
    assert from_number(plan(), "desk", []).number == "+15005550000"
    with pytest.raises(UsageError, match="2 numbers"):
        from_number(plan(), "desk", [OURS, THEIRS])


def test_a_hosted_server_has_no_number_of_its_own(desk: str):
    with pytest.raises(UsageError, match="no phone number"):
        from_number(plan(target=HOSTED, agent=desk), "desk", [])


# --- a hosted server --------------------------------------------------------------------------


def test_a_hosted_server_wants_the_agents_file(desk: str):
    with pytest.raises(UsageError, match="own process"):
        plan(target=HOSTED, agent="front-desk")
    made = plan(target=HOSTED, agent=desk)
    assert made.name is not None
    assert made.name.startswith("dev-")
    assert made.answer is None


def test_nobody_answers_here_for_a_hosted_server(desk: str):
    with pytest.raises(UsageError, match="local exchange"):
        plan(target=HOSTED, agent=desk, answer="busy")


def test_off_a_terminal_a_real_telephone_rings_with_yes_alone(desk: str):
    with pytest.raises(UsageError) as refused:
        confirm(plan(target=HOSTED, agent=desk))
    assert refused.value.code == "confirmation_needed"
    confirm(plan(target=HOSTED, agent=desk, yes=True))
    confirm(plan(agent=desk))


def test_the_preview_says_who_calls_whom_from_where_with_which_agent(desk: str):
    made = plan(target=HOSTED, agent=desk)
    assert preview(made, check_number(OURS), "dev-ana-desk", "https://voice.example.com") == (
        "call   +1 415-555-0123 (US, landline or mobile)\n"
        "from   +1 318-633-0963\n"
        "agent  dev-ana-desk (desk.yaml)\n"
        "on     https://voice.example.com"
    )
