"""Published networks: the paper's, Once-for-All's, comparators, and today's from timm."""

from __future__ import annotations

from collections.abc import Iterable

from pnag.deploy.zoo import comparators, paper, specialised, timm_networks
from pnag.deploy.zoo.network import FAMILIES, Network
from pnag.deploy.zoo.printed import PRINTED, PrintedRow
from pnag.errors import PnagError
from pnag.extras import install
from pnag.near_names import near

ZOO: dict[str, Network] = {
    network.key: network
    for network in (
        *paper.NETWORKS,
        *specialised.NETWORKS,
        *comparators.NETWORKS,
        *timm_networks.NETWORKS,
    )
}
_of_timm = {network.name: network.key for network in timm_networks.NETWORKS}


def find(key: str) -> Network:
    """A network by its key, or by timm's name of it.

    Raises:
        PnagError: if there is none; the message names the nearest.
    """
    key = _of_timm.get(key, key)
    if key not in ZOO:
        alike = near(key, ZOO)
        which = f"perhaps {' or '.join(alike)}" if alike else "`pnag zoo` lists them"
        raise PnagError(f"the zoo has no network {key!r}; {which}")
    return ZOO[key]


def select(names: list[str]) -> list[Network]:
    """Networks by keys and families, in the zoo's order; all of them for an empty list.

    Raises:
        PnagError: for a name that is neither.
    """
    keys = {find(name).key for name in names if name not in FAMILIES}
    return [n for n in ZOO.values() if not names or n.key in keys or n.family in names]


def check_makers(networks: Iterable[Network]) -> None:
    """See that all can be built before any is.

    Raises:
        PnagError: if libraries that build some are not installed; names them and the extra.
    """
    absent = [network for network in networks if not network.recipe.installed]
    if absent:
        makers = " and ".join(sorted({network.recipe.maker for network in absent}))
        raise PnagError(
            f"{', '.join(n.key for n in absent)} cannot be built: {makers} is not installed: "
            f"{install('zoo')}"
        )


KNOWN_NETWORKS = tuple(
    ZOO[key]
    for key in (
        "mobilenetv2-1.0",
        "mobilenetv2-1.4",
        "mobilenetv3-large",
        "efficientnet-b0",
        "resnet18",
    )
)
"""What `pnag run` always times its answers against."""
TIMM_NETWORKS = timm_networks.NETWORKS
"""Today's, of which `pnag run` times some."""

__all__ = [
    "FAMILIES",
    "KNOWN_NETWORKS",
    "PRINTED",
    "TIMM_NETWORKS",
    "ZOO",
    "Network",
    "PrintedRow",
    "check_makers",
    "find",
    "select",
]
