"""What the front desk can do: a small order book, and the opening hours."""

import re

from pinecall_cli import tool

ORDERS = {
    7: ("a desk lamp", "left our warehouse this morning and arrives tomorrow"),
    12: ("two walnut shelves", "is being packed and leaves on Friday"),
    42: ("an espresso machine", "was delivered on Monday and signed for by a neighbour"),
}
HOURS = {
    "saturday": "from ten to four",
    "sunday": None,
}
WEEKDAYS = "from nine to six"

WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
WORDS += "fifteen sixteen seventeen eighteen nineteen"
NUMBERS = {word: n for n, word in enumerate(WORDS.split())}
TENS = {word: 10 * n for n, word in enumerate(["twenty", "thirty", "forty", "fifty"], start=2)}


@tool
def lookup_order(number: str) -> dict:
    """Look up an order in the order book.

    Args:
        number: The order number, in digits or as it was spoken, such as 42 or forty-two.
    """
    key = as_number(number)
    if key not in ORDERS:
        known = " and ".join(str(known) for known in ORDERS)
        return {
            "found": False,
            "message": f"I have no order {number}. The ones in the book today are {known}.",
        }
    item, status = ORDERS[key]
    return {
        "found": True,
        "item": item,
        "status": status,
        "message": f"Order {key}, {item}, {status}.",
    }


@tool
def opening_hours(day: str | None = None) -> dict:
    """Tell when the shop is open.

    Args:
        day: A day of the week; leave it out for the whole week.
    """
    if day is None:
        message = f"We are open {WEEKDAYS} on weekdays and {HOURS['saturday']} on Saturdays."
        return {"message": message}
    hours = HOURS.get(day.lower(), WEEKDAYS)
    name = day.capitalize()
    if hours is None:
        return {"open": False, "message": f"We are closed on {name}."}
    return {"open": True, "message": f"On {name} we are open {hours}."}


def as_number(text: str) -> int | None:
    """Return the number in a text, as digits or in words; digits said one by one are joined."""
    if digits := re.findall(r"\d+", text):
        return int("".join(digits))
    words = re.findall(r"[a-z]+", text.lower())
    tens = sum(TENS[word] for word in words if word in TENS)
    ones = [NUMBERS[word] for word in words if word in NUMBERS]
    if tens or len(ones) == 1:
        return tens + sum(ones)
    return int("".join(map(str, ones))) if ones else None
