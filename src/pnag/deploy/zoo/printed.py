"""Tables 1 and 2 of the paper's supplement, row by row, as printed.

Columns: architecture | latency (ms) | top-1 (%) | top-5 (%) | params (M) | MAdds (M) | search cost
(GPU days) | key in the zoo | note. "-" is what the paper does not report. The note says why a row
without a key cannot be rebuilt, or where a printed number is not the network's.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURE_NOT_PUBLISHED = (
    "its architecture is not published; `pnag search --method {}` finds one"
)
NO_IMPLEMENTATION = "neither timm nor pytorchcv has it"
AT_260 = "the printed MAdds are those at 260x260, the network's own size, not at 224x224"
AT_240 = "the printed MAdds are those at 240x240, the network's own size, not at 224x224"
WIDE_V2 = "its authors publish 6.9M params; the layout that they describe has 6.1M"

CPU = "Intel Core i5-7400, batch 1"
GPU = "NVIDIA TITAN X, batch 64"

_CPU_ROWS = f"""
MobileNetV2 (1.0x)       | 28.6  | 72.0 | -    | 3.4  | 300  | -     | mobilenetv2-1.0   |
MobileNetV3-Large (1.0x) | 22.6  | 75.2 | -    | 5.4  | 219  | -     | mobilenetv3-large |
FBNet-C                  | 25.7  | 74.9 | -    | 5.5  | 375  | 9.0   | fbnet-c           |
SGNAS-B                  | -     | 76.8 | -    | -    | 326  | 0.3   | -                 | {NO_IMPLEMENTATION}
EVO-30                   | 29.1  | 77.9 | 93.8 | 7.9  | 385  | 0.7   | -                 | evo
NAS-MO-30                | 29.7  | 77.5 | 93.7 | 6.6  | 353  | 0.7   | -                 | nas-mo
PNAG-30                  | 29.7  | 78.3 | 94.1 | 7.6  | 335  | 0.7   | pnag-cpu-30       |
ProxylessNAS-CPU         | 34.6  | 75.3 | -    | 4.4  | 438  | 8.3   | proxylessnas-cpu  |
MnasNet-A1 (1.4x)        | 34.6  | 77.2 | 93.5 | 6.1  | 592  | ~3792 | mnasnet-a1-1.4    |
EVO-35                   | 34.5  | 78.5 | 94.3 | 8.2  | 354  | 0.7   | -                 | evo
NAS-MO-35                | 34.7  | 78.3 | 94.0 | 7.9  | 478  | 0.7   | -                 | nas-mo
PNAG-35                  | 34.5  | 79.4 | 94.5 | 8.4  | 431  | 0.7   | pnag-cpu-35       |
ResNet-18                | 38.6  | 69.8 | 90.1 | 11.7 | 1814 | -     | resnet18          |
EfficientNet B0          | 39.1  | 77.3 | 93.5 | 5.3  | 390  | -     | efficientnet-b0   |
EVO-40                   | 36.3  | 78.8 | 94.6 | 8.4  | 388  | 0.7   | -                 | evo
NAS-MO-40                | 39.3  | 78.6 | 94.3 | 8.3  | 491  | 0.7   | -                 | nas-mo
PNAG-40                  | 39.6  | 79.8 | 94.9 | 9.4  | 502  | 0.7   | pnag-cpu-40       |
MobileNetV2 (1.4x)       | 42.6  | 74.7 | -    | 6.9  | 585  | -     | mobilenetv2-1.4   | {WIDE_V2}
EVO-45                   | 43.2  | 79.1 | 94.6 | 9.1  | 481  | 51.7  | -                 | evo
NAS-MO-45                | 43.7  | 78.8 | 94.4 | 9.3  | 626  | 0.7   | -                 | nas-mo
PNAG-45                  | 44.7  | 80.2 | 95.0 | 10.4 | 620  | 0.7   | pnag-cpu-45       |
PONAS-C                  | 52.2  | 75.2 | -    | 5.6  | 376  | 8.8   | -                 | {NO_IMPLEMENTATION}
OFA*                     | 53.7  | 80.2 | 95.1 | 9.1  | 743  | 51.7  | ofa-note10-64     | {AT_260}
EVO-50                   | 47.4  | 79.3 | 94.7 | 9.1  | 511  | 0.7   | -                 | evo
NAS-MO-50                | 46.7  | 78.9 | 94.4 | 9.1  | 632  | 0.7   | -                 | nas-mo
PNAG-50                  | 48.9  | 80.5 | 95.1 | 10.5 | 682  | 0.7   | pnag-cpu-50       |
"""  # noqa: E501

_GPU_ROWS = f"""
ProxylessNAS-GPU         | 84.7  | 75.1 | -    | 7.1  | 463  | 8.3   | proxylessnas-gpu  |
MobileNetV2 (1.0x)       | 71.6  | 72.0 | -    | 3.4  | 300  | -     | mobilenetv2-1.0   |
NAGO                     | -     | 76.8 | 93.4 | 5.7  | -    | 20.0  | -                 | {NO_IMPLEMENTATION}
EVO-90                   | 88.9  | 77.3 | 93.1 | 5.9  | 332  | 0.7   | -                 | evo
NAS-MO-90                | 89.8  | 75.4 | 92.4 | 4.9  | 266  | 0.7   | -                 | nas-mo
PNAG-90                  | 86.9  | 78.3 | 94.0 | 5.7  | 310  | 0.7   | pnag-gpu-90       | the printed 5.7M params are not those of its architecture (Figure H), which has 7.7M; its MAdds are
MnasNet-A1 (1.4x)        | 112.9 | 77.2 | 93.5 | 6.1  | 592  | ~3792 | mnasnet-a1-1.4    |
EfficientNet B0          | 115.5 | 77.3 | 93.5 | 5.3  | 390  | -     | efficientnet-b0   |
ENAS                     | 110.8 | 73.8 | 91.7 | 5.6  | 607  | 0.5   | -                 | {NO_IMPLEMENTATION}
EVO-115                  | 105.4 | 78.4 | 94.1 | 8.4  | 388  | 51.7  | -                 | evo
NAS-MO-115               | 111.2 | 78.1 | 94.0 | 8.8  | 431  | 0.7   | -                 | nas-mo
PNAG-115                 | 111.2 | 79.3 | 94.6 | 8.9  | 411  | 0.7   | pnag-gpu-115      |
EVO-140                  | 135.7 | 78.9 | 94.4 | 9.1  | 481  | 0.7   | -                 | evo
NAS-MO-140               | 137.2 | 78.4 | 94.1 | 8.8  | 470  | 0.7   | -                 | nas-mo
PNAG-140                 | 138.9 | 79.7 | 94.9 | 9.7  | 510  | 0.7   | pnag-gpu-140      |
ResNet-50                | 159.8 | 76.2 | 92.9 | 25.6 | 4087 | -     | resnet50          |
EVO-165                  | 164.1 | 79.1 | 94.5 | 10.7 | 597  | 51.7  | -                 | evo
NAS-MO-165               | 162.6 | 78.8 | 94.4 | 10.5 | 583  | 0.7   | -                 | nas-mo
PNAG-165                 | 162.7 | 80.3 | 95.0 | 10.5 | 582  | 0.7   | pnag-gpu-165      |
NASNet-A                 | 162.3 | 74.0 | 91.6 | 5.3  | 564  | ~3    | nasnet-a-mobile   |
PONAS                    | 182.4 | 75.2 | -    | 5.6  | 376  | 8.8   | -                 | {NO_IMPLEMENTATION}
EfficientNet B1          | 192.7 | 79.2 | 94.5 | 7.8  | 700  | -     | efficientnet-b1   | {AT_240}
OFA*                     | 204.3 | 80.2 | 95.1 | 9.1  | 743  | 51.7  | ofa-note10-64     | {AT_260}
EVO-190                  | 188.1 | 79.5 | 94.8 | 11.3 | 687  | 0.7   | -                 | evo
NAS-MO-190               | 183.2 | 78.8 | 94.5 | 10.7 | 652  | 0.7   | -                 | nas-mo
PNAG-190                 | 185.5 | 80.4 | 95.0 | 10.4 | 640  | 0.7   | pnag-gpu-190      |
"""  # noqa: E501


@dataclass(frozen=True)
class PrintedRow:
    """A row as the paper prints it; None where it prints "-".

    Attributes:
        table: 1 (CPU) or 2 (GPU). name: of the architecture.
        latency_ms: on the table's device.
        top1, top5: ImageNet, fractions.
        params_m, macs_m: millions.
        search_gpu_days: text, because it may be "~3792".
        key: of the zoo's network; None if the row cannot be rebuilt.
        note: why it cannot be rebuilt, or which printed number is not the network's.
    """

    table: int
    name: str
    latency_ms: float | None
    top1: float | None
    top5: float | None
    params_m: float | None
    macs_m: float | None
    search_gpu_days: str | None
    key: str | None
    note: str


def _rows(table: int, text: str) -> tuple[PrintedRow, ...]:
    rows = []
    for line in text.strip().splitlines():
        name, *cells, days, key, note = (cell.strip() for cell in line.split("|"))
        latency, top1, top5, params, macs = (None if c == "-" else float(c) for c in cells)
        rows.append(
            PrintedRow(
                table,
                name,
                latency,
                None if top1 is None else round(top1 / 100, 4),
                None if top5 is None else round(top5 / 100, 4),
                params,
                macs,
                None if days == "-" else days,
                None if key == "-" else key,
                ARCHITECTURE_NOT_PUBLISHED.format(note) if note in ("evo", "nas-mo") else note,
            )
        )
    return tuple(rows)


TABLES = {1: CPU, 2: GPU}
"""The device of each table."""
PRINTED = _rows(1, _CPU_ROWS) + _rows(2, _GPU_ROWS)


def printed_rows(key: str) -> list[PrintedRow]:
    """The rows of a network of the zoo."""
    return [row for row in PRINTED if row.key == key]
