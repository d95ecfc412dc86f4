"""The paper's devices: their budgets, printed tables and architectures, as the zoo has them."""

from __future__ import annotations

from dataclasses import dataclass

from pnag.deploy.zoo import PRINTED, ZOO, Network, PrintedRow
from pnag.deploy.zoo.network import PNAG, Ours


@dataclass(frozen=True)
class Device:
    """A device of the paper.

    Attributes:
        title: as the paper has it. budgets: its five, in ms. table: of the supplement, if there is
            one. figures: those of accuracy over latency, if there is one, and of architectures.
    """

    title: str
    budgets: tuple[float, ...]
    table: int | None
    figures: tuple[str, str]


DEVICES = {
    "cpu": Device("Intel Core i5-7400 CPU", (30, 35, 40, 45, 50), 1, ("D", "G")),
    "gpu": Device("NVIDIA TITAN X GPU", (90, 115, 140, 165, 190), 2, ("E", "H")),
    "mobile": Device("Google Pixel1 phone", (80, 110, 140, 170, 200), None, ("", "F")),
}


def printed_table(device: Device) -> list[PrintedRow]:
    """The rows of a device's table; none for the phone, whose table is not in the supplement."""
    return [row for row in PRINTED if row.table == device.table]


def papers_architectures(device: str) -> dict[float, str]:
    """The architectures that the paper prints for a device, by budget."""
    prefix = f"pnag-{device}-"
    return {
        float(key.removeprefix(prefix)): network.recipe.arch
        for key, network in ZOO.items()
        if key.startswith(prefix) and isinstance(network.recipe, Ours)
    }


def zoo_networks(device: str) -> list[Network]:
    """Those of the zoo that belong to a device: the paper's own, and its table's others."""
    own = [f"pnag-{device}-{budget:g}" for budget in DEVICES[device].budgets]
    printed = [row.key for row in printed_table(DEVICES[device]) if row.key]
    # The phone has no table here; what is compared on CPUs serves.
    others = printed or [row.key for row in printed_table(DEVICES["cpu"]) if row.key]
    keys = dict.fromkeys([*own, *(k for k in others if ZOO[k].family != PNAG)])
    return [ZOO[key] for key in keys]
