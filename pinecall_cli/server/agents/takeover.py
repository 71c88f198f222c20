"""Which of an agent's conversations a person has taken over (commands.md §10). Pure."""

from __future__ import annotations

import re

LONGEST_CONTACT = 200
"""Characters; pages and webhooks say who they are, and whatever is longer is nobody."""


def same_contact(one: str, other: str) -> bool:
    """Return whether two texts name one contact; telephone numbers by their digits alone."""
    key = contact_key(one)
    return bool(key) and key == contact_key(other)


def contact_key(contact: str) -> str:
    """Return a contact's normal form: a number's digits, any other name as it is; "" for none."""
    if len(contact) > LONGEST_CONTACT:
        return ""
    number = re.fullmatch(r"\+?[\d ().-]+", contact)
    digits = re.sub(r"\D", "", contact) if number else ""
    return digits or contact


class Takeover:
    """Which of an agent's conversations a person has taken over."""

    def __init__(self) -> None:
        self.everything = False
        self._contacts: set[str] = set()
        self._sessions: set[str] = set()

    def paused(self, session_id: str, contact: str) -> bool:
        """Return whether no model is to answer this session."""
        return (
            self.everything
            or session_id in self._sessions
            or contact_key(contact) in self._contacts
        )

    def pause(self, *, session_id: str = "", contact: str = "") -> None:
        """Take over a session, a contact, or (neither named) everything."""
        self._sessions |= {session_id} if session_id else set()
        key = contact_key(contact)
        self._contacts |= {key} if key else set()
        self.everything = self.everything or not (session_id or contact)

    def resume(self, *, session_id: str = "", contact: str = "") -> None:
        """Give back a session, a contact, or (neither named) everything, whatever the level."""
        self._sessions.discard(session_id)
        self._contacts.discard(contact_key(contact))
        if not (session_id or contact):
            self.everything = False
            self._sessions.clear()
            self._contacts.clear()

    def forget(self, session_id: str) -> None:
        """Note that a session is over."""
        self._sessions.discard(session_id)
