"""The class of an image: python load_litert.py MODEL.tflite PREPROCESSING.json IMAGE."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

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
if isinstance(how.get("batch"), int):  # the file takes so many images at a time: this one, again
    images = images.repeat(how["batch"], 0)
network = Interpreter(model).get_signature_runner()
logits = network(images=images.transpose(0, 2, 3, 1))["logits"]  # it takes channels last
print(how["classes"][int(logits[0].argmax())])
