"""The zoo: what it says of networks, that they build, that only the right weights are loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner, Result

from pnag import downloads
from pnag.commands.main import app
from pnag.cost.proof import Timed
from pnag.cost.runtimes import make_runtime
from pnag.cost.runtimes.adb import PhoneGoneError
from pnag.cost.timing import Call, Drift
from pnag.deploy.zoo import KNOWN_NETWORKS, PRINTED, TIMM_NETWORKS, ZOO, find, select
from pnag.deploy.zoo.measure import ZooTimes, measure_zoo
from pnag.deploy.zoo.network import COMPARATOR, Library, Network, Ours
from pnag.deploy.zoo.weights import load_pretrained
from pnag.downloads import Checksum, PublishedFile, fetch
from pnag.errors import PnagError

FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts"
OURS = [n for n in ZOO.values() if isinstance(n.recipe, Ours)]
# timm's of today are in `test_timm_networks.py`
LIBRARY = [n for n in ZOO.values() if n.family == COMPARATOR]
# Printed numbers that are not those of the network; the rows' notes say so.
KNOWN_DEVIATIONS = {("pnag-gpu-90", "params"), ("mobilenetv2-1.4", "params")}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})


# What is printed and published


def test_every_row_of_both_tables_is_there() -> None:
    assert [sum(row.table == table for row in PRINTED) for table in (1, 2)] == [26, 26]
    assert len({(row.table, row.name) for row in PRINTED}) == 52
    cannot = {row.name for row in PRINTED if row.key is None and "-MO-" not in row.name}
    assert {"SGNAS-B", "NAGO", "PONAS", "PONAS-C", "ENAS"} == {
        name for name in cannot if not name.startswith("EVO-")
    }
    for row in PRINTED:
        assert row.note if row.key is None else row.key in ZOO
        assert 0.69 < row.top1 < 0.81  # type: ignore[operator]
    (row,) = (r for r in PRINTED if r.name == "PNAG-35")
    assert (row.latency_ms, row.top1, row.top5) == (34.5, 0.794, 0.945)
    assert (row.params_m, row.macs_m, row.search_gpu_days) == (8.4, 431, "0.7")


def test_counts_are_the_printed_ones() -> None:
    for row in PRINTED:
        if row.key is None:
            continue
        counts = ZOO[row.key].counts()
        ours = row.key.startswith("pnag-")
        # Ours to the printed digit, of convolutions only; comparators are printed as their authors
        # count, who differ in what they count.
        macs = counts.conv_macs if ours else counts.macs
        assert row.params_m is not None and row.macs_m is not None
        params_off = abs(counts.params / 1e6 - row.params_m)
        macs_off = abs(macs / 1e6 - row.macs_m)
        right = {
            "params": params_off <= (0.05 if ours else 0.04 * row.params_m),
            "macs": macs_off <= (0.5 if ours else 0.03 * row.macs_m),
        }
        wrong = {(row.key, what) for what, holds in right.items() if not holds}
        assert wrong == {pair for pair in KNOWN_DEVIATIONS if pair[0] == row.key}, row
        assert not wrong or row.note


def test_all_that_was_asked_for_is_there() -> None:
    assert len(select(["pnag"])) == 15 and len(select(["ofa"])) == 34
    assert len(ZOO) - len(TIMM_NETWORKS) == 63
    assert len({n.name for n in ZOO.values()}) == len(ZOO)
    for network in ZOO.values():
        phone = network.key.startswith("pnag-mobile") and network.key != "pnag-mobile-200"
        assert (network.top1 is None) == phone
        assert network.source
    assert find("ofa-note10-30").top1 == 0.784 and find("ofa-note10-30").resolution == 224
    assert find("ofa-lg-g8-24").name == "OFA LG-G8 24 ms"
    assert find("ofa-flops-595").name == "OFA 595M MAdds"
    assert [n.name for n in KNOWN_NETWORKS] == [
        "MobileNetV2 1.0", "MobileNetV2 1.4", "MobileNetV3-Large", "EfficientNet-B0", "ResNet-18"
    ]  # fmt: skip
    assert KNOWN_NETWORKS[0].top1 == 0.72


@pytest.mark.skipif(not FACTS.exists(), reason=f"no published figures at {FACTS}")
def test_architectures_are_the_published_ones() -> None:
    published = json.loads((FACTS / "pnag_published_architectures.json").read_text())
    for key, arch in published.items():
        assert ZOO[key].recipe == Ours(arch, 1.2)
    specialised = json.loads((FACTS / "ofa_specialized_architectures.json").read_text())
    of_name = {n.weights.name.split("/")[1]: n for n in select(["ofa"]) if n.weights}
    for s in specialised:
        network = of_name.pop(s["name"])
        assert network.recipe == Ours(s["arch"], s["width_mult"])
        assert network.resolution == s["resolution"]
    assert not of_name


# Building


def counted(network: Network) -> tuple[int, int, int]:
    """Parameters, MAdds of everything and of convolutions, of the built network."""
    with torch.device("meta"):
        module = network.build().eval()
        images = torch.zeros(1, 3, network.resolution, network.resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert module(images).shape == (1, 1000)
    flops = {str(name): n for name, n in counter.get_flop_counts()["Global"].items()}
    params = sum(p.numel() for p in module.parameters())
    return params, sum(flops.values()) // 2, flops["aten.convolution"] // 2


@pytest.mark.parametrize("network", LIBRARY, ids=lambda n: n.key)
def test_libraries_build_what_was_counted(network: Network) -> None:
    assert isinstance(network.recipe, Library)
    pytest.importorskip(network.recipe.maker, reason="the extra `zoo` is not installed")
    assert counted(network) == dataclasses.astuple(network.counts())


def test_ours_build() -> None:
    for network in OURS:
        with torch.device("meta"):
            module = network.build()
        assert sum(p.numel() for p in module.parameters()) == network.counts().params
    for key in ("pnag-gpu-90", "ofa-note10-64"):
        assert counted(find(key)) == dataclasses.astuple(find(key).counts())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pytorchcv.model_provider", None)
    with pytest.raises(PnagError, match=r'needs pytorchcv.*pip install "pnag\[zoo\]"'):
        find("nasnet-a-mobile").build()


# Fetching and verifying


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no internet."""
    real = downloads.urllib.request.urlopen

    def urlopen(url: str, timeout: float) -> Any:
        if url.startswith("file:"):
            return real(url, timeout=timeout)
        raise OSError("Network is unreachable")

    monkeypatch.setattr(downloads.urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PNAG_OFFLINE", raising=False)
    return tmp_path / "cache"


def sha256(data: bytes, digits: int = 8) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest()[:digits])


def test_files_are_verified_fetched_or_placed(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "there"
    source.write_bytes(b"weights")
    good = PublishedFile("zoo/a", source.as_uri(), sha256(b"weights"))
    assert fetch(good).read_bytes() == b"weights"
    source.unlink()
    assert fetch(good) == cache / "zoo" / "a"  # not fetched again
    (cache / "zoo" / "a").write_bytes(b"weightz")
    with pytest.raises(PnagError, match=r"zoo/a has sha256 .*, the published file has .*put the"):
        fetch(good)
    source.write_bytes(b"other")
    with pytest.raises(PnagError, match=r"what came from .*put it at .*/zoo/b"):
        fetch(dataclasses.replace(good, name="zoo/b"))
    assert not (cache / "zoo" / "b").exists()


def test_archives_are_unpacked_before_they_are_verified(cache: Path, tmp_path: Path) -> None:
    source = tmp_path / "weights.pth.zip"
    digits = hashlib.sha1(b"weights").hexdigest()
    file = PublishedFile("zoo/weights.pth", source.as_uri(), Checksum("sha1", digits))
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("weights.pth", b"weights")
    assert fetch(file).read_bytes() == b"weights"
    source.write_bytes(b"<html>")
    with pytest.raises(PnagError, match=r"not an archive of one file .*unpack it and put it at"):
        fetch(dataclasses.replace(file, name="zoo/other.pth"))


def test_offline_it_says_what_to_fetch_and_where_to_put_it(cache: Path) -> None:
    done = call("zoo", "fetch", "resnet18")
    assert done.exit_code == 2
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert f"cannot fetch {url} (Network is unreachable)" in done.output
    assert f"put it at {cache}/zoo/resnet18-f37072fd.pth" in done.output
    done = call("zoo", "fetch", "mnasnet-a1-1.4")
    assert done.exit_code == 2 and "no published weights for mnasnet-a1-1.4" in done.output


def test_files_of_weights_are_those_that_the_libraries_name() -> None:
    for network in LIBRARY:
        assert isinstance(network.recipe, Library)
        if network.weights is None:
            continue
        file = network.weights.name.removeprefix("zoo/")
        if network.recipe.maker == "timm":
            tags = timm.list_models(f"{network.recipe.name}.*", pretrained=True)
            urls = [timm.models.get_pretrained_cfg(tag).url or "" for tag in tags]
            assert any(url.endswith(f"/{file}") for url in urls), network.key
        else:
            store = pytest.importorskip("pytorchcv.models.common.model_store")
            _, error, sha1, release = store.get_model_metainfo(network.recipe.name)
            assert file == f"{network.recipe.name}-{error}-{sha1[:8]}.pth"
            assert network.weights.checksum == Checksum("sha1", sha1)
            assert f"/{release}/" in network.weights.url


# Weights of our own architectures, spelled as they are published


def published_spelling(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under Once-for-All's names of a specialised network, in its order."""
    inside = {
        "conv_pw": "inverted_bottleneck.conv", "bn1": "inverted_bottleneck.bn",
        "conv_dw": "depth_conv.conv", "bn2": "depth_conv.bn",
        "se.conv_reduce": "depth_conv.se.fc.reduce", "se.conv_expand": "depth_conv.se.fc.expand",
        "conv_pwl": "point_linear.conv", "bn3": "point_linear.bn",
    }  # fmt: skip
    separable = {
        "conv_dw": "depth_conv.conv", "bn1": "depth_conv.bn",
        "conv_pw": "point_linear.conv", "bn2": "point_linear.bn",
    }  # fmt: skip
    depths = [sum(f"blocks.{u}.{i}.conv_dw.weight" in own for i in range(4)) for u in range(6)]
    names = [("conv_stem", "first_conv.conv"), ("bn1", "first_conv.bn")]
    for unit, depth in enumerate(depths):
        for layer in range(depth):
            block = f"blocks.{sum(depths[:unit]) + layer}.mobile_inverted_conv"
            for part, published in (inside if unit else separable).items():
                names.append((f"blocks.{unit}.{layer}.{part}", f"{block}.{published}"))
    names += [("blocks.6.0.conv", "final_expand_layer.conv"),
              ("blocks.6.0.bn1", "final_expand_layer.bn"),
              ("conv_head", "feature_mix_layer.conv"),
              ("classifier", "classifier.linear")]  # fmt: skip
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    renamed = {
        f"{published}.{part}": own[f"{name}.{part}"]
        for name, published in names
        for part in parts
        if f"{name}.{part}" in own
    }
    assert len(renamed) == len(own)
    return renamed


def trained(network: Network, seed: int) -> nn.Module:
    """With batch norms that are not those of a fresh network."""
    torch.manual_seed(seed)
    module = network.build().eval()
    for name, value in module.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return module


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


SMALL = find("ofa-note10-8")


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, dict[str, Tensor]]:
    module = trained(SMALL, 1)
    return module, published_spelling(module.state_dict())


def placed(content: object) -> Path:
    assert SMALL.weights is not None
    SMALL.weights.path.parent.mkdir(parents=True, exist_ok=True)
    SMALL.weights.path.write_bytes(saved(content))
    return SMALL.weights.path


def test_published_weights_reach_the_exported_network(
    cache: Path, tmp_path: Path, small: tuple[nn.Module, dict[str, Tensor]]
) -> None:
    module, weights = small
    path = placed({"state_dict": weights})
    done = call("zoo", "fetch", SMALL.key)
    assert done.exit_code == 0, done.output
    assert f"{path}: verified (no checksum is published" in done.output
    out = tmp_path / "small.onnx"
    done = call("zoo", "export", SMALL.key, "--pretrained", "--out", out)
    assert done.exit_code == 0 and "weights by Once-for-All" in done.output
    images = torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160)
    (logits,) = onnxruntime.InferenceSession(out).run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected = module(images).numpy()
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_weights_of_another_network_are_refused(
    cache: Path, small: tuple[nn.Module, dict[str, Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    weights = small[1]
    names = list(weights)
    kernel = next(name for name in names if "blocks.2." in name and "depth_conv.conv" in name)
    renamed = {n.replace("running_mean", "running_std"): v for n, v in weights.items()}
    with_nan = weights | {names[0]: torch.full_like(weights[names[0]], torch.nan)}
    cases: list[tuple[object, str]] = [
        (dict(list(weights.items())[:-1]), r"holds \d+ weights, this network has"),
        (weights | {kernel: torch.zeros(96, 1, 7, 7)}, rf"{kernel} .*another network"),
        (renamed, "running_std .*another network"),
        (with_nan, "values that are not finite"),
        ({"state_dict": [1]}, "something other than weights"),
        ({"state_dict": Evil()}, "neither safetensors nor weights"),
    ]
    for content, words in cases:
        path = placed(content)
        with pytest.raises(PnagError, match=rf"{path}, for {SMALL.key}: .*{words}.*put the file"):
            load_pretrained(SMALL)
    assert "code ran" not in capsys.readouterr().out


def test_a_librarys_weights_are_loaded_by_name(cache: Path) -> None:
    network = find("mobilenetv2-1.0")
    module = trained(network, 2)
    data = saved(module.state_dict())
    file = PublishedFile("zoo/mine.pth", "http://nowhere.invalid/mine.pth", sha256(data))
    network = dataclasses.replace(network, weights=file)
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(data)
    loaded = load_pretrained(network).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in module.state_dict().items())
    weights = module.state_dict()
    weights.pop("classifier.bias")
    data = saved(weights)
    file.path.write_bytes(data)
    with pytest.raises(PnagError, match="has sha256"):
        load_pretrained(network)
    file = dataclasses.replace(file, checksum=sha256(data))
    with pytest.raises(PnagError, match=r"Missing key.*classifier\.bias"):
        load_pretrained(dataclasses.replace(network, weights=file))


# Commands


def test_the_list_fits_80_columns_and_tells_the_rest_as_json() -> None:
    done = call("zoo")
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80 and "…" not in done.output
    assert all(network.key in done.output for network in ZOO.values())
    listed = json.loads(call("zoo", "--json").output)
    assert [entry["key"] for entry in listed] == list(ZOO)
    b1 = next(entry for entry in listed if entry["key"] == "efficientnet-b1")
    assert (b1["params"], b1["resolution"], b1["top1"]) == (7_794_184, 240, 0.792)
    assert b1["printed"][0]["latency_ms"] == 192.7 and "240" in b1["note"]


def test_show_tells_source_and_remarks() -> None:
    done = call("zoo", "show", "pnag-gpu-90")
    assert "PNAG supplement, Table 2" in done.output and "which has 7.7M" in done.output
    done = call("zoo", "show", "mobilnetv2-1.0")
    assert done.exit_code == 2 and "perhaps mobilenetv2-1.0" in done.output


def test_measuring_uses_each_networks_own_size() -> None:
    shapes = []

    class Still:
        batch = 2

        def identity(self) -> dict[str, str | int]:
            return {}

        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Callable[[], Call]:
            shapes.append(input_shape)
            return lambda: lambda runs: [1.0 if input_shape[2] < 200 else 2.0] * runs

    told: list[tuple[str, int, int]] = []
    times = measure_zoo(
        Still(), [find("ofa-note10-8"), find("resnet18")], rounds=4,
        progress=lambda *what: told.append(what),
    )  # fmt: skip
    assert shapes == [(2, 3, 160, 160), (2, 3, 224, 224), (2, 3, 224, 224)]
    assert times.networks["ofa-note10-8"].milliseconds == pytest.approx(1)
    assert times.networks["resnet18"].milliseconds == pytest.approx(2)
    assert told[-1] == ("turns", 8, 8)


class Picky:
    """Takes no images of 140 pixels, and finds out that it takes none of 160 when it runs."""

    batch = 1

    def identity(self) -> dict[str, str | int]:
        return {"device": "d", "runtime": "picky", "version": "1"}

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Callable[[], Call]:
        if input_shape[2] == 140:
            raise NotImplementedError("no operator\nfor this")

        def run(runs: int) -> list[float]:
            if input_shape[2] == 160:
                raise RuntimeError("out of registers")
            return [1.0] * runs

        return lambda: run


def test_networks_that_a_runtime_does_not_take_are_left_out() -> None:
    some = [find(key) for key in ("ofa-note8-22", "ofa-note10-8", "ofa-lg-g8-8")]
    every = {network.key for network in some}
    told: list[tuple[str, int, int]] = []
    times = measure_zoo(
        Picky(), some, may_leave_out=every, rounds=3, progress=lambda *what: told.append(what)
    )
    assert set(times.networks) == {"ofa-lg-g8-8"} and told[-1] == ("turns", 3, 3)
    assert times.left_out == {
        "ofa-note8-22": "no operator for this", "ofa-note10-8": "out of registers"
    }  # fmt: skip
    for named, why in times.left_out.items():
        with pytest.raises(PnagError, match=rf"{named} does not run on this runtime \({why}\)"):
            measure_zoo(Picky(), some, may_leave_out=every - {named}, rounds=3)
    with pytest.raises(PnagError, match=r"none of 2 networks runs .* ofa-note8-22 for this reason"):
        measure_zoo(Picky(), some[:2], may_leave_out=every, rounds=3)


def test_a_phone_that_is_gone_is_not_a_network_that_does_not_run() -> None:
    class Gone(Picky):
        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Callable[[], Call]:
            raise PhoneGoneError("the phone is gone")

    with pytest.raises(PhoneGoneError):
        measure_zoo(Gone(), [find("ofa-note10-8")], may_leave_out={"ofa-note10-8"})


def test_measure_names_what_it_leaves_out_and_what_it_must_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [find(key) for key in ("ofa-note8-22", "ofa-note10-8", "ofa-lg-g8-8")]
    monkeypatch.setattr("pnag.deploy.zoo.select", lambda names: some)
    monkeypatch.setattr("pnag.cost.runtimes.make_runtime", lambda *_: Picky())
    command = ["zoo", "measure", "--rounds", "3", "--out", tmp_path / "t.json", "--only"]
    done = call(*command, "ofa,ofa-lg-g8-8")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "ofa-note10-8 does not run on this runtime and is not timed: out of registers" in said
    result = json.loads((tmp_path / "t.json").read_text())
    assert set(result["networks"]) == {"ofa-lg-g8-8"}
    assert set(result["left_out"]) == {"ofa-note8-22", "ofa-note10-8"}
    done = call(*command, "ofa,ofa-note10-8")
    assert done.exit_code == 2 and "error: ofa-note10-8 does not run" in done.output


def test_measure_writes_what_it_prints(tmp_path: Path) -> None:
    out = tmp_path / "times.json"
    done = call("zoo", "measure", "--only", "ofa-note10-8,ofa-note8-22", "--rounds", "3", "--out",
                out, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert json.loads(done.stdout) == result
    assert result["identity"] == make_runtime("onnxruntime").identity()
    assert set(result["networks"]) == {"ofa-note10-8", "ofa-note8-22"}
    assert all(n["measured_ms"] > 0 and n["top1"] > 0.7 for n in result["networks"].values())


def test_measure_looks_whether_it_can_write_and_prints_what_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(_: object, networks: list[Network], **__: object) -> ZooTimes:
        measured.extend(network.key for network in networks)
        (tmp_path / "times.json").mkdir()  # now it cannot be written any more
        return ZooTimes({key: Timed(1.25, 0.01) for key in measured}, Drift([1.25]))

    monkeypatch.setattr("pnag.deploy.zoo.measure.measure_zoo", measure)
    command = ["zoo", "measure", "--only", "ofa-note10-8", "--out"]
    for out in (tmp_path, Path("/proc/none/times.json")):
        done = call(*command, out)
        assert done.exit_code == 2 and "cannot write" in done.output and not measured
    for options in ([], ["--json"]):
        done = call(*command, tmp_path / "times.json", *options)
        assert measured and done.exit_code == 2 and "cannot write" in done.output
        assert "1.25" in done.stdout
        (tmp_path / "times.json").rmdir()


def test_measure_names_mistakes() -> None:
    for arguments, words in (
        (["--only", "resnet81"], "no network 'resnet81'; perhaps resnet18"),
        (["--only", "xyz"], "`pnag zoo` lists them"),
        (["--runtime", "abacus", "--only", "resnet18"], "no runtime 'abacus'"),
    ):
        done = call("zoo", "measure", *arguments)
        assert done.exit_code == 2 and words in done.output


def test_families_leave_out_what_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Network] = []
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pytorchcv" else find_spec(name)
    )

    def measured(_: object, networks: list[Network], **__: object) -> None:
        asked.extend(networks)
        raise PnagError("enough")

    monkeypatch.setattr("pnag.deploy.zoo.measure.measure_zoo", measured)
    for arguments, count in (([], len(ZOO)), (["--only", "comparator,ofa-note10-8"], 15)):
        asked.clear()
        done = call("zoo", "measure", *arguments)
        assert "without those of pytorchcv" in done.output and "enough" in done.output
        assert len(asked) == count - 4
    asked.clear()
    done = call("zoo", "measure", "--only", "comparator,nasnet-a-mobile")
    assert done.exit_code == 2 and not asked  # nothing was exported for nothing
    assert "nasnet-a-mobile cannot be built" in done.output and "pnag[zoo]" in done.output
