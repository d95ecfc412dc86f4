"""A search space of your own: a residual network with three stages.

`pnag.search` sees arrays of token choices and numbers only, so another family of networks is a list
of tokens, and a function from an architecture to its accuracy and cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import FrontSettings
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.labels import Labels
from pnag.search.methods import Problem
from pnag.search.methods.pnag_method import pnag
from pnag.search.pnag import PnagSettings
from pnag.search.policy_gradient import GeneratorSettings
from pnag.space import SearchSpace, Token, Tokens

STAGES, MOST_BLOCKS = 3, 3


def residual_network_space() -> SearchSpace:
    """For each stage how many blocks (1 to 3), and for each block that exists its channels."""
    tokens: list[Token] = []
    for stage in range(STAGES):
        parent = len(tokens)
        tokens.append(Token(f"stage{stage}.blocks", (1, 2, 3)))
        for block in range(MOST_BLOCKS):
            # The third argument is the token that this one hangs on; it exists where that one's
            # choice has at least this index: block 2 where two blocks or more were chosen.
            tokens.append(Token(f"stage{stage}.block{block}", (16, 32, 64), parent, block))
    return SearchSpace(tuple(tokens))


SPACE = residual_network_space()


class Cost:
    """Multiply-adds (millions) by a formula; anything with `predict` will do."""

    def predict(self, tokens: Tokens) -> NDArray[np.float64]:
        """(N,) costs of (N, T) tokens."""
        channels = np.zeros(tokens.shape)
        for column, token in enumerate(SPACE.tokens):
            if token.parent >= 0:
                chosen = np.array([*token.choices, 0])  # index -1, no such block, takes the 0
                channels[:, column] = chosen[tokens[:, column]]
        return np.asarray(1 + (channels**2).sum(axis=1) / 1000)


def train_and_judge(tokens: Tokens) -> NDArray[np.float64]:
    """(N,) accuracies. Yours trains networks, or asks a supernet; this one is made up."""
    cost = Cost().predict(tokens)
    deep = (tokens[:, [i for i, t in enumerate(SPACE.tokens) if t.parent < 0]]).sum(axis=1)
    return np.asarray(0.6 + 0.05 * np.log(cost) + 0.01 * deep)


def main() -> None:
    """A table of 200 architectures, predictors, one training, and an answer to any budget."""
    tokens = SPACE.sample_unique(200, np.random.default_rng(0))
    accuracy, cost = train_and_judge(tokens), Cost().predict(tokens)
    labels = Labels(SPACE, fit_gaussian_process(SPACE, tokens, accuracy, seed=0), Cost())
    quick = PnagSettings(
        evaluator=EvaluatorSettings(steps=20, hidden=32),
        generator=GeneratorSettings(iterations=60, samples=32, hidden=16),
        front=FrontSettings(budgets=32, draws=32, rounds=10, children=512),
    )
    searcher = pnag(Problem(SPACE, tokens, accuracy, cost, labels), settings=quick)
    for budget in (8.0, 12.0, 20.0):
        answer = searcher.answer(budget)
        found, price = train_and_judge(answer)[0], Cost().predict(answer)[0]
        chosen = {
            token.name: token.choices[index]
            for token, index in zip(SPACE.tokens, answer[0], strict=True)
            if index >= 0
        }
        print(f"budget {budget:g}: accuracy {found:.3f}, cost {price:.2f}, {chosen}")


if __name__ == "__main__":
    main()
