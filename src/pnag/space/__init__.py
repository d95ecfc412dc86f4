"""What an architecture is: its choices, text form, sampling, mutation, features."""

from pnag.space.architecture import AnyArchitecture, Architecture, as_architecture
from pnag.space.search_space import ABSENT, SearchSpace, Token, Tokens
from pnag.space.sharing import sample_shared

__all__ = [
    "ABSENT",
    "AnyArchitecture",
    "Architecture",
    "SearchSpace",
    "Token",
    "Tokens",
    "as_architecture",
    "sample_shared",
]
