"""What fits an accelerator, and how fast it would train: computed, not measured.

Memory of a device is the training's state (`costs.state_bytes`, whole on every device under data
parallelism) plus `costs.activation_bytes` of each of its sequences in bfloat16. Time is operations
over the device's peak, times an assumed utilization.
"""

import dataclasses

from covid_lm.backbones.configs import (
    BackboneConfig,
    activation_bytes,
    backbone_config,
    exact_flops,
    parameter_count,
    state_bytes,
)

LENGTH = 512
CLASSES = 2
PAPER_BATCH = 512
UTILIZATION = 0.4  # of the peak; assumed
USABLE = 0.9  # of the memory; assumed, the rest is the compiler's and the runtime's
TRAINING_PASSES = 3  # the backward pass takes twice the operations of the forward pass
BACKBONES = ("rbt3", "rbtl3", "roberta-wwm-ext-large")


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """Devices that train as one.

    Attributes:
        memory: bytes of one device.
        peak: bfloat16 operations a second of one device, dense.
    """

    name: str
    devices: int
    memory: float
    peak: float


ACCELERATORS = (
    # A chip of two cores has 32 GiB and 123 TFLOP/s: https://cloud.google.com/tpu/docs/v3
    Accelerator("TPU v3-8", 8, 16 * 2**30, 123e12 / 2),
    # 141 GB; 1,979 TFLOP/s with sparsity, half of that without: NVIDIA's data sheet of the H200
    Accelerator("1 H200", 1, 141e9, 1979e12 / 2),
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Training of a backbone on an accelerator.

    Attributes:
        largest_batch: that fits one device; 0 if not even one sequence does.
        paper_bytes: of one device at the paper's batch of 512.
        sequences_per_second: of all devices, at the assumed utilization.
    """

    largest_batch: int
    paper_bytes: float
    fits_paper: bool
    sequences_per_second: float


def training_flops(config: BackboneConfig) -> int:
    """Operations of a training step for each sequence."""
    return TRAINING_PASSES * exact_flops(config, LENGTH)


def plan(config: BackboneConfig, accelerator: Accelerator) -> Plan:
    """What the formulas say."""
    state = state_bytes(config, CLASSES)
    sequence = activation_bytes(config, LENGTH)
    room = USABLE * accelerator.memory - state
    largest = max(int(room // sequence), 0)
    share = -(-PAPER_BATCH // accelerator.devices)
    speed = UTILIZATION * accelerator.peak * accelerator.devices / training_flops(config)
    return Plan(largest, state + share * sequence, share <= largest, speed)


def accelerator_table() -> str:
    """Every backbone of the paper on every accelerator, as Markdown."""
    lines = [
        "| computed, not measured | parameters | GFLOP a sequence, training | state, GB | "
        "activations, GB a sequence | on | largest batch of a device (of all) | GB a device at "
        f"batch {PAPER_BATCH} | sequences/s at {UTILIZATION:.0%} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in BACKBONES:
        config = backbone_config(name)
        facts = (
            f"| {name} | {parameter_count(config, CLASSES) / 1e6:.1f} M | "
            f"{training_flops(config) / 1e9:.1f} | {state_bytes(config, CLASSES) / 1e9:.2f} | "
            f"{activation_bytes(config, LENGTH) / 1e9:.3f}"
        )
        for accelerator in ACCELERATORS:
            found = plan(config, accelerator)
            fits = "" if found.fits_paper else ", too much"
            lines.append(
                f"{facts} | {accelerator.name} | {found.largest_batch} "
                f"({found.largest_batch * accelerator.devices}) | "
                f"{found.paper_bytes / 1e9:.1f}{fits} | {found.sequences_per_second:,.0f} |"
            )
            facts = "| | | | |"
    return "\n".join(lines)
