"""Checkpoints from files and from the two published ones (a server of our own stands in)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import astuple, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import pnag
from pnag.downloads import Checksum, PublishedFile, git_blob_id
from pnag.errors import PnagError
from pnag.families import load_checkpoint, load_published
from pnag.families.checkpoints import PUBLISHED

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)


def small_supernet(seed: int = 0) -> pnag.Supernet:
    torch.manual_seed(seed)
    return pnag.Supernet(0.1, 3).eval()


def saved(supernet: pnag.Supernet, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    content = {"state_dict": supernet.state_dict()}
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["safetensors", "pt", "legacy"])
def test_files_load(tmp_path: Path, kind: str) -> None:
    supernet = small_supernet()
    path = tmp_path / "weights"  # the content tells, not the name
    if kind == "safetensors":
        save_file(supernet.state_dict(), path)
    else:
        path.write_bytes(saved(supernet, legacy=kind == "legacy"))
    loaded = load_checkpoint(str(path))
    assert not loaded.training and (loaded.width_mult, loaded.num_classes) == (0.1, 3)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), supernet(IMAGES))
    path.unlink()
    loaded.train()(IMAGES).sum().backward()
    assert all(p.grad is not None for p in loaded.first_conv.parameters())


def test_half_precision_loads_as_float32(tmp_path: Path) -> None:
    save_file(small_supernet().half().state_dict(), tmp_path / "half")
    loaded = load_checkpoint(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_damaged_files_are_refused_in_clear_words(tmp_path: Path) -> None:
    supernet = small_supernet()
    save_file(supernet.state_dict(), tmp_path / "whole")
    safe = (tmp_path / "whole").read_bytes()
    new, legacy = saved(supernet), saved(supernet, legacy=True)
    flipped = bytearray(new)
    flipped[len(new) // 2 : len(new) // 2 + 2000] = bytes(2000)
    path = tmp_path / "broken"
    for whole in (safe, new, legacy):
        for length in (0, 1, 9, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(PnagError, match=r"broken: .*(damaged|neither).*fetch it again"):
                load_checkpoint(path)
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(PnagError, match="neither safetensors nor weights"):
        load_checkpoint(path)
    with pytest.raises(PnagError, match=r"nowhere: cannot read it: No such file"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(PnagError, match="cannot read it"):
        load_checkpoint(tmp_path)


def test_other_contents_are_refused_in_clear_words(tmp_path: Path) -> None:
    path = tmp_path / "other"
    weights = small_supernet().state_dict()
    cut = dict(list(weights.items())[:-4])
    cases = [
        ([1, 2], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({"epoch": 3}, "'epoch'.*int"),
        ({"a": torch.zeros(1)}, "not of a supernet"),
        (torch.nn.Linear(2, 2).state_dict(), "not of a supernet"),
        (cut, "lack 'classifier.linear.weight'"),
        ({k: v for k, v in weights.items() if "blocks.7." not in k}, "lacks 2[0-9] weight"),
        ({"state_dict": {**weights, "extra": torch.zeros(1)}}, "unexpected 1 weight.*extra"),
    ]
    for content, words in cases:
        torch.save(content, path)
        with pytest.raises(PnagError, match=rf"other: .*{words}"):
            load_checkpoint(path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_no_code_of_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Evil()}, tmp_path / "evil")
    with pytest.raises(PnagError, match="neither safetensors nor weights"):
        load_checkpoint(tmp_path / "evil")
    assert "code ran" not in capsys.readouterr().out


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Serves what the test puts into the mapping; the cache is an empty folder."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path[1:])
            self.send_response(404 if data is None else 200)
            declared = len(data or b"") + (1 if self.path.endswith("1.2") else 0)
            self.send_header("Content-Length", str(declared))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    fetch_from(monkeypatch, f"http://127.0.0.1:{listening.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PNAG_OFFLINE", raising=False)
    yield files
    listening.shutdown()
    listening.server_close()


def fetch_from(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    for width_mult, published in list(PUBLISHED.items()):
        here = replace(published, url=f"{root}/{published.name}")
        monkeypatch.setitem(PUBLISHED, width_mult, here)


def publish(monkeypatch: pytest.MonkeyPatch, width_mult: float, data: bytes) -> PublishedFile:
    checksum = Checksum("git blob id", git_blob_id(data))
    published = replace(PUBLISHED[width_mult], checksum=checksum)
    monkeypatch.setitem(PUBLISHED, width_mult, published)
    return published


def test_published_weights_are_fetched_once(
    server: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = small_supernet()
    data = saved(supernet, legacy=True)
    name = publish(monkeypatch, 1.0, data).name
    server[name] = data
    loaded = load_published(1.0)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), supernet(IMAGES))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [name]
    server.clear()
    load_published(1.0)


def test_a_failed_fetch_tells_what_to_do(
    server: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for width_mult, (name, url, _) in [(w, astuple(p)) for w, p in PUBLISHED.items()]:
        # not there; another content; cut short by the server (1.2)
        for content in (None, b"something else"):
            if content is not None:
                server[name] = content
            with pytest.raises(PnagError) as caught:
                load_published(width_mult)
            assert url in str(caught.value)
            assert f"put it at {cache / name}" in str(caught.value)
            assert not cache.exists()
    fetch_from(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(PnagError, match=r"cannot fetch http://127\.0\.0\.1:1/ofa.*refused"):
        load_published()


def test_a_wrong_file_in_the_cache_is_not_used(
    server: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(small_supernet())
    published = publish(monkeypatch, 1.0, data)
    (tmp_path / "cache").mkdir()
    path = tmp_path / "cache" / published.name
    path.write_bytes(data[:-1])
    with pytest.raises(PnagError, match=rf"{path} has git blob id .*put the file of "):
        load_published()
    path.write_bytes(data)
    assert load_published().num_classes == 3


def test_a_cache_that_cannot_be_written(
    server: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(small_supernet())
    server[publish(monkeypatch, 1.0, data).name] = data
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PNAG_CACHE", str(tmp_path / "file"))
    with pytest.raises(PnagError, match=r"cannot keep .*PNAG_CACHE"):
        load_published()


def test_published_files_are_those_of_the_readme() -> None:
    assert {w: (p.url, p.checksum and p.checksum.digits) for w, p in PUBLISHED.items()} == {
        1.0: (
            "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets/"
            "ofa_mbv3_d234_e346_k357_w1.0",
            "55d835981d8acd1053657a951b18887a724ddcbf",
        ),
        1.2: (
            "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets/"
            "ofa_mbv3_d234_e346_k357_w1.2",
            "d75a3613bae216091f61fc4b7df77d49cc82ed32",
        ),
    }
    assert git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # git's empty file
    with pytest.raises(PnagError, match=r"width 0\.5 are published; choose one of 1\.0, 1\.2"):
        load_published(0.5)
