"""What an architecture is: its choices, text form, sampling, mutation, features."""

from pnag.space.architecture import Architecture
from pnag.space.search_space import ABSENT, SearchSpace, Token, Tokens
from pnag.space.sharing import sample_shared

__all__ = ["ABSENT", "Architecture", "SearchSpace", "Token", "Tokens", "sample_shared"]
