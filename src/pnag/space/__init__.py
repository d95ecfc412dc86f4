"""What an architecture is: its choices, text form, sampling, mutation, features."""

from pnag.space.architecture import AnyArchitecture, Architecture, BaseArchitecture
from pnag.space.search_space import (
    ABSENT,
    SearchSpace,
    Token,
    Tokens,
    Unit,
    not_among,
    tokens_of,
)
from pnag.space.sharing import sample_shared

__all__ = [
    "ABSENT",
    "AnyArchitecture",
    "Architecture",
    "BaseArchitecture",
    "SearchSpace",
    "Token",
    "Tokens",
    "Unit",
    "not_among",
    "sample_shared",
    "tokens_of",
]
