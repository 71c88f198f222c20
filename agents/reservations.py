"""A restaurant that takes reservations, in one Python file.

    pinecall dev agents/reservations.py     # the CLI owns the connection
    python agents/reservations.py           # the SDK alone; PINECALL_API_KEY names your account

Say "a table for four on Friday at eight", then "under Ana"; ask "what is still free", or cancel
with "cancel my booking". Edit `GREETING`, a rule or a tool while it runs, and hear the change.
"""

from dataclasses import dataclass, field

from pinecall_cli import Agent, Call, Pinecall, tool

GREETING = "Good evening, Casa Verde. Would you like to reserve a table?"
PROMPT = """\
You take reservations for Casa Verde, a small restaurant. Today is {{date}}, {{time}}.
Ask for the day, the time, the number of people and a name, one thing at a time.
Check for a table before you promise one.
"""

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}


@dataclass
class Book:
    """The evening's tables, and what each caller is being offered."""

    seats_left: dict[str, int] = field(default_factory=lambda: {"friday": 6, "saturday": 0})
    offers: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    bookings: dict[str, tuple[int, str, str]] = field(default_factory=dict)

    def left(self, day: str) -> int:
        return self.seats_left.setdefault(day, 12)


BOOK = Book()


@tool
async def find_table(people: str, call: Call, day: str = "friday", time: str = "eight") -> dict:
    """Look for a free table and hold it for this caller.

    Args:
        people: How many, in digits or words.
        day: A day of the week.
        time: As it was said, like eight or half past seven.
    """
    party, day = NUMBERS.get(people.lower()) or int(people), day.lower()
    if BOOK.left(day) < party:
        other = next(d for d in ("thursday", "friday", "sunday") if BOOK.left(d) >= party)
        message = f"{day.capitalize()} is full. On {other.capitalize()} there is room."
        return {"free": False, "message": message}
    BOOK.offers[call.id] = (party, day, time)
    message = (
        f"There is a table for {people.lower()} on {day.capitalize()} at {time}. Under which name?"
    )
    return {"free": True, "message": message}


@tool
def book_table(name: str, call: Call) -> dict:
    """Book the table that was offered to this caller.

    Args:
        name: The name for the reservation.
    """
    offer = BOOK.offers.pop(call.id, None)
    if offer is None:
        return {"message": "Gladly. For how many people, and on which day?"}
    party, day, time = offer
    BOOK.seats_left[day] = BOOK.left(day) - party
    BOOK.bookings[name] = offer
    message = f"Done, {name}. A table for {party} on {day.capitalize()} at {time}. See you then!"
    return {"message": message}


@tool
def cancel_booking(name: str | None = None) -> dict:
    """Cancel a reservation.

    Args:
        name: The name it was made under; the last one if left out.
    """
    name = name or next(reversed(BOOK.bookings), None)
    booking = BOOK.bookings.pop(name, None) if name else None
    if booking is None:
        return {"message": "I find no reservation to cancel."}
    party, day, _ = booking
    BOOK.seats_left[day] = BOOK.left(day) + party
    return {"message": f"The table on {day.capitalize()} is cancelled, {name}."}


DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
COUNT = r"\d|two|three|four|five|six|seven|eight|nine"
SCRIPT = [
    {"on": r"\b(instructions|prompt|who are you)\b", "say": "{instructions}"},
    {
        "on": rf"\b(?P<people>{COUNT})\b.*\b(?P<day>{DAYS})\b.*\bat (?P<time>[\w: ]+)",
        "call": {"find_table": {"people": "{people}", "day": "{day}", "time": "{time}"}},
        "say": "{result.message}",
    },
    {
        "on": rf"\b(?P<people>{COUNT})\b.*\b(?P<day>{DAYS})\b",
        "call": {"find_table": {"people": "{people}", "day": "{day}"}},
        "say": "{result.message}",
    },
    {
        "on": rf"\btable for (?P<people>{COUNT})\b",
        "call": {"find_table": {"people": "{people}"}},
        "say": "{result.message}",
    },
    {"on": r"\bcancel\b", "call": "cancel_booking", "say": "{result.message}"},
    {
        "on": r"\b(?:under|name is|i am|i'm|it's) (?:the name )?(?P<name>[a-z]+)",
        "call": {"book_table": {"name": "{name}"}},
        "say": "{result.message}",
    },
    {"on": r"\b(free|available)\b", "say": "Every evening but Saturday. For how many people?"},
    {"on": r"\b(bye|thank)", "say": "Thank you. See you at Casa Verde!"},
    {"say": ["For how many people, and on which day?", "You said: {text}"]},
]

reservations = Agent(
    "reservations",
    language="en",
    voice="elevenlabs/sarah",
    stt="deepgram/flux",
    llm="openai/gpt-5-chat-latest",
    prompt=PROMPT,
    greeting=GREETING,
    tools=[find_table, book_table, cancel_booking],
    local={"llm": "script", "script": SCRIPT},
)


@reservations.on("call.ended")
def forget_offer(call: Call, reason: str) -> None:
    """A table that was only held is free again."""
    del reason
    BOOK.offers.pop(call.id, None)


if __name__ == "__main__":
    Pinecall().run(reservations)
