"""How the parts of a data set are called, in folders, in files and on the hub."""

from __future__ import annotations

import re

PARTS_LIKE = "train, training, val, valid, validation, dev, test, testing or eval"
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
    "trainval": "train",
}
_ENDINGS = ("set", "data", "images", "image", "imgs", "img", "split", "dir", "folder")
# Words in any case and, where the case changes, without a separator: seg_train, trainA, TestSet.
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_RUNS = re.compile(r"[^\W\d_]+")
_ENDS = re.compile(
    r"^(train|valid|val|test|eval)|(train|training|valid|validation|val|test|testing|eval)$", re.I
)


def part_of(name: str) -> str | None:
    """The part that a folder, a file or a split of this name is of, if it is of one.

    The words of `PARTS_LIKE` in any case, with whatever stands before and after them; both parts
    that are trained on together, as in Pascal VOC's trainval, are train.
    """
    tokens = {*_TOKENS.findall(name), *_RUNS.findall(name)}
    found = {part for token in tokens if (part := _word(token.lower()))}
    if found == {"train", "validation"}:
        return "train"
    if found == {"test", "validation"}:  # test-dev of COCO
        return "test"
    return found.pop() if len(found) == 1 else None


def only_a_part(name: str) -> bool:
    """Whether a name says a part and nothing else, as train or test_images do, not test_tube."""
    tokens = [token.lower() for token in _RUNS.findall(name)]
    return part_of(name) is not None and all(_word(t) or t in _ENDINGS for t in tokens)


def like_a_part(name: str) -> bool:
    """Whether a name only begins or ends with such a word, as mytrain or strain do."""
    return part_of(name) is not None or _ENDS.search(name) is not None


def _word(token: str) -> str | None:
    if token in _WORDS:
        return _WORDS[token]
    for ending in _ENDINGS:
        if token.endswith(ending) and token.removesuffix(ending) in _WORDS:
            return _WORDS[token.removesuffix(ending)]
    return None
