"""The class of an image: python load_timm.py MODEL.safetensors PREPROCESSING.json IMAGE."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3

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
network = MobileNetV3(
    decode_arch_def(config["arch_def"]),
    num_classes=config["num_classes"],
    stem_size=config["stem_size"],
    num_features=config["num_features"],
    head_bias=False,
    act_layer=torch.nn.Hardswish,
    se_layer=partial(
        SqueezeExcite,
        gate_layer="hard_sigmoid",
        force_act_layer=torch.nn.ReLU,
        rd_round_fn=round_channels,
    ),
    round_chs_fn=partial(round_channels, multiplier=config["width_mult"]),
).eval()
network.load_state_dict(load_file(model))
logits = network(torch.from_numpy(images)).detach()
print(how["classes"][int(logits.argmax())])
