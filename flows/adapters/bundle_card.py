"""What a bundle says of its adapter, judged before any of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from catalog.contracts.contract import NAME
from catalog.records.cards import AdapterCard
from catalog.stores.artifacts.portable import Bundle
from rpe_core.errors import InputError
from rpe_core.fingerprint import is_id, is_sha256
from rpe_core.records import BaseModel, Representation

MAX_CHARS = 1000  # of a licence or an id: MLflow's tags and the model card repeat them
_CARD: TypeAdapter[AdapterCard] = TypeAdapter(AdapterCard)
_PLACE: TypeAdapter[Representation] = TypeAdapter(Representation)


def read_card(
    bundle: Bundle, base: BaseModel, encoder_id: str
) -> tuple[AdapterCard, Representation]:
    """The adapter's card and its representation, under this platform's base and encoder.

    Raises:
        InputError: a field is missing, unknown or of another type, or an id is none of its source.
    """
    parts = bundle.card.get("adapter"), bundle.representation
    try:
        facts, representation = _known(parts[0], AdapterCard), _known(parts[1], Representation)
        card = _CARD.validate_python({**facts, "base": base, "origin": "imported"})
        filed = _PLACE.validate_python(
            {
                **representation,
                "representation_id": card.representation_id,
                "dataset_version_id": card.dataset_version_id,
                "encoder_id": encoder_id,
                "role": "reference",
            }
        )
    except (ValidationError, TypeError):
        raise InputError("The bundle's card is not whole.", remedy="export it again") from None
    _require_names(card)
    return card, filed


def _known(facts: object, record: type) -> Mapping[str, Any]:
    """The facts, if they are a mapping of this record's own fields."""
    if not isinstance(facts, dict) or not set(facts) <= {field.name for field in fields(record)}:
        raise TypeError
    return facts


def _require_names(card: AdapterCard) -> None:
    """Names and ids go into SQL, tags, paths and model names: none but a usable one does."""
    if not NAME.fullmatch(card.source):
        raise InputError("The bundle's source has no usable name.", expected=NAME.pattern)
    ids = {
        "adapter": card.adapter_id,
        "dataset": card.dataset_version_id,
        "representation": card.representation_id,
    }
    odd = [kind for kind, record_id in ids.items() if not is_id(record_id, kind, card.source)]
    if odd:
        raise InputError(
            f"The bundle's card names no {odd[0]} of its source.",
            expected=f"{odd[0]}:<source>@ and 12 hexadecimal digits",
            remedy="export it again",
        )
    if not is_sha256(card.weights_sha256) or min(card.rank, card.n_parameters) < 1:
        raise InputError("The bundle's card is not whole.", remedy="export it again")
    if max(len(card.license), len(card.recipe_id)) > MAX_CHARS or not card.license.isprintable():
        raise InputError(
            "The bundle's licence is none.", expected=f"at most {MAX_CHARS} printable characters"
        )
