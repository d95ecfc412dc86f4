"""The class of an image: python load_torchscript.py MODEL.pt PREPROCESSING.json IMAGE."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

model, how = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
image = ImageOps.exif_transpose(Image.open(sys.argv[3]))  # upright
image = image.point(lambda v: v / 256).convert("L") if image.mode[0] == "I" else image  # 16 bits
white = Image.new("RGBA", image.size, "white")  # under what is transparent
image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
size, side = how["resolution"], min(image.size) * how["resolution"] / how["shorter"]
left, top = (image.width - side) / 2, (image.height - side) / 2  # the middle of the image
box = (left, top, left + side, top + side)
pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box, 2.0))
images = ((pixels / 255 - how["mean"]) / how["std"]).astype(np.float32).transpose(2, 0, 1)[None]
logits = torch.jit.load(model)(torch.from_numpy(images)).detach()
print(how["classes"][int(logits.argmax())])
