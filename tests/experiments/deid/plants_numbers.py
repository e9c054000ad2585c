"""Invented numbers and codes of persons and things, to measure the gate with."""

from __future__ import annotations

import uuid

from tests.experiments.deid.plants import LETTERS, Rng, digits, letters, pick


def ssn(rng: Rng) -> str:
    """A social security number of the valid range."""
    area = int(rng.choice([*range(1, 666), *range(667, 900)]))
    group, serial = int(rng.integers(1, 100)), int(rng.integers(1, 10000))
    sign = pick(rng, ["-", "-", "-", " ", "."])
    return f"{area:03d}{sign}{group:02d}{sign}{serial:04d}"


def record_number(rng: Rng) -> str:
    """A medical record number."""
    forms = [
        digits(rng, int(rng.integers(6, 11))), f"{letters(rng, 1)}{digits(rng, 7)}",
        f"{digits(rng, 3)}-{digits(rng, 2)}-{digits(rng, 3)}"
        f"", f"{digits(rng, 2)}-{digits(rng, 2)}-{digits(rng, 2)}",
        f"E{digits(rng, 9)}", f"{letters(rng, 2)}-{digits(rng, 6)}"
        f"", f"{digits(rng, 3)} {digits(rng, 3)} {digits(rng, 2)}",
    ]  # fmt: skip
    return pick(rng, forms)


def plan_number(rng: Rng) -> str:
    """A number of an insured person."""
    forms = [
        f"{letters(rng, 3)}{digits(rng, 9)}", f"{digits(rng, 9)}{letters(rng, 1)}", digits(rng, 10),
        f"W{digits(rng, 4)} "
        f"{digits(rng, 5)}", f"{letters(rng, 1)}{digits(rng, 8)}-01"
        f"", f"{digits(rng, 5)}-{digits(rng, 4)}",
    ]  # fmt: skip
    return pick(rng, forms)


def _luhn_completed(body: str) -> str:
    total = 0
    for index, sign in enumerate(reversed(body)):
        doubled = int(sign) * 2 if index % 2 == 0 else int(sign)
        total += doubled // 10 + doubled % 10
    return body + str(-total % 10)


def account(rng: Rng) -> tuple[str, bool]:
    """An account number, and whether it needs no label: a card or an IBAN."""
    if rng.random() < 0.25:
        card = _luhn_completed(pick(rng, "45") + digits(rng, 14))
        grouped = " ".join(card[i : i + 4] for i in range(0, 16, 4))
        return pick(rng, [card, grouped, grouped.replace(" ", "-")]), True
    if rng.random() < 0.2:
        body = "WEST" + digits(rng, 14)
        numeric = "".join(str(ord(sign) - 55) if sign.isalpha() else sign for sign in body + "GB00")
        iban = f"GB{98 - int(numeric) % 97:02d}{body}"
        return pick(rng, [iban, " ".join(iban[i : i + 4] for i in range(0, 22, 4))]), True
    return pick(
        rng,
        [
            digits(rng, 8),
            digits(rng, 10),
            f"{digits(rng, 4)}-{digits(rng, 5)}",
            f"{letters(rng, 1)}{digits(rng, 8)}",
        ],
    ), False


def licence(rng: Rng) -> str:
    """A number of a licence or certificate."""
    forms = [
        f"{letters(rng, 1)}{digits(rng, 7)}",
        digits(rng, 8),
        f"{letters(rng, 1)}{digits(rng, 3)}-{digits(rng, 4)}-{digits(rng, 4)}",
        f"{letters(rng, 2)}{digits(rng, 6)}",
        f"MD-{digits(rng, 5)}",
    ]
    return pick(rng, forms)


def vin(rng: Rng) -> str:
    """A vehicle identification number with its check digit."""
    values = {
        sign: str(value)
        for sign, value in zip(
            "ABCDEFGHJKLMNPRSTUVWXYZ",
            [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9],
            strict=True,
        )
    }
    body = [pick(rng, LETTERS.replace("Q", "") + "0123456789") for _ in range(17)]
    body[8] = "0"
    weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    rest = sum(int(values.get(sign, sign)) * w for sign, w in zip(body, weights, strict=True)) % 11
    body[8] = "X" if rest == 10 else str(rest)
    return "".join(body)


def plate(rng: Rng) -> str:
    """A vehicle's licence plate."""
    forms = [
        f"{letters(rng, 3)} {digits(rng, 4)}",
        f"{letters(rng, 3)}-{digits(rng, 4)}",
        f"{digits(rng, 1)}{letters(rng, 3)}{digits(rng, 3)}",
        f"{letters(rng, 3)}{digits(rng, 3)}",
    ]
    return pick(rng, forms)


def serial(rng: Rng) -> str:
    """A serial number of a device."""
    forms = [
        f"{letters(rng, 3)}{digits(rng, 6)}",
        digits(rng, 9),
        f"{letters(rng, 2)}-{digits(rng, 5)}-{letters(rng, 1)}",
        f"{digits(rng, 4)}{letters(rng, 2)}{digits(rng, 4)}",
        f"{letters(rng, 3)}{digits(rng, 6)}{letters(rng, 1)}",
    ]
    return pick(rng, forms)


def ip_address(rng: Rng) -> str:
    """An internet address of version 4 or 6."""
    if rng.random() < 0.75:
        return ".".join(str(int(part)) for part in rng.integers(1, 255, 4))
    parts = [f"{int(part):x}" for part in rng.integers(1, 65536, 8)]
    return pick(
        rng, [":".join(parts), f"fe80::{parts[0]}:{parts[1]}:{parts[2]}", f"2001:db8::{parts[3]}"]
    )


def unique_code(rng: Rng) -> tuple[str, bool]:
    """A code, and whether it needs no label: a UUID or a hash."""
    if rng.random() < 0.3:
        value = str(uuid.UUID(bytes=rng.bytes(16), version=4))
        return pick(rng, [value, value.upper(), value.replace("-", "")]), True
    forms = [
        f"S{digits(rng, 2)}-{digits(rng, 5)}",
        f"{letters(rng, 3)}-{digits(rng, 4)}-{digits(rng, 3)}",
        digits(rng, 8),
        f"{letters(rng, 2)}{digits(rng, 6)}",
    ]
    return pick(rng, forms), False
