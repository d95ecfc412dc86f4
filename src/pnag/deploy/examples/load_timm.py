"""The class of an image: python load_timm.py MODEL.safetensors PREPROCESSING.json IMAGE."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

model, how = sys.argv[1], json.loads(Path(sys.argv[2]).read_text("utf-8"))
image: Image.Image = Image.open(sys.argv[3])
low, high = how.get("levels") or (0, 65535)  # what is black and white of 16 bits
if high < 65535 and image.mode[:3] == "RGB" and ";16" in str(getattr(image, "tile", "")):
    sys.exit("Pillow drops the lower bits of 16-bit colour: convert it to 8 bits by the levels")
if image.mode[0] == "I":
    grey = (np.asarray(image, np.float32) - low) * (255 / (high - low))
    exif, image = image.getexif(), Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8))
    image.getexif().update(exif)
image = ImageOps.exif_transpose(image)  # upright
white = Image.new("RGBA", image.size, "white")  # under what is transparent
image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
size, side = how["resolution"], min(image.size) * how["resolution"] / how["shorter"]
left, top = (image.width - side) / 2, (image.height - side) / 2  # the middle of the image
box = (left, top, left + side, top + side)
pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box, 2.0))
images = ((pixels / 255 - how["mean"]) / how["std"]).astype(np.float32).transpose(2, 0, 1)[None]
config = json.loads(Path(model).with_suffix(".json").read_text("utf-8"))
weights = load_file(model)
if "arch_def" in config:
    network: Any = MobileNetV3(
        decode_arch_def(config["arch_def"]),
        num_classes=config["num_classes"],
        stem_size=config["stem_size"],
        num_features=config["num_features"],
        head_bias=False,
        act_layer=nn.Hardswish,
        se_layer=partial(
            SqueezeExcite,
            gate_layer="hard_sigmoid",
            force_act_layer=nn.ReLU,
            rd_round_fn=round_channels,
        ),
        round_chs_fn=partial(round_channels, multiplier=config.get("width_mult", 1.0)),
    )
    network.load_state_dict(weights)
else:  # a network of timm that has lost layers, channels and rims of kernels
    network = timm.create_model(config["timm"], num_classes=config["num_classes"])
    kept = {tuple(name.split(".")[1:3]) for name in weights if name.startswith("blocks.")}
    for number, stage in enumerate(network.blocks):
        left = [b for place, b in enumerate(stage) if (str(number), str(place)) in kept]
        network.blocks[number] = nn.Sequential(*left)
    for name, module in network.named_modules():
        for own in module._parameters:
            if module._parameters[own] is not None:
                module._parameters[own] = nn.Parameter(weights[f"{name}.{own}"])
        for own in module._buffers:
            module._buffers[own] = weights[f"{name}.{own}"]
        if isinstance(module, nn.Conv2d):
            kernel = module.weight.shape[-1]
            module.kernel_size = (kernel, kernel)
            if module.padding != (0, 0):
                module.padding = (kernel // 2, kernel // 2)
            if module.groups > 1:
                module.groups = len(module.weight)
logits = network.eval()(torch.from_numpy(images)).detach()
print(how["classes"][int(logits.argmax())])
