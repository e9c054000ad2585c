"""The table of base families, and what a family has to say. No family's own code belongs here."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from rpe_core.errors import UnknownName

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from rpe_core.families.shared import ForwardPass

_SHARED = "rpe_core.families.shared"
_FUTURE = "from __future__ import annotations\n"


@dataclass(frozen=True)
class FamilyEntry:
    """A family's module, its type of task, and how it pools features: known without torch.

    The first pooling is the one that a plan need not name. Without tokens no input is too long.
    `files` are patterns of those that make its bases beside the files that make any base, `forms`
    those of the adapters that its bases take. `loads` is the class of transformers that it loads.
    """

    module: str
    doc: str
    loads: str
    task_type: str
    poolings: tuple[str, ...]
    peft_type: str | None = None  # PEFT's own word for the type of task, in the adapter's folder
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    has_tokens: bool = True
    files: tuple[str, ...] = ()
    forms: tuple[str, ...] = ("lora",)

    @property
    def auto_mapping(self) -> dict[str, str]:
        """What PEFT asks of an adapter's configuration, to load the class of its base."""
        return {"base_model_class": self.loads, "parent_library": "transformers"}


FAMILIES = {
    # the attention-masked mean of the last hidden state, not normalised
    "text-encoder": FamilyEntry(
        "rpe_core.families.text_encoder",
        "any Hugging Face encoder; zero-shot classification against label prompts",
        "AutoModel",
        task_type="text-classification",
        poolings=("mean",),
    ),
    # the same over the tokens of the input alone, neither prompt nor added tokens
    "causal-lm": FamilyEntry(
        "rpe_core.families.causal_lm",
        "any causal language model with its tokenizer; text after a prompt or chat template,"
        " decoded greedily; `dtype: nf4` holds it in 4 bits where `pip install -e .[nf4]` has"
        " brought bitsandbytes",
        "AutoModelForCausalLM",
        task_type="text-generation",
        poolings=("input_mean",),
        peft_type="CAUSAL_LM",
        dtypes=("float32", "bfloat16", "nf4"),
    ),
    # the mean over slices of the encoder's map, over all of it or over a grid of 4 x 4 fields
    "sam": FamilyEntry(
        "rpe_core.families.sam",
        "`SamModel`: masks of up to three classes without prompts; `modules_to_save:"
        " [mask_decoder]` in the recipe trains the decoder whole; `pooling: grid` keeps where"
        " things are in the representation",
        "SamModel",
        task_type="image-segmentation",
        poolings=("mean", "grid"),
        has_tokens=False,
    ),
    # the projected embedding, the mean over slices, not normalised
    "clip": FamilyEntry(
        "rpe_core.families.clip",
        "`CLIPModel` with its tokenizer; zero-shot classification of images against label prompts,"
        " of a volume by the mean of its slices. Module names such as `q_proj` are those of both"
        " encoders: adapted labels are the adapted text encoder's. It takes learned prompts too",
        "CLIPModel",
        task_type="image-classification",
        poolings=("projection",),
        has_tokens=False,
        files=("preprocessor_config.json", "vocab.json"),
        forms=("lora", "prompts"),
    ),
}


class Family(Protocol):
    """A module that says everything about a kind of base model; base and task are its own types."""

    def load(self, folder: str, *, max_tokens: int, dtype: str = ..., device: str = ...) -> Any:
        """The frozen base from a local folder: `model` (nn.Module), `device`, `adapter` (None).

        max_tokens is 0 where a family has no tokens.
        """

    def encode(
        self, base: Any, items: Sequence[Any], *, pooling: Any = ..., batch_size: int = ...
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Indices (b,) and features (b, d) under the frozen base, each index once.

        `pooling` is one of the table's; by default its first.
        """

    def prepare(self, base: Any, task: Mapping[str, Any]) -> Any:
        """What the base must know about a declared task, made once, no adapter attached."""

    def sizes(self, base: Any, items: Sequence[Any]) -> npt.NDArray[np.int64]:
        """The cost of each item, by which batches are bucketed, shape (n,)."""

    def forward(
        self, base: Any, task: Any, items: Sequence[Any], targets: Sequence[Any]
    ) -> ForwardPass:
        """The mean training loss of a batch, and what led to it, all of it differentiable."""

    def validate(
        self, base: Any, task: Any, items: Sequence[Any], targets: Sequence[Any]
    ) -> dict[str, float]:
        """`loss` (lower is better; early stopping watches it) and `score` (higher is better)."""

    def predict(
        self, base: Any, task: Any, items: Sequence[Any], *, batch_size: int = ...
    ) -> npt.NDArray[Any]:
        """Predictions in the order of items, the first axis over them."""

    def answers(self, task: Any, predictions: Any) -> dict[str, npt.NDArray[Any]]:
        """Predictions as the columns that a consumer gets, each of shape (n,)."""

    def score(
        self, task: Any, predictions: Any, targets: Sequence[Any]
    ) -> dict[str, npt.NDArray[Any]]:
        """Statistics by name, one number an item, arrays of shape (n,)."""


@runtime_checkable
class Labelled(Protocol):
    """What a family says besides where its tasks have label prompts."""

    def label_features(self, base: Any, task: Any, *, is_varied: bool = ...) -> Tensor:
        """Unit features (n_labels, d) of the prompts under the model as it now is.

        Varied ones are means over several ways to put a prompt.
        """


def load_family(name: str) -> Family:
    """The module of a family, imported when it is first asked for, because it brings torch.

    Raises:
        UnknownName: if no family has this name.
    """
    return cast(Family, import_module(_module_of(name)))


def family_source(name: str) -> str:
    """One text of what families share and of a family's module, for the registry, none imported.

    It stands alone: the family's import of what is shared is left out, and that comes before it.

    Raises:
        UnknownName: if no family has this name.
    """
    head, future, own = _source(_module_of(name)).partition(_FUTURE)
    shared = _source(_SHARED).partition(_FUTURE)[2]
    return f"{head}{future}{shared.rstrip()}\n{_without_shared_import(own)}"


def _source(module: str) -> str:
    spec = find_spec(module)
    return str(spec.loader.get_source(spec.name))  # type: ignore[union-attr]


def _without_shared_import(source: str) -> str:
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.ImportFrom) and node.module == _SHARED:
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)


def _module_of(name: str) -> str:
    if name not in FAMILIES:
        raise UnknownName("base family", name, FAMILIES)
    return FAMILIES[name].module
