"""In which precision weights are trained, and subnets judged."""

from __future__ import annotations

import torch

from pnag.training.settings import Precision

# By accelerate's names.
MIXED: dict[Precision, str] = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def training_precision(device: torch.device | str) -> Precision:
    """What a device trains fastest in; float16 (with scaled losses) on GPUs before Ampere.

    On the CPU bfloat16 training took 2.2 times as long as float32 (AMD EPYC with avx512_bf16).
    """
    device = torch.device(device)
    if device.type != "cuda":
        return "float32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    # Matrix units for float16 came with compute capability 7.
    return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"


def judging_precision(device: torch.device | str, wanted: Precision | None = None) -> Precision:
    """What subnets are judged in: what is wanted, or what the device is fastest in.

    Never float16: maps before their batch norms are measured may exceed what it holds.
    """
    if wanted is not None:
        return "float32" if wanted == "float16" else wanted
    if torch.device(device).type == "cuda":
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if bfloat16 else "float32"
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and later
    known = capabilities() if capabilities else {}
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"
