"""The ``d`` key of ``dev``: an agent calls a number; this terminal rings if nobody else does."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from pinecall_cli.audio.devices import Choice
from pinecall_cli.commands.answering import Telephone, plug_in
from pinecall_cli.commands.dial_plan import HOUSE_NUMBER, refuse_unlisted
from pinecall_cli.commands.talk import Ends, devices
from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.dialable import check_number
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.sdk.mic import PHONE_RATE
from pinecall_cli.view.region import DEV_KEYS, RINGING_KEYS

if TYPE_CHECKING:
    from pinecall_cli.commands.dev_keys import DevKeys
    from pinecall_cli.commands.dev_session import DevSession


class DevDialler:
    """Dials for the agents of one `DevSession`."""

    def __init__(self, session: DevSession, keys: DevKeys) -> None:
        self._session, self._keys = session, keys
        self._telephone: Telephone | None = None

    def decides(self, key: str) -> bool:
        """Take a key that answers or rejects the call that rings here; False if it is none."""
        telephone = self._telephone
        if telephone is None or not telephone.rings or key not in ("enter", "r"):
            return False
        telephone.decide(key == "enter")
        return True

    async def dial(self, text: str, agent: str) -> None:
        """Have an agent call a number, and hold the call here if this terminal takes it.

        Raises:
            PinecallError: If the number may not be called, or the server refuses.
        """
        session = self._session
        if session.target.kind == "hosted":
            raise UsageError(
                "on a hosted server a real telephone would ring",
                fix="`pinecall call NUMBER --agent FILE` shows what it does, and asks first",
            )
        config = next(one.config for name, one in session.reloader.agents if name == agent)
        numbers = [one.number for one in config.phone_numbers]
        to = check_number(text, near=numbers, strict=False)
        refuse_unlisted(to)
        async with AsyncExitStack() as stack:
            ringing = None
            if not to.test:
                ringing = await self._plug_in(stack, to.number)
            try:
                await session.client.dial(
                    agent, to.number, from_=numbers[0] if numbers else HOUSE_NUMBER
                )
            except DialError as failure:
                if failure.code == failure.reason and failure.reason != "failed":
                    return  # the call's own line says it
                raise
            telephone = self._telephone
            if ringing is not None and telephone is not None and telephone.call is not None:
                self._keys.holds(telephone.call, telephone.badges)
                try:
                    await ringing
                finally:
                    self._keys.holds(None)

    async def _plug_in(self, stack: AsyncExitStack, number: str) -> asyncio.Task[None]:
        """Let this terminal ring for what nobody else answers."""

        async def person() -> Ends:
            return await devices(
                stack, PHONE_RATE, Choice(), cancel_echo=True, level=self._keys.level
            )

        self._telephone = Telephone("mic", person=person, asks=self._rings)
        place = self._session.place
        handset = await Handset.wait(place.url, place.key, number, fallback=True)
        return await plug_in(stack, self._telephone, handset)

    def _rings(self, rings: bool) -> None:
        self._keys.show(keys=RINGING_KEYS if rings else DEV_KEYS)
