"""Networks that the paper compares with, built by their own libraries.

What is `Counted` was counted on the built networks (`tests/deploy/test_zoo.py` does it again). The
files of weights are those that timm's `pretrained_cfg` and pytorchcv's `model_metainfos.csv` name:
timm writes the first digits of the SHA-256 into a file's name, pytorchcv publishes the whole SHA-1.
They are these libraries' trainings, or conversions; their accuracies are near the published ones,
not the same.
"""

from __future__ import annotations

from pnag.deploy.zoo.network import COMPARATOR, Counted, Library, Network
from pnag.deploy.zoo.printed import printed_rows
from pnag.downloads import Checksum, PublishedFile

TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights"
TORCHVISION = "https://download.pytorch.org/models"
PYTORCHCV = "https://github.com/osmr/imgclsmob/releases/download"


def _network(
    key: str,
    name: str,
    recipe: Library,
    weights: PublishedFile | None,
    weights_by: str = "",
    resolution: int = 224,
    elsewhere: tuple[float, float | None, str] | None = None,
) -> Network:
    """A comparator with the accuracies that the paper prints, or else those of `elsewhere`."""
    rows = printed_rows(key)
    top1, top5, source = elsewhere or (
        rows[0].top1,
        rows[0].top5,
        f"PNAG supplement, Table {rows[0].table}",
    )
    return Network(
        key,
        name,
        COMPARATOR,
        recipe,
        resolution,
        top1,
        top5,
        source,
        weights,
        weights_by,
        "; ".join(dict.fromkeys(row.note for row in rows if row.note)),
    )


def _timm(name: str, params: int, macs: int, conv_macs: int) -> Library:
    return Library("timm", name, Counted(params, macs, conv_macs))


def _pytorchcv(name: str, params: int, macs: int, conv_macs: int) -> Library:
    return Library("pytorchcv", name, Counted(params, macs, conv_macs))


def _named_by_hash(root: str, name: str) -> PublishedFile:
    """A file whose name ends in the first digits of its SHA-256, as torch.hub has it."""
    digits = name.removesuffix(".pth").rpartition("-")[2]
    return PublishedFile(f"zoo/{name}", f"{root}/{name}", Checksum("sha256", digits))


def _from_pytorchcv(name: str, error: str, release: str, sha1: str) -> PublishedFile:
    file = f"{name}-{error}-{sha1[:8]}.pth"
    return PublishedFile(f"zoo/{file}", f"{PYTORCHCV}/{release}/{file}.zip", Checksum("sha1", sha1))


NETWORKS = (
    _network(
        "mobilenetv2-1.0",
        "MobileNetV2 1.0",
        _timm("mobilenetv2_100", 3_504_872, 300_774_272, 299_494_272),
        _named_by_hash(TIMM, "mobilenetv2_100_ra-b33bc2c4.pth"),
        "timm",
    ),
    _network(
        "mobilenetv2-1.4",
        "MobileNetV2 1.4",
        _timm("mobilenetv2_140", 6_108_776, 582_195_824, 580_403_824),
        _named_by_hash(TIMM, "mobilenetv2_140_ra-21a4e913.pth"),
        "timm",
    ),
    _network(
        "mobilenetv3-large",
        "MobileNetV3-Large",
        _timm("mobilenetv3_large_100", 5_483_032, 216_589_760, 215_309_760),
        _named_by_hash(TIMM, "mobilenetv3_large_100_ra-f55367f5.pth"),
        "timm",
    ),
    _network(
        "mnasnet-a1",
        "MnasNet-A1 1.0",
        _timm("semnasnet_100", 3_887_038, 311_579_072, 310_299_072),
        _named_by_hash(TIMM, "mnasnet_a1-d9418771.pth"),
        "timm",
        elsewhere=(0.752, 0.925, "MnasNet (arXiv:1807.11626), Table 1"),
    ),
    _network(
        "mnasnet-a1-1.4",
        "MnasNet-A1 1.4",
        _timm("semnasnet_140", 6_105_992, 586_317_952, 585_037_952),
        None,
    ),
    _network(
        "fbnet-c",
        "FBNet-C",
        _timm("fbnetc_100", 5_572_200, 384_960_160, 382_976_160),
        _named_by_hash(TIMM, "fbnetc_100-c345b898.pth"),
        "timm",
    ),
    _network(
        "proxylessnas-cpu",
        "ProxylessNAS CPU",
        _pytorchcv("proxylessnas_cpu", 4_361_648, 439_243_864, 437_811_864),
        _from_pytorchcv(
            "proxylessnas_cpu", "0761", "v0.0.304", "fe9572b11899395acbeef9374827dcc04e103ce3"
        ),
        "pytorchcv",
    ),
    _network(
        "proxylessnas-gpu",
        "ProxylessNAS GPU",
        _pytorchcv("proxylessnas_gpu", 7_119_848, 465_260_160, 463_532_160),
        _from_pytorchcv(
            "proxylessnas_gpu", "0745", "v0.0.333", "acca5941c454d896410060434b8f983d2db80727"
        ),
        "pytorchcv",
    ),
    _network(
        "proxylessnas-mobile",
        "ProxylessNAS mobile",
        _pytorchcv("proxylessnas_mobile", 4_080_512, 320_427_584, 319_147_584),
        _from_pytorchcv(
            "proxylessnas_mobile", "0780", "v0.0.304", "639a90c27de088402db76b09e410326795b6fbdd"
        ),
        "pytorchcv",
        elsewhere=(0.746, 0.922, "ProxylessNAS (arXiv:1812.00332), Table 2"),
    ),
    _network(
        "efficientnet-b0",
        "EfficientNet-B0",
        _timm("efficientnet_b0", 5_288_548, 385_814_752, 384_534_752),
        _named_by_hash(TIMM, "efficientnet_b0_ra-3dd342df.pth"),
        "timm",
    ),
    _network(
        "efficientnet-b1",
        "EfficientNet-B1",
        _timm("efficientnet_b1", 7_794_184, 686_802_832, 685_522_832),
        _named_by_hash(TIMM, "efficientnet_b1-533bc792.pth"),
        "timm",
        resolution=240,
    ),
    _network(
        "resnet18",
        "ResNet-18",
        _timm("resnet18", 11_689_512, 1_814_073_344, 1_813_561_344),
        _named_by_hash(TORCHVISION, "resnet18-f37072fd.pth"),
        "torchvision",
    ),
    _network(
        "resnet50",
        "ResNet-50",
        _timm("resnet50", 25_557_032, 4_089_184_256, 4_087_136_256),
        _named_by_hash(TORCHVISION, "resnet50-0676ba61.pth"),
        "torchvision",
    ),
    _network(
        "nasnet-a-mobile",
        "NASNet-A mobile",
        _pytorchcv("nasnet_4a1056", 5_289_978, 568_234_858, 567_178_858),
        _from_pytorchcv(
            "nasnet_4a1056", "0803", "v0.0.495", "44f5ecbe03da2cd21803c555366121e29b207907"
        ),
        "pytorchcv",
    ),
)
