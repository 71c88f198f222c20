"""Which of an agent's conversations a person has taken over (commands.md §10). Pure."""

from __future__ import annotations

import re


def same_contact(one: str, other: str) -> bool:
    """Return whether two texts name one contact; telephone numbers by their digits alone."""
    return bool(one) and contact_key(one) == contact_key(other)


def contact_key(contact: str) -> str:
    """Return a contact's normal form: the digits of a number, any other name as it is."""
    number = re.fullmatch(r"\+?[\d ().-]*\d[\d ().-]*", contact)
    return re.sub(r"\D", "", contact) if number else contact


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
            or (bool(contact) and contact_key(contact) in self._contacts)
        )

    def pause(self, *, session_id: str = "", contact: str = "") -> None:
        """Take over a session, a contact, or (neither named) everything."""
        self._sessions |= {session_id} if session_id else set()
        self._contacts |= {contact_key(contact)} if contact else set()
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
