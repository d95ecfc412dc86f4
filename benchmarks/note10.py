"""A ground truth that nobody here made: published accuracies and latencies of any architecture.

Accuracy is what Once-for-All's published predictor says of the width-1.2 supernet, latency what its
published Samsung Note 10 table says. Both are read from `shared/facts` and cost microseconds, so
searches can be held against the truth at every budget.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from pnag import SearchSpace
from pnag.cost.load import load_cost
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.space import Tokens
from pnag.space.architecture import KERNELS, WIDTHS

FACTS = Path(__file__).parents[2] / "shared" / "facts"
RESOLUTION = 224
WIDTH_MULT = 1.2


class Note10:
    """True accuracy (a fraction) and true latency (ms) of architectures.

    Args:
        facts: the folder `shared/facts`.
    """

    def __init__(self, facts: Path = FACTS) -> None:
        self.space = SearchSpace()
        state = load_file(facts / "ofa_mbv3_w1.2_accuracy_predictor.safetensors")
        self.layers = [(state[f"{i}.weight"], state[f"{i}.bias"]) for i in (0, 2, 4, 6)]
        self.latency_model = load_cost(
            str(facts / "note10_latency_ms" / f"{RESOLUTION}_lookup_table.yaml"),
            ofa(WIDTH_MULT),
            resolution=RESOLUTION,
        )

    @torch.no_grad()
    def accuracy(self, tokens: Tokens) -> NDArray[np.float64]:
        """(N,) for (N, T) tokens; the input layout is the facts README's."""
        values, columns = self.space.values(tokens), self.space.columns
        kernels, widths = values[:, columns["kernel"]], values[:, columns["width"]]
        chosen = np.array(self.space.resolutions or (RESOLUTION,))
        pixels = chosen[self.space.resolution_ids(tokens)]
        inputs = np.zeros((len(tokens), 128), np.float32)
        for i in range(3):
            inputs[:, i:60:3] = kernels == KERNELS[i]
            inputs[:, 60 + i : 120 : 3] = widths == WIDTHS[i]
        inputs[np.arange(len(tokens)), 120 + (pixels - 112) // 16] = 1
        hidden = torch.from_numpy(inputs)
        for i, (weight, bias) in enumerate(self.layers):
            hidden = hidden @ weight.T + bias
            if i < 3:
                hidden = hidden.relu()
        return hidden[:, 0].double().numpy()

    def latency(self, tokens: Tokens) -> NDArray[np.float64]:
        """(N,) ms for (N, T) tokens."""
        return self.latency_model.predict(tokens)

    def table(self, rows: int, seed: int) -> pd.DataFrame:
        """What a user would have: uniformly sampled architectures with `top1` and `ms`."""
        tokens = self.space.sample_unique(rows, np.random.default_rng(seed))
        return pd.DataFrame(
            {
                "arch": self.space.text(tokens),
                "top1": self.accuracy(tokens),
                "ms": self.latency(tokens),
            }
        )
