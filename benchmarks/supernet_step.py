"""One training step of our supernet against Once-for-All's (`ofa` on PyPI), side by side.

Forward, backward and SGD on one batch; both train the same random subnet in each turn, the two take
turns in one process, and who goes first alternates. Before that, both get the same weights and must
give the same logits.

python benchmarks/supernet_step.py [--batch 32 --resolution 64 --turns 30 --threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pnag

INSTALL = "`ofa` cannot be imported ({}); install it here with: pip install --no-deps ofa"


def ofa_supernet(width_mult: float, classes: int) -> nn.Module | None:
    """Once-for-All's supernet without dropout, which ours leaves to the training loop."""
    try:
        from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
    except ImportError as error:
        print(INSTALL.format(error))
        return None
    return OFAMobileNetV3(
        n_classes=classes,
        bn_param=(0.1, 1e-5),
        dropout_rate=0,
        width_mult=width_mult,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )


def choose(ofa: nn.Module, arch: pnag.Architecture) -> None:
    """Make `arch` the active subnet; any choice does where no layer exists."""
    ofa.set_active_subnet(
        ks=[kernel or 3 for kernel in arch.kernels],
        e=[width or 3 for width in arch.widths],
        d=list(arch.depths),
    )


def stepper(
    net: nn.Module, logits: Callable[[pnag.Architecture], Tensor], labels: Tensor
) -> Callable[[pnag.Architecture], float]:
    """A function that trains one step and returns its seconds."""
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True)

    def step(arch: pnag.Architecture) -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits(arch), labels).backward()
        optimizer.step()
        return time.perf_counter() - started

    return step


def main() -> None:
    """Print medians, their ratio, and the spread of the ratio over turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width-mult", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true", help="both networks and the batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    classes = 100
    theirs = ofa_supernet(options.width_mult, classes)
    if theirs is None:
        return
    with torch.no_grad():  # fresh matrices are identities, and would hide mistakes
        for name, parameter in theirs.named_parameters():
            if name.endswith("_matrix"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    ours = pnag.Supernet(options.width_mult, classes)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(options.batch, 3, options.resolution, options.resolution)
    labels = torch.randint(classes, (options.batch,))
    if options.channels_last:
        images = images.to(memory_format=torch.channels_last)
        ours.to(memory_format=torch.channels_last)
        theirs.to(memory_format=torch.channels_last)

    def their_logits(arch: pnag.Architecture) -> Tensor:
        choose(theirs, arch)
        return theirs(images)

    space = pnag.SearchSpace()
    texts = space.text(space.sample(options.turns + 2, np.random.default_rng(0)))
    archs = [pnag.Architecture.parse(text) for text in texts]
    with torch.no_grad():
        expected = their_logits(archs[0])
        difference = (ours(images, archs[0]) - expected).abs().max() / expected.abs().max()
    print(
        f"torch {torch.__version__}, {options.threads} threads, width {options.width_mult:g}, "
        f"batch {options.batch} of {options.resolution}x{options.resolution}, "
        f"{'channels last' if options.channels_last else 'contiguous'}; "
        f"logits differ by at most {difference:.0e} of the largest"
    )
    steps = {
        "ours": stepper(ours, lambda arch: ours(images, arch), labels),
        "ofa": stepper(theirs, their_logits, labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn, arch in enumerate(archs):
        for name in list(steps) if turn % 2 else list(reversed(steps)):
            took = steps[name](arch)
            if turn >= 2:  # the first ones warm up allocator and oneDNN
                seconds[name].append(took)
    ratios = sorted(a / b for a, b in zip(seconds["ours"], seconds["ofa"], strict=True))
    quarter = len(ratios) // 4
    print(
        f"ours {statistics.median(seconds['ours']) * 1000:7.1f} ms   "
        f"ofa {statistics.median(seconds['ofa']) * 1000:7.1f} ms   "
        f"ratio ours/ofa: median {statistics.median(ratios):.3f}, "
        f"quartiles {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f} over {len(ratios)} turns"
    )


if __name__ == "__main__":
    main()
