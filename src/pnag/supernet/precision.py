"""In which precision weights are trained, and subnets judged."""

from __future__ import annotations

import torch

from pnag.supernet.settings import Precision

# By accelerate's names.
MIXED: dict[Precision, str] = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def training_precision(device: torch.device | str) -> Precision:
    """What a device trains fastest in; float16 (with scaled losses) on GPUs before Ampere."""
    device = torch.device(device)
    if _multiplies_bfloat16(device):
        return "bfloat16"
    if device.type != "cuda":
        return "float32"
    # Matrix units for float16 came with compute capability 7.
    return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"


def judging_precision(device: torch.device | str, wanted: Precision | None = None) -> Precision:
    """What subnets are judged in: what is wanted, or what the device is fastest in.

    Never float16: maps before their batch norms are measured may exceed what it holds.
    """
    if wanted is not None:
        return "float32" if wanted == "float16" else wanted
    return "bfloat16" if _multiplies_bfloat16(torch.device(device)) else "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether it has instructions for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and later
    known = capabilities() if capabilities else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
