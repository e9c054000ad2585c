"""Every merge of a night equals the dense weighted sum, computed here without any code of ours."""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of


def dense(folder: Path) -> dict[str, np.ndarray]:
    """Module -> scaling * B @ A in fp64, from a plain PEFT folder."""
    config = json.loads((folder / "adapter_config.json").read_text())
    state = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for name, a in state.items():
        if not name.endswith("lora_A.weight"):
            continue
        b = state[name.replace("lora_A", "lora_B")]
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        rank = config["rank_pattern"].get(module, config["r"])
        alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
        root = np.sqrt(rank) if config["use_rslora"] else rank
        deltas[module] = alpha / root * b.astype(np.float64) @ a.astype(np.float64)
    return deltas


def worst_error(settings: Settings) -> tuple[int, float, float, float]:
    """Merges, largest relative error of a delta, of a sum of weights, and largest KKT residual."""
    rows = read_rows_of(settings, "SELECT * FROM core.ensembles")
    adapters = read_rows_of(settings, "SELECT adapter_id, artifact_sha256 FROM core.adapters")
    place = {row["adapter_id"]: row["artifact_sha256"] for row in adapters}
    parts = {i: dense(Path(settings.artifacts) / sha256) for i, sha256 in place.items()}
    errors, sums = [], []
    for row in rows:
        members = read_rows_of(
            settings,
            "SELECT * FROM core.ensemble_members WHERE ensemble_id = ?",
            [row["ensemble_id"]],
        )
        sums.append(abs(sum(member["weight"] for member in members) - 1.0))
        merged = dense(Path(settings.artifacts) / row["artifact_sha256"])
        for module, delta in merged.items():
            wanted = sum(m["weight"] * parts[m["adapter_id"]][module] for m in members)
            errors.append(np.linalg.norm(delta - wanted) / np.linalg.norm(wanted))
    kkt = [row["kkt_residual_ratio"] for row in rows if row["kkt_residual_ratio"] is not None]
    return len(rows), max(errors), max(sums), max(kkt)


def test_every_merge_of_the_night_is_exact(finished_night: Settings) -> None:
    n, error, total, kkt = worst_error(finished_night)
    assert n == 5
    assert error <= 1e-6
    assert total <= 1e-9
    assert kkt <= 1e-9


if __name__ == "__main__":
    n, error, total, kkt = worst_error(Settings(home=Path(sys.argv[1])))
    print(f"{n} merges: worst delta {error:.1e}, sum of weights {total:.1e}, KKT {kkt:.1e}")
