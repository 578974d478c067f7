"""How a training step's time grows with the images of a batch, with tokens and with layers."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from covid_lm.backbones.configs import backbone_config, exact_flops
from covid_lm.benchmark.cases import Case


def growth_series(threads: int) -> dict[str, dict[int, Case]]:
    """Axis to size to case; the middle case is the same on every axis."""
    base = Case("training", "4x256", "float32", batch_size=8, threads=threads, length=256)
    return {
        "images a batch": {n: dataclasses.replace(base, batch_size=n) for n in (4, 8, 16)},
        "tokens": {n: dataclasses.replace(base, length=n) for n in (128, 256, 512)},
        "layers": {n: dataclasses.replace(base, backbone=f"{n}x256") for n in (2, 4, 8)},
    }


def exponent(values: Mapping[int, float]) -> float:
    """The p of value = c * size**p that fits best: least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)
    return float(slope)


def operations(case: Case) -> int:
    """Of the forward pass' matrix products; the backward pass takes twice as many."""
    return case.batch_size * exact_flops(backbone_config(case.backbone), case.length)


def growth_table(seconds: dict[Case, float], threads: int) -> str:
    """The series with their exponents, as Markdown.

    Args:
        seconds: of a step of every case of `growth_series(threads)`.
    """
    lines = [
        "| training step of 4x256, 8 images of 256 tokens, float32 | seconds | exponent | of the "
        "operations alone |",
        "|---|---|---|---|",
    ]
    for axis, series in growth_series(threads).items():
        measured = {size: seconds[case] for size, case in series.items()}
        counted = {size: operations(case) for size, case in series.items()}
        sizes = ", ".join(map(str, measured))
        times = ", ".join(f"{value:.3f}" for value in measured.values())
        lines.append(
            f"| {axis}: {sizes} | {times} | {exponent(measured):.2f} | {exponent(counted):.2f} |"
        )
    return "\n".join(lines)
