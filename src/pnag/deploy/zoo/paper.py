"""The paper's 15 architectures (figures F, G and H of its supplement), width 1.2."""

from __future__ import annotations

from pnag.deploy.zoo.network import PNAG, Network, Ours
from pnag.deploy.zoo.printed import printed_rows
from pnag.downloads import Checksum, PublishedFile

RELEASE = "https://github.com/guoyongcs/PNAG/releases/download/weights"
NO_TABLE = "the supplement prints no table for mobile phones"

# Name, architecture, and the first digits of its weights' SHA-256, from the file's name.
_ARCHITECTURES = """
cpu-30     048f7ba8 2,2,3,3,3:5,5,0,0,5,5,0,0,7,5,7,0,3,5,5,0,7,5,5,0:3,3,0,0,4,3,0,0,4,3,3,0,6,4,4,0,6,6,6,0
cpu-35     a4f4b023 2,3,3,3,3:5,3,0,0,5,5,7,0,5,7,7,0,5,5,7,0,7,5,7,0:3,4,0,0,4,6,3,0,6,4,6,0,6,6,6,0,6,6,6,0
cpu-40     c3d1c578 2,3,4,4,4:5,3,0,0,7,5,7,0,5,5,3,3,5,7,7,7,3,3,3,7:4,4,0,0,4,4,4,0,4,6,6,4,6,4,6,6,6,6,6,4
cpu-45     899d30e2 2,3,4,4,4:7,5,0,0,7,7,7,0,7,5,3,7,7,7,7,7,7,3,3,7:4,6,0,0,6,6,6,0,6,6,6,6,6,6,6,6,6,6,6,6
cpu-50     394eb196 3,4,4,4,4:5,3,7,0,5,7,7,7,7,7,3,7,7,7,7,7,5,7,3,7:4,4,6,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6
gpu-90     990c2f4b 2,2,3,3,4:3,3,0,0,5,3,0,0,5,5,3,0,3,7,3,0,5,3,3,7:3,3,0,0,3,4,0,0,3,3,3,0,4,3,4,0,6,6,6,3
gpu-115    7df721b0 2,3,3,4,4:3,3,0,0,5,3,3,0,5,5,3,0,3,5,5,5,7,7,7,5:3,3,0,0,4,4,4,0,4,3,4,0,6,4,6,4,6,6,6,4
gpu-140    a0855635 2,3,4,4,4:3,3,0,0,7,5,5,0,5,7,5,5,3,5,5,5,7,7,5,5:4,3,0,0,6,4,4,0,4,4,6,6,6,6,6,6,6,6,6,4
gpu-165    74aa92f7 2,4,4,4,4:3,3,0,0,7,5,5,5,7,5,7,5,7,7,7,5,7,7,7,5:3,4,0,0,6,6,6,6,6,6,4,6,6,6,6,6,6,6,6,6
gpu-190    34e54866 3,4,4,4,4:3,3,5,0,7,3,5,7,7,7,5,3,7,5,7,5,7,3,7,3:4,4,6,0,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6
mobile-80  3fff8d1d 2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0
mobile-110 035a56f7 2,3,3,4,4:5,3,0,0,5,3,3,0,3,5,5,0,5,5,5,3,7,5,7,5:3,4,0,0,3,4,4,0,3,3,6,0,4,6,6,6,6,6,6,6
mobile-140 a0855635 2,4,4,4,4:5,3,0,0,5,5,5,3,5,5,5,5,3,5,5,5,7,5,5,5:4,3,0,0,4,4,4,6,6,3,6,3,6,6,4,6,6,6,6,3
mobile-170 ed35c80d 3,4,4,4,4:5,3,7,0,5,5,5,5,5,5,5,5,3,5,5,3,7,5,5,5:4,4,6,0,4,4,6,6,6,4,6,6,6,6,4,6,6,6,6,6
mobile-200 ec1b53bf 4,4,4,4,4:5,5,5,5,5,7,3,5,7,5,5,3,3,5,5,3,5,3,3,5:6,6,6,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6
"""  # noqa: E501

SAME_WEIGHTS = (
    "the published weights of pnag-gpu-140 and pnag-mobile-140 have the same hash in their names; "
    "their architectures differ, so one of the two files is refused"
)


def _network(name: str, digits: str, arch: str) -> Network:
    device, budget = name.split("-")
    key = f"pnag-{name}"
    rows = printed_rows(key)
    top1, top5 = (rows[0].top1, rows[0].top5) if rows else (None, None)
    source = f"PNAG supplement, Table {rows[0].table}" if rows else NO_TABLE
    notes = [row.note for row in rows if row.note]
    if key == "pnag-mobile-200":
        top1, source = 0.805, "PNAG supplement, Section H"
    if budget == "140":
        notes.append(SAME_WEIGHTS)
    return Network(
        key,
        # As the supplement's Section J has it: "Architecture-T-Hardware"
        f"PNAG-{budget}-{'Mobile' if device == 'mobile' else device.upper()}",
        PNAG,
        Ours(arch, 1.2),
        top1=top1,
        top5=top5,
        source=source,
        weights=PublishedFile(
            f"zoo/{key}-{digits}.pt", f"{RELEASE}/{key}-{digits}.pt", Checksum("sha256", digits)
        ),
        weights_by="PNAG",
        note="; ".join(notes),
    )


NETWORKS = tuple(_network(*line.split()) for line in _ARCHITECTURES.strip().splitlines())
