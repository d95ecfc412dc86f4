"""The methods that the paper compares, behind one interface; a new one is a file and a line here.

searcher = get_method("evo")(problem, 0, silent)
architecture = searcher.answer(budget)
"""

from pnag.errors import PnagError
from pnag.search.methods.evo import Evo
from pnag.search.methods.multi_objective import nas_mo, ofa_mo
from pnag.search.methods.nsga2 import nsga2, require_pymoo
from pnag.search.methods.pnag_method import pnag
from pnag.search.methods.problem import Method, Problem, Progress, Searcher, silent
from pnag.search.methods.random_search import RandomSearch

METHODS: dict[str, Method] = {
    "evo": Evo,
    "nas-mo": nas_mo,
    "nsga2": nsga2,
    "ofa-mo": ofa_mo,
    "pnag": pnag,
    "random": RandomSearch,
}


def get_method(name: str) -> Method:
    """The method of a name.

    Raises:
        PnagError: for an unknown name; it lists the known ones. Or if what it needs is missing.
    """
    if name not in METHODS:
        raise PnagError(f"no search method is called {name!r}; there are {', '.join(METHODS)}")
    if name == "nsga2":
        require_pymoo()
    return METHODS[name]


__all__ = [
    "METHODS",
    "Method",
    "Problem",
    "Progress",
    "Searcher",
    "get_method",
    "silent",
]
