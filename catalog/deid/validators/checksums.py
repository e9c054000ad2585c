"""Check digits and valid ranges of numbers that identify: pure functions of a string."""

from __future__ import annotations

import re
from datetime import date

from catalog.deid.rule import words_of

RESTRICTED_ZIP3 = frozenset(
    words_of("036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893")
)
"""Three-digit ZIP areas of 20,000 people or fewer (census of 2000): not even these may stay."""

_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", "12345678123457923456789", strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_IBAN_LENGTHS = {
    **{"AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24},
    **{"DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21},
    **{"HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "LT": 20, "LU": 20, "LV": 21, "MT": 31},
    **{"NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24},
    **{"TR": 26},
}


def digits_of(text: str) -> str:
    """The decimal digits of a text, in order."""
    return re.sub(r"[^0-9]", "", text)


def is_placeholder(digits: str) -> bool:
    """Nothing but zeros, or six times and more the same digit: what stands for a number.

    >>> is_placeholder("0000000"), is_placeholder("999999999"), is_placeholder("7777")
    (True, True, False)
    """
    signs = set(digits)
    return signs == {"0"} or (len(signs) == 1 and len(digits) >= 6)


def has_luhn(digits: str) -> bool:
    """The digits end in a right Luhn check digit (cards, NPI).

    >>> has_luhn("4111111111111111"), has_luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return len(digits) > 1 and total % 10 == 0


def is_card_number(text: str) -> bool:
    """A payment card: 12 to 19 digits, a known first digit, Luhn.

    >>> is_card_number("4111-1111-1111-1111")
    True
    """
    digits = digits_of(text)
    return 12 <= len(digits) <= 19 and digits[0] in "123456" and has_luhn(digits)


def is_iban(text: str) -> bool:
    """An IBAN of a known country and length whose remainder modulo 97 is one.

    >>> is_iban("GB82 WEST 1234 5698 7654 32"), is_iban("GB82 WEST 1234 5698 7654 33")
    (True, False)
    """
    code = re.sub(r"[\s-]", "", text).upper()
    if not code.isalnum() or _IBAN_LENGTHS.get(code[:2]) != len(code):
        return False
    return int("".join(str(int(letter, 36)) for letter in code[4:] + code[:4])) % 97 == 1


def is_ssn(text: str) -> bool:
    """A social security number that can have been issued: area, group and serial in range.

    >>> is_ssn("219-09-9999"), is_ssn("000-12-3456"), is_ssn("912-70-1234")
    (True, False, False)
    """
    digits = digits_of(text)
    if len(digits) != 9:
        return False
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_vin(text: str) -> bool:
    """A 17-character vehicle number with a right check digit in the ninth place.

    Digits alone are none: a maker's code has letters, and one number in eleven would pass.

    >>> is_vin("1M8GDM9AXKP042788"), is_vin("1M8GDM9A1KP042788"), is_vin("90071992547409932")
    (True, False, False)
    """
    code = text.upper()
    if not re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", code) or (code[:8] + code[9:]).isdigit():
        return False
    pairs = zip(code, _VIN_WEIGHTS, strict=True)
    remainder = sum(int(_VIN_VALUES.get(sign, sign)) * weight for sign, weight in pairs) % 11
    return code[8] == "0123456789X"[remainder]


def is_dea(text: str) -> bool:
    """A DEA registration: the sum of odd digits and twice the even ones ends in the seventh.

    >>> is_dea("AB1234563"), is_dea("AB1234567")
    (True, False)
    """
    digits = [int(digit) for digit in digits_of(text)]
    if len(digits) != 7:
        return False
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


def is_nhs_number(text: str) -> bool:
    """A British NHS number: ten digits, the last one a check modulo 11.

    >>> is_nhs_number("943 476 5919"), is_nhs_number("943 476 5918")
    (True, False)
    """
    digits = [int(digit) for digit in digits_of(text)]
    if len(digits) != 10:
        return False
    check = 11 - sum(d * weight for d, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return digits[9] == check % 11 and check != 10


def is_gtin(text: str) -> bool:
    """A 14-digit trade item number with a right check digit (the (01) of a device's UDI).

    >>> is_gtin("00844588003288"), is_gtin("00844588003280")
    (True, False)
    """
    digits = [int(digit) for digit in digits_of(text)]
    if len(digits) != 14:
        return False
    return sum(d * (3 - 2 * (index % 2)) for index, d in enumerate(digits)) % 10 == 0


def is_day(year: int, month: int, day: int) -> bool:
    """The three numbers are a day of the calendar between 1850 and 2099.

    >>> is_day(2019, 2, 28), is_day(2019, 2, 30)
    (True, False)
    """
    if not 1850 <= year <= 2099:
        return False
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
