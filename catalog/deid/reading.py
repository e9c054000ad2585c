"""How a text is read before it is scanned: signs made plain, wrapped lines joined, places kept."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from html import unescape

from catalog.deid import signs
from catalog.deid.gazetteer import is_given, is_surname
from catalog.deid.rule import words_of

_ATTRIBUTES = r"(?: [a-z-]{1,20}=(?:\"[^\"<>]{0,200}\"|'[^'<>]{0,200}'|[^\s\"'<>]{1,80})){0,8}"
_TAG = rf"(?i:</?(?:br|p|div|li|tr|td|th|h[1-6]|ul|ol|table|hr){_ATTRIBUTES} ?/?>)"
_MARK_UP = rf"(?i:</?(?:b|i|u|em|strong|span|font|mark|sup|sub|small|a){_ATTRIBUTES}>)"
_CONTINUED = r"\\(?:\r\n|\n)"  # a line that says that it goes on
_BREAK = rf"(?:{_CONTINUED}|\r\n|[{signs.BREAKS}]|\\r\\n|\\n|\\r|{_TAG})"
_GAP_PART = (
    rf"(?:{_CONTINUED}|[\t\x1f{signs.BREAKS}{signs.SPACES}{signs.INVISIBLE}]|\\[nrt]|"
    rf"{_TAG}|{_MARK_UP}|(?i:&nbsp;|&\#160;|&\#xa0;|&zwnj;|&zwj;|&shy;|&ensp;|&emsp;|&thinsp;))"
)
_ENTITY = r"&(?:\#\d{2,7}|\#[xX][0-9A-Fa-f]{2,6}|[A-Za-z]{2,8}[0-9]{0,2});"
_UNEVEN = re.compile(
    rf"(?P<gap> *{_GAP_PART}(?:{_GAP_PART}| )*|  +)|(?P<entity>{_ENTITY})|"
    rf"(?P<signs>[^\x00-\x7f{signs.SPACES}{signs.BREAKS}{signs.INVISIBLE}]+)"
)
_FIRST_BREAK = re.compile(_BREAK)
_HAS_SPACE = re.compile(rf"\\[nrt]|[ \t\x1f{signs.BREAKS}{signs.SPACES}]|&(?!zw|shy)")
_END_OF_LINE = re.compile(rf"[{signs.BREAKS}]|\\[nr]|{_TAG}")
_QUOTING = re.compile(r"(?:[>|]{1,6} ?)+(?=\S)")

_BULLET = re.compile(
    r"(?:[*\u2022\u2023\u25aa\u25cf\u25e6\u2043+\u00b7o]|-{1,2}|\u2013|\u2014)\s|-(?=[A-Za-z])(?!ye?a?rs?-old|[0-9A-Fa-f]{4}-)|[#=_*~-]{3}|"
    r"\[[A-Za-z ]{1,24}\]|\(?[a-z]\) "
)
_NUMBERED = re.compile(r"[#(]{0,2}(?P<n>\d{1,2})[.):]+\s")
_LABEL = re.compile(r"[A-Z][A-Za-z/&() -]{1,40}:(?!\S)")
_HEADING = re.compile(r"[A-Z][A-Z /&()-]+[A-Z)]:?")
_OPEN = re.compile(
    r"(?i)(?:,|\b(?:of|the|on|in|to|with|by|at|from|and|or|an?|his|her|my|is|was|for|mrs?|ms|dr)\.?)$"
)
_MONTH_BEFORE = re.compile(
    r"(?i)\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?$"
)
_ENDED = re.compile(r"[.:;?!]\W*$")
_GOING_ON = re.compile(
    r"[-/.]\d|-[0-9A-Fa-f]{4}-|-ye?a?rs?-old|"
    r"\.(?:com|org|net|edu|gov|info|io|uk|de|ca|jpe?g|png|tiff?|dcm|pdf)\b"
)
_DOTTED = re.compile(r"\d\.\d{1,3}\.$")
_DOTTED_ON = re.compile(r"\d{2,3}\.\d{4}\b|(?:\d{1,3}\.){2}\d")
_DOMAIN = re.compile(r"@[A-Za-z0-9-]+\.[A-Za-z]")
_COLONS = re.compile(r"[0-9a-f]:[0-9a-f]{0,4}:$")
_HEX = re.compile(r"[0-9a-f]{1,4}\b")
_MAY_END = re.compile(r"[A-Za-z0-9)]$")
_ADDRESS = re.compile(r"\S*(?:@|www\.|://)\S*$")
_CUT_WORD = re.compile(r"([A-Za-z]+)-$")
_REST_OF_WORD = re.compile(r"[a-z]+|[A-Z]+")
_MONTHS = frozenset(
    words_of("january february march april august september october november december july sept")
)
SEEN_CHARS = 200  # of a line, on either side of its end
MAIL_CHARS = 70  # quoted-printable mail ends a longer line with a sign of equality
SHORT_LINES = 3  # up to so many lines do not tell how wide the text was set


@dataclass
class Reading:
    """A text as the rules see it, and where each sign of it stands in the text itself."""

    plain: str
    broken: str | None = None  # the same, where lines that may go on are taken to end
    is_foreign: bool = False
    _starts: list[int] = field(default_factory=list)  # of the pieces, in plain
    _pieces: list[tuple[int, int]] = field(default_factory=list)  # where they lie in the text

    def span(self, start: int, end: int) -> tuple[int, int]:
        """From where to where in the text itself the signs `start` to `end` of `plain` stand."""
        if not self._starts:
            return start, end
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, index: int) -> tuple[int, int]:
        piece = max(0, bisect_right(self._starts, index) - 1)
        low, high = self._pieces[piece]
        offset = index - self._starts[piece]
        following = self._starts[piece + 1] if piece + 1 < len(self._starts) else len(self.plain)
        if high - low != following - self._starts[piece]:  # a piece that was written differently
            return low, high
        return low + offset, low + offset + 1


def read_text(text: str) -> Reading:
    r"""The text as one would say it: a wrapped line is one line, a hidden sign is none.

    >>> read_text("Seen on March\r\n   14, 2019").plain
    'Seen on March 14, 2019'
    >>> reading = read_text("SSN 219-\n09-9999")
    >>> reading.plain, reading.span(4, 15)
    ('SSN 219-09-9999', (4, 16))
    """
    if _UNEVEN.search(text) is None:
        return Reading(text)
    reading = _Writer(text).write()
    if not reading.plain.isascii():
        reading.is_foreign = signs.is_foreign(reading.plain)
        reading.plain = signs.unmask(reading.plain)
        reading.broken = signs.unmask(reading.broken) if reading.broken else None
    return reading


class _Writer:
    """Goes through a text once and writes what the rules are to see."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._plain: list[str] = []
        self._length = 0
        self._reading = Reading("")
        self._line_start = 0  # in the text
        self._open_ends: list[int] = []  # in plain: here a line may go on or not
        self._room: int | None = None  # signs of the longest line
        self._numbers: frozenset[int] | None = None

    def write(self) -> Reading:
        start = 0
        for match in _UNEVEN.finditer(self._text):
            self._add(self._text[start : match.start()], start, match.start())
            if match["gap"] is not None:
                start = self._add_gap(match)
            else:
                shown = match["signs"] or unescape(match["entity"])
                self._add_signs(shown, match.start(), match.end())
                start = match.end()
        self._add(self._text[start:], start, len(self._text))
        self._reading.plain = plain = "".join(self._plain)
        if self._open_ends:
            parts = zip(
                [0, *(at + 1 for at in self._open_ends)], [*self._open_ends, None], strict=True
            )
            self._reading.broken = "\n".join(plain[low:high] for low, high in parts)
        return self._reading

    def _add(self, plain: str, start: int, end: int) -> None:
        if plain:
            self._reading._starts.append(self._length)
            self._reading._pieces.append((start, end))
            self._plain.append(plain)
            self._length += len(plain)

    def _add_signs(self, shown: str, start: int, end: int) -> None:
        """Write the plain form of signs; of an escaped sign its whole code is the place."""
        before = self._text[start - 1 : start] if start else ""
        is_escaped = len(shown) != end - start
        is_power = is_behind = False
        for index, sign in enumerate(shown, start):
            if signs.is_raised(sign):
                is_power = is_power if is_behind else before.isalnum()
                plain, is_behind = (sign if is_power else signs.plain_sign(sign)), True
            else:
                plain = before = signs.plain_sign(sign)
                is_behind = False
            low, high = (start, end) if is_escaped else (index, index + 1)
            self._add(plain, low, high)

    def _add_gap(self, match: re.Match[str]) -> int:
        """Write what stands for a gap; where the text goes on behind it."""
        text, gap, end = self._text, match[0], match.end()
        first = _FIRST_BREAK.search(gap)
        before = text[match.start() - 1 : match.start()]
        if first is None:
            is_seen = _HAS_SPACE.search(gap) is not None
            is_seen = is_seen or (
                ("\u200b" in gap or "<" in gap)
                and before.islower()
                and text[end : end + 1].isupper()
            )
            if is_seen and match.start() > 0 and end < len(text):
                self._add(" ", match.start(), end)
            return end
        if "\u00ad" in gap[: first.start()]:
            self._line_start = end
            return end
        return self._add_break(match, n_breaks=len(_FIRST_BREAK.findall(gap)))

    def _add_break(self, match: re.Match[str], *, n_breaks: int) -> int:
        text, end = self._text, match.end()
        line = text[max(self._line_start, match.start() - SEEN_CHARS) : match.start()]
        quoting = _QUOTING.match(text, end)
        if quoting is not None:
            end = quoting.end()
        self._line_start = end
        if match.start() == 0 or end == len(text):
            return end
        stop = _END_OF_LINE.search(text, end)
        following = text[end : min(stop.start() if stop else len(text), end + SEEN_CHARS)]
        joint = self._joint(line, following, n_breaks=n_breaks)
        is_mail = line.endswith("=") and len(line) > MAIL_CHARS
        joint = "" if is_mail else joint
        if is_mail or (joint == "" and _is_cut(line, following)):
            self._drop_last()
        if joint == " " and self._may_end(line, following):
            self._open_ends.append(self._length)
        self._add(joint, match.start(), end)
        return end

    def _drop_last(self) -> None:
        start, end = self._reading._pieces[-1]
        self._reading._pieces[-1] = (start, end - 1)
        self._plain[-1] = self._plain[-1][:-1]
        self._length -= 1

    def _joint(self, line: str, following: str, *, n_breaks: int) -> str:
        """What joins two lines: nothing within a word, a space where one goes on, else a break."""
        if n_breaks > 1 and not self._goes_on(line, following):
            return "\n\n"
        if self._begins_anew(line, following):
            return "\n"
        return _within(line, following)

    def _goes_on(self, line: str, following: str) -> bool:
        if _ENDED.search(line):
            return False
        return following[:1].islower() or following[:1].isdigit()

    def _may_end(self, line: str, following: str) -> bool:
        """A capital follows a line without a mark, which had room for the next word."""
        if not following[:1].isupper() or not _MAY_END.search(line):
            return False
        if self._room is None:
            lengths = [len(line.strip()) for line in _END_OF_LINE.split(self._text)]
            self._room = max(lengths) if len(lengths) > SHORT_LINES else len(self._text)
        return len(line) + len(following.split(" ", 1)[0]) < self._room

    def _begins_anew(self, line: str, following: str) -> bool:
        """The next line is an item, a label, a heading or a row of a table, or follows one."""
        if _BULLET.match(following):
            return True
        if _OPEN.search(line):
            return False
        if _LABEL.match(following):
            return True
        number = _NUMBERED.match(following)
        if number is not None and not _MONTH_BEFORE.search(line):
            return self._is_item(int(number["n"]), line)
        if _is_row(line) or _is_row(following):
            return True
        is_heading = _HEADING.fullmatch(line.strip()) is not None
        return (
            is_heading != bool(_HEADING.fullmatch(following.strip()))
            and not following[:1].isdigit()
        )

    def _is_item(self, number: int, line: str) -> bool:
        if number == 1 or _ENDED.search(line):
            return True
        if self._numbers is None:
            lines = re.finditer(rf"(?:^|{_BREAK})[ \t]*{_NUMBERED.pattern}", self._text)
            self._numbers = frozenset(int(match["n"]) for match in lines)
        return number - 1 in self._numbers


def _is_row(line: str) -> bool:
    return line.count("\t") > 1 or line.count("|") > 1


def _within(line: str, following: str) -> str:
    """Nothing where a word, number or address was cut at its mark, a space elsewhere."""
    last, first = line[-1:], following[:1]
    if (last == "@" and line[-2:-1].isalnum()) or _DOMAIN.match(following):
        return ""
    if last in "-/" and line[-2:-1].isalnum() and first.isalnum():
        return "" if last == "-" or (first + line[-2:-1]).isdigit() else " "
    if first in "-/." and last.isalnum() and _GOING_ON.match(following):
        return ""
    if last == "." and line[-2:-1].isdigit() and first.isdigit():
        is_number = _DOTTED.search(line) or _DOTTED_ON.match(following)
        return "" if is_number else " "
    if last == ":" and _COLONS.search(line) and _HEX.match(following):
        return ""
    if last in "./_=?&" and first.isalnum() and _ADDRESS.search(line):
        return ""
    return " "


def _is_cut(line: str, following: str) -> bool:
    """The hyphen at the end of the line cuts a name or a month in two."""
    head, rest = _CUT_WORD.search(line), _REST_OF_WORD.match(following)
    if head is None or rest is None:
        return False
    word = (head[1] + rest[0]).lower()
    return word in _MONTHS or is_given(word) or is_surname(word)
