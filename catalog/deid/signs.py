"""What a sign outside of ASCII is read as, and whether a text is in letters that the rules know."""

from __future__ import annotations

import re
import unicodedata

from catalog.deid.gazetteer import fold

SPACES = "\\u00a0\\u1160\\u115f\\u1680\\u2000-\\u200a\\u202f\\u205f\\u2800\\u3000\\u3164\\uffa0"
"""Signs that show as a space, as a class of a pattern holds them."""

BREAKS = "\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029"
"""Ends of lines and of pages."""

INVISIBLE = (
    "\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\\u00ad\\u034f\\u061c\\u180b-\\u180f\\u200b-\\u200f"
    "\\u202a-\\u202e\\u2060-\\u206f\\ufe00-\\ufe0f\\ufeff\\ufff9-\\ufffb\\U0001d173-\\U0001d17a"
    "\\U000e0000-\\U000e0fff"
)
"""Signs that show as nothing: they can stand within a word and hide it."""

_KEPT_APART = frozenset({"fraction", "super", "sub"})
_SQUARED = {0x1F130: "A", 0x1F150: "A", 0x1F170: "A", 0x1F1E6: "A"}
_PUNCTUATION = {"Pd": "-", "Zs": " ", "Pi": "'", "Pf": "'"}
_LOOKALIKES = (
    ("\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425", "ABEKMHOPCTYX"),
    ("\u0430\u0435\u043a\u043c\u043e\u0440\u0441\u0442\u0443\u0445", "aekmopctyx"),
    ("\u0405\u0406\u0408\u04ae\u04c0\u051a\u051c\u0455\u0456\u0458\u04af\u04bb\u04cf\u0501\u051b\u051d",
     "SIJYIQWsijyhldqw"),
    ("\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
     "ABEZHIKMNOPTYX"),
    ("\u03b1\u03b5\u03b7\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03c9\u03f2\u03f3",
     "aenikvoptuxwcj"),
    ("\u0578\u057d\u0585\u0570\u0566\u0581\u0584", "nuohqgp"),
    ("\u13aa\u13ac\u13b3\u13b7\u13bb\u13d2\u13da\u13df\u13e2\u13e6\u13ae\u13d4\u13a0\u13c0",
     "AEWMHRSCPLLWDG"),
)  # fmt: skip
"""Letters of Cyrillic, Greek, Armenian and Cherokee beside the Latin ones that they look like."""

LOOKALIKES = {
    ord(sign): plain for signs, row in _LOOKALIKES for sign, plain in zip(signs, row, strict=True)
}
_DISGUISED = re.compile(
    f"[A-Za-z']*[{''.join(map(chr, LOOKALIKES))}][A-Za-z'{''.join(map(chr, LOOKALIKES))}]*"
)
_DOT_BETWEEN = re.compile(r"(?<=\d)[\u00b7\u2022\u2219\u22c5\u30fb](?=\d)")
_WHOLE_SCRIPTS = {"CJK": 3, "HIRAGANA": 2, "KATAKANA": 2, "HANGUL": 2, "BOPOMOFO": 2}
"""Scripts of which one sign says as much as several Latin letters."""
_NO_SCRIPT = frozenset(
    {"LATIN", "MICRO", "MODIFIER", "FEMININE", "MASCULINE", "DOUBLE-STRUCK", "SCRIPT", "?"}
)
_FOREIGN_WORD = re.compile(r"[^\W\d_a-zA-Z]+")


class _Plain(dict[str, str]):
    """Sign to what it is read as, worked out once each."""

    def __missing__(self, sign: str) -> str:
        self[sign] = plain = _plain(sign)
        return plain


def _plain(sign: str) -> str:
    folded = fold(sign)
    if folded.isascii():
        return folded
    kind = unicodedata.category(sign)
    if kind in ("Mn", "Me", "Cf", "Cc"):
        return ""
    if kind in _PUNCTUATION:
        return _PUNCTUATION[kind] if sign not in "\u00ab\u00bb\u201c\u201d\u201e\u201f" else '"'
    digit = unicodedata.decimal(sign, None)
    if digit is not None:
        return str(digit)
    for first, letter in _SQUARED.items():
        if first <= ord(sign) < first + 26:
            return chr(ord(letter) + ord(sign) - first)
    return _decomposed(sign)


def _decomposed(sign: str) -> str:
    tag = re.match(r"<(\w+)>", unicodedata.decomposition(sign))
    whole = unicodedata.normalize("NFKC", sign)
    if tag and tag[1] in _KEPT_APART and not (tag[1] != "fraction" and len(whole) == 1):
        return sign
    if whole.isascii():
        return whole
    first = unicodedata.normalize("NFKD", sign)[0]
    if first.isascii() and first.isalnum():
        return first
    # Small capitals and letters with a hook have a name and no decomposition
    named = re.match(r"LATIN (?:(SMALL|CAPITAL) LETTER|LETTER SMALL CAPITAL) ([A-Z])\b(?! [A-Z]\b)",
                     unicodedata.name(sign, ""))  # fmt: skip
    if named is None:
        return {"\u2044": "/", "\u2215": "/", "\u0251": "a", "\u2024": "."}.get(sign, sign)
    return named[2] if named[1] == "CAPITAL" else named[2].lower()


_PLAIN = _Plain()


def plain_sign(sign: str) -> str:
    """What a sign is read as: nothing, itself, or plain letters, digits and marks.

    >>> [plain_sign(s) for s in ("\u00e9", "\u0301", "\U0001d7d9", "\ufb01", "\u2079", "\u00b5")]
    ['e', '', '1', 'fi', '9', '\u00b5']
    """
    return _PLAIN[sign]


def is_raised(sign: str) -> bool:
    """A digit above or below the line: behind a letter or a digit no digit of a number.

    >>> is_raised("\u2079"), is_raised("\u0669")
    (True, False)
    """
    return sign.isdigit() and not sign.isdecimal() and _PLAIN[sign].isdigit()


def unmask(plain: str) -> str:
    """Lookalike letters beside Latin ones, or that make a whole word, read as Latin; same length.

    >>> unmask("M\u0430ri\u0430 takes \u03b2-blockers \u03b1")
    'Maria takes \u03b2-blockers \u03b1'
    """
    plain = _DOT_BETWEEN.sub(".", plain)
    return _DISGUISED.sub(_as_latin, plain)


def _as_latin(match: re.Match[str]) -> str:
    word, text = match[0], match.string
    if word[0].isascii() or re.search("[A-Za-z]", word):
        return word.translate(LOOKALIKES)
    is_whole = not (
        text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
    ).strip()
    return word.translate(LOOKALIKES) if is_whole and len(word) > 2 else word


def is_foreign(plain: str) -> bool:
    """Most of the letters are of another script than Latin; Greek signs of medicine are not.

    >>> is_foreign("\u0431\u043e\u043b\u044c, MRT"), is_foreign("TNF-\u03b1 5 \u00b5g")
    (True, False)
    """
    if plain.isascii():
        return False
    n_latin = len(re.findall("[A-Za-z]", plain))
    n_foreign = 0
    for word in _FOREIGN_WORD.findall(plain):
        scripts = [unicodedata.name(s, "?").split(" ")[0] for s in word if s.isalpha()]
        n_foreign += 0 if scripts.count("GREEK") in (1, 2) else sum(map(_weight, scripts))
        n_latin += scripts.count("LATIN")
    return n_foreign > n_latin


def _weight(script: str) -> int:
    return 0 if script in _NO_SCRIPT else _WHOLE_SCRIPTS.get(script.split("-")[0], 1)
