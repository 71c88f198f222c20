"""Which numbers may be dialled: real ones, and neither emergency nor premium; pure.

The one module here that knows `phonenumbers`, the plan of every country's numbers. Its import
takes 23 ms, so only whoever is about to dial imports this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
    phonemetadata,
    shortnumberinfo,
)

from pinecall_cli.errors import UsageError
from pinecall_cli.protocol.phone import is_sip

TEST_NUMBER = re.compile(r"\+1500555\d{4}")
"""Numbers of the local exchange, which need no setting up; nobody in the world has one."""
SIP = re.compile(r"sips?:[^@\s]+@[^@\s]+", re.IGNORECASE)
DECORATION = re.compile(r"[\s().\-/\u2010-\u2015]+")
LONGEST_EMERGENCY = 6
"""Digits; what is longer is no emergency number anywhere."""
INTERNATIONAL_PREMIUM = 979
PREMIUM_NANP = re.compile(r"900|976")
"""Area codes of +1 that cost extra, also where no such number is given out."""
KINDS = {
    PhoneNumberType.FIXED_LINE: "landline",
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "landline or mobile",
    PhoneNumberType.TOLL_FREE: "toll-free",
    PhoneNumberType.SHARED_COST: "shared cost",
    PhoneNumberType.VOIP: "VoIP",
    PhoneNumberType.PERSONAL_NUMBER: "personal number",
    PhoneNumberType.PAGER: "pager",
    PhoneNumberType.UAN: "company number",
    PhoneNumberType.VOICEMAIL: "voicemail",
}


@dataclass(frozen=True, slots=True)
class Dialable:
    """A number that may be dialled."""

    number: str
    """E.164, or a ``sip:`` URI as it stands."""
    shown: str
    """As people write it."""
    region: str | None = None
    """ISO code of its country; None where that is not known."""
    kind: str | None = None
    """Such as ``mobile``."""
    given_out: bool = True
    """Whether its range is in use; a number that is not can only be one of a local exchange."""

    @property
    def test(self) -> bool:
        """Whether it is one of the local exchange's test numbers."""
        return TEST_NUMBER.fullmatch(self.number) is not None


def check_number(text: str, *, near: Iterable[str] = (), strict: bool = True) -> Dialable:
    """Return the number that ``text`` says, in the form in which it is dialled.

    Args:
        text: What somebody wrote.
        near: Numbers of theirs: a number without a country code is probably of the same country.
        strict: Refuse numbers in ranges that are not given out.

    Raises:
        UsageError: If it is none, or may not be dialled; its fix says what was probably meant.
    """
    bare = re.sub(r"^tel:", "", text.strip(), flags=re.IGNORECASE)
    if is_sip(bare) or bare.lower().startswith("sips:"):
        if not SIP.fullmatch(bare):
            raise refused(text, "is no SIP address", "write it as `sip:user@host`")
        return Dialable(bare, bare)
    plain = DECORATION.sub("", bare)
    if re.search(r"[^\W\d_]", plain):
        digits = phonenumbers.convert_alpha_characters_in_number(plain.upper())
        raise refused(text, "has letters in it", meant([digits], near))
    if not re.fullmatch(r"\+?[0-9]+", plain):
        raise refused(text, "is no telephone number", EXAMPLE)
    digits = plain.lstrip("+")
    if is_emergency(digits):
        raise refused(text, "is an emergency number", NEVER, code="emergency_number")
    if not plain.startswith("+"):
        raise refused(text, "has no country code", meant([digits], near))
    return international(text, plain, near, strict=strict)


EXAMPLE = "write it as + and the country's code, such as +14155550123"
NEVER = "call it yourself: an agent never does"


def international(text: str, plain: str, near: Iterable[str], *, strict: bool) -> Dialable:
    """Return the number that ``plain``, + and digits, is."""
    try:
        parsed = phonenumbers.parse(plain, None)
    except NumberParseException as problem:
        unknown = problem.error_type == NumberParseException.INVALID_COUNTRY_CODE
        why = "begins with no country's code" if unknown else "is too short"
        raise refused(text, why, meant([plain[1:]], near)) from None
    national = phonenumbers.national_significant_number(parsed)
    code = parsed.country_code or 0
    if len(national) <= LONGEST_EMERGENCY and is_emergency(national, regions_of(code)):
        raise refused(text, "is an emergency number", NEVER, code="emergency_number")
    kind = phonenumbers.number_type(parsed)
    if kind == PhoneNumberType.PREMIUM_RATE or is_premium(code, national):
        raise refused(text, "is a premium-rate number", NEVER, code="premium_number")
    length = phonenumbers.is_possible_number_with_reason(parsed)
    if length not in (ValidationResult.IS_POSSIBLE, ValidationResult.IS_POSSIBLE_LOCAL_ONLY):
        raise refused(text, wrong_length(code, national, length), meant([plain[1:]], near))
    if length == ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
        raise refused(text, "has no area code", EXAMPLE)
    given_out = phonenumbers.is_valid_number(parsed)
    number = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    if strict and not given_out:
        raise refused(text, "is in no range that is given out", meant([plain[1:]], near))
    region = phonenumbers.region_code_for_number(parsed) or next(iter(regions_of(code)), None)
    return Dialable(
        number,
        phonenumbers.format_number(parsed, PhoneNumberFormat.INTERNATIONAL),
        None if region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY else region,
        KINDS.get(kind),
        given_out,
    )


def refused(text: str, why: str, fix: str, *, code: str = "invalid_number") -> UsageError:
    """Return the error for a number that is not dialled."""
    return UsageError(f"`{text}` {why}", fix=fix, code=code)


def wrong_length(code: int, national: str, result: int) -> str:
    """Return in what way a number is too short or too long."""
    what = "is too long" if result == ValidationResult.TOO_LONG else "is too short"
    if result == ValidationResult.INVALID_LENGTH:
        what = "has a wrong length"
    region = next(iter(regions_of(code)), None)
    metadata = phonemetadata.PhoneMetadata.metadata_for_region(region) if region else None
    lengths = metadata.general_desc.possible_length if metadata and metadata.general_desc else ()
    wanted = " or ".join(str(length) for length in lengths if length > 0)
    has = f": {len(national)} digits after +{code}"
    return what + has + (f", {wanted} are needed" if wanted else "")


# --- emergency, premium -----------------------------------------------------------------------


def is_emergency(digits: str, regions: Iterable[str] | None = None) -> bool:
    """Return whether ``digits`` call for help: in these countries, or in any."""
    if not 2 <= len(digits) <= LONGEST_EMERGENCY:
        return False
    known = phonemetadata.PhoneMetadata.short_metadata_for_region
    everywhere = phonenumbers.SUPPORTED_SHORT_REGIONS if regions is None else regions
    return any(
        known(region) is not None and shortnumberinfo.is_emergency_number(digits, region)
        for region in everywhere
    )


def is_premium(code: int, national: str) -> bool:
    """Return whether a range costs extra, whatever is given out of it."""
    return code == INTERNATIONAL_PREMIUM or (code == 1 and bool(PREMIUM_NANP.match(national)))


def regions_of(code: int) -> tuple[str, ...]:
    """Return the countries that share a country code."""
    return tuple(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ()))


# --- what was meant ---------------------------------------------------------------------------


def meant(written: Iterable[str], near: Iterable[str]) -> str:
    """Return the fix for a number that was not written in full."""
    found = list(dict.fromkeys(one for text in written for one in readings(text, near)))[:3]
    if not found:
        return EXAMPLE
    shown = " or ".join(f"`{number}`{f' ({region})' if region else ''}" for number, region in found)
    return f"did you mean {shown}?"


def readings(text: str, near: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the numbers that digits may stand for, the likeliest first, with their countries."""
    digits = re.sub(r"\D", "", text)
    for prefix in ("00", "011"):  # how many countries dial abroad
        if digits.startswith(prefix):
            yield from reading("+" + digits.removeprefix(prefix), None)
    for region in homes(near):
        yield from reading(digits, region)
    yield from reading("+" + digits, None)
    if not any(homes(near)):
        yield from reading(digits, "US")


def reading(text: str, region: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield the number that ``text`` is in a country, if it is one that may be dialled."""
    try:
        parsed = phonenumbers.parse(text, region)
    except NumberParseException:
        return
    if phonenumbers.is_valid_number(parsed) and not dear(parsed):
        number = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
        yield number, phonenumbers.region_code_for_number(parsed)


def dear(parsed: PhoneNumber) -> bool:
    """Return whether a number costs extra."""
    return phonenumbers.number_type(parsed) == PhoneNumberType.PREMIUM_RATE


def homes(near: Iterable[str]) -> list[str]:
    """Return the countries of these numbers."""
    found = []
    for number in near:
        try:
            region = phonenumbers.region_code_for_number(phonenumbers.parse(number, None))
        except NumberParseException:
            continue
        if region and region not in found:
            found.append(region)
    return found
