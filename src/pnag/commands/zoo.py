"""Published networks: `pnag zoo` and its commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pnag.commands.options import (
    Adb,
    Batch,
    DynamicBatch,
    Json,
    RuntimeName,
    Seed,
    Threads,
    asked_batch,
)
from pnag.consoles import make_console
from pnag.extras import install

if TYPE_CHECKING:
    from pnag.cost.runtimes import Runtime
    from pnag.deploy.zoo import Network
    from pnag.deploy.zoo.measure import ZooTimes
    from pnag.run.display import Display

Key = Annotated[str, typer.Argument(metavar="KEY", help="As `pnag zoo` lists it.")]


def listing(context: typer.Context, as_json: Json = False) -> None:
    """Published networks: the paper's, Once-for-All's, comparators, and today's from timm.

    Without a command, lists them with their published accuracy, parameters and multiply-adds.
    """
    if context.invoked_subcommand is not None:
        return
    from pnag.deploy.zoo import TIMM_NETWORKS, ZOO

    if as_json:
        typer.echo(json.dumps([_as_json(network) for network in ZOO.values()]))
        return
    console = make_console()
    console.print(_papers([n for n in ZOO.values() if n not in TIMM_NETWORKS]))
    console.print(_todays(TIMM_NETWORKS))


def _papers(networks: list[Network]) -> Table:
    table = _table("network", "top-1", "top-5", "params", "MAdds", "pixels", "weights by")
    last_of_families = {network.family: network.key for network in networks}.values()
    for network in networks:
        counts = network.counts()
        table.add_row(
            network.key,
            _percent(network.top1),
            _percent(network.top5),
            f"{counts.params / 1e6:.1f}M",
            f"{counts.macs / 1e6:.0f}M",
            str(network.resolution),
            network.weights_by or "-",
            end_section=network.key in last_of_families,
        )
    table.caption = (
        "top-1, top-5: published, ImageNet. MAdds: convolutions and linear layers. Sources and "
        "remarks: `pnag zoo show KEY`"
    )
    return table


def _todays(networks: Sequence[Network]) -> Table:
    table = _table("network of timm", "top-1", "params", "pixels", "more than 1k")
    for network in networks:
        training = network.training
        assert training is not None
        table.add_row(
            network.key,
            _percent(network.top1),
            f"{network.counts().params / 1e6:.1f}M",
            str(network.resolution),
            training.beyond.replace("chosen from ImageNet-", "").replace("ImageNet-", "") or "-",
        )
    table.caption = (
        "by published latency. more than 1k: images of ImageNet-12k, -21k or -22k, too, or "
        "distilled from a larger network, as far as the weights' name says"
    )
    return table


def show(key: Key, as_json: Json = False) -> None:
    """All that is known about a network: numbers and sources, how it is built, its weights."""
    from pnag.deploy.zoo import find
    from pnag.deploy.zoo.network import COMPARATOR
    from pnag.deploy.zoo.timm_networks import PLACE

    network = find(key)
    facts = _as_json(network)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    accuracy = f"top-1 {_percent(network.top1)}, top-5 {_percent(network.top5)}"
    training = network.training
    weights = facts["weights"] and f"{network.weights_by}, {facts['weights']['url']}"
    if weights and network.family == COMPARATOR:
        weights += " (another training: near the published accuracy, not the same)"
    lines = {
        network.key: network.name,
        "published": f"{accuracy} ({network.source})",
        "params": f"{facts['params']:,}",
        "MAdds": f"{facts['macs']:,}, convolutions {facts['conv_macs']:,}",
        "images": f"{network.resolution}x{network.resolution}",
        "built by": " ".join(filter(None, (facts["built_by"], facts["library_name"]))),
        "arch": facts["arch"],
        "weights": weights,
        "trained": training and f"on ImageNet-1k; more than that: {training.beyond or 'nothing'}",
        "licence": training and (training.licence or "none is named"),
        "latency": network.published_ms and f"{network.published_ms:g} ms on {PLACE}",
        "note": network.note,
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        if text:
            typer.echo(f"{name:{width}}  {text}")
    for row in facts["printed"]:
        typer.echo(
            f"{'':{width}}  paper's Table {row['table']}: {row['latency_ms']} ms on "
            f"{row['device']}, {row['params_m']}M params, {row['macs_m']:g}M MAdds"
        )


def measure(
    runtime: RuntimeName = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Comma list of networks, or families: pnag, ofa, comparator, timm. [default: all]"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of every network.")] = 24,
    threads: Threads = None,
    adb: Adb = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the times.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Time networks on this machine, all in one interleaved run, each at its own resolution."""
    from pnag.cost.runtimes import DEFAULT, make_runtime, too_many_threads
    from pnag.deploy.zoo.measure import measure_zoo
    from pnag.files import check_writable, write_json
    from pnag.run.display import Display
    from pnag.run.own_files import refuse_own_files

    if out:
        refuse_own_files(out)
        check_writable(out)
    display = Display(make_console(stderr=as_json))
    networks, named = _networks_to_time(only, display)
    place = make_runtime(runtime or DEFAULT, threads or 1, adb)
    display.warn(too_many_threads(runtime or DEFAULT, threads or 1))
    with display.bar("timing the zoo") as bar:
        times = measure_zoo(
            place,
            networks,
            may_leave_out={network.key for network in networks} - named,
            rounds=rounds,
            seed=seed or 0,
            progress=lambda what, done, total: bar.update(done, total, what),
        )
    for key, why in times.left_out.items():
        display.warn(f"{key} does not run on this runtime and is not timed: {why}")
    networks = [network for network in networks if network.key in times.networks]
    result = _times_as_json(place, networks, times, rounds)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        display.console.print(_times_table(place, networks, times))
    if result["busy"]:
        display.note(
            f"[yellow]The times are unsure: {result['busy']}. Close other programs and time them "
            "again.[/yellow]"
        )
    if out:  # after the times have been shown: it can fail
        write_json(out, result)


def _networks_to_time(only: str | None, display: Display) -> tuple[list[Network], set[str]]:
    """Those of --only, or all that can be built here; and the keys of those asked for by name."""
    from pnag.deploy.zoo import FAMILIES, check_makers, find, select

    chosen = [name.strip() for name in only.split(",") if name.strip()] if only else []
    networks = select(chosen)
    named = {find(name).key for name in chosen if name not in FAMILIES}
    check_makers(network for network in networks if network.key in named)
    absent = sorted({n.recipe.maker for n in networks if not n.recipe.installed})
    if absent:  # of those that were not asked for by name
        networks = [network for network in networks if network.recipe.installed]
        display.warn(
            f"without those of {' and '.join(absent)}, which is not installed: {install('zoo')}"
        )
    return networks, named


def fetch(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="As `pnag zoo` lists them.")],
) -> None:
    """Fetch published ImageNet weights into the cache, or verify those that are there.

    Without network it says which file to fetch and where to put it; a file that was put there is
    verified in the same way.
    """
    from pnag.deploy.zoo import find
    from pnag.deploy.zoo.weights import load_pretrained

    for network in [find(key) for key in keys]:
        load_pretrained(network)
        file = network.weights
        assert file is not None
        known = f"{file.checksum.kind} {file.checksum.digits}" if file.checksum else (
            "no checksum is published; names, shapes and values of all weights"
        )  # fmt: skip
        typer.echo(f"{file.path}: verified ({known})")


def export(
    key: Key,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="With its published ImageNet weights.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File. [default: KEY.onnx]")] = None,
    batch: Batch = None,
    dynamic_batch: DynamicBatch = False,
    seed: Seed = None,
) -> None:
    """Write a network as an ONNX file, checked against torch."""
    import torch

    from pnag.deploy.export import export_checked
    from pnag.deploy.zoo import find
    from pnag.deploy.zoo.weights import load_pretrained
    from pnag.run.own_files import refuse_own_files

    path = out or Path(f"{key}.onnx")
    refuse_own_files(path)
    network = find(key)
    images = asked_batch("onnx", batch, dynamic=dynamic_batch)
    torch.manual_seed(seed or 0)
    module = load_pretrained(network) if pretrained else network.build()
    difference = export_checked(module, path, network.resolution, batch=images)
    whose = f"weights by {network.weights_by}" if pretrained else "fresh weights"
    typer.echo(f"{path}: {whose}; outputs equal torch's to {difference:.0e} of the largest")


def zoo_app(mistakes_are_messages: Callable[[Any], Any]) -> typer.Typer:
    """`pnag zoo` with its commands, whose errors are printed as the other commands' are."""
    app = typer.Typer(help=listing.__doc__)
    app.callback(invoke_without_command=True)(mistakes_are_messages(listing))
    for command in (show, measure, fetch, export):
        app.command()(mistakes_are_messages(command))
    return app


def _as_json(network: Network) -> dict[str, Any]:
    from dataclasses import asdict

    from pnag.deploy.zoo.network import Library, Ours
    from pnag.deploy.zoo.printed import TABLES, printed_rows

    recipe = network.recipe
    return {
        "key": network.key,
        "name": network.name,
        "family": network.family,
        "resolution": network.resolution,
        "top1": network.top1,
        "top5": network.top5,
        "source": network.source,
        **asdict(network.counts()),
        "arch": recipe.arch if isinstance(recipe, Ours) else None,
        "width_mult": recipe.width_mult if isinstance(recipe, Ours) else None,
        "built_by": recipe.maker,
        "library_name": recipe.name if isinstance(recipe, Library) else None,
        "weights": network.weights and asdict(network.weights),
        "weights_by": network.weights_by,
        "note": network.note,
        "training": network.training and asdict(network.training),
        "published_ms": network.published_ms,
        "printed": [
            {**asdict(row), "device": TABLES[row.table]} for row in printed_rows(network.key)
        ],
    }


def _times_as_json(
    place: Runtime, networks: list[Network], times: ZooTimes, rounds: int
) -> dict[str, Any]:
    from pnag.cost.steadiness import why_unsure

    drift = times.drift
    return {
        "identity": place.identity(),
        "rounds": rounds,
        "drift": drift.spread,
        "remeasured": drift.remeasured,
        "unsteady": drift.unsteady,
        "busy": why_unsure(drift.unsteady, drift.spread),
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "left_out": times.left_out,
        "networks": {
            network.key: {
                **_as_json(network),
                "measured_ms": times.networks[network.key].milliseconds,
                "measured_spread": times.networks[network.key].spread,
            }
            for network in networks
        },
    }


def _times_table(place: Runtime, networks: list[Network], times: ZooTimes) -> Table:
    table = _table("network", "ms (measured)", "top-1", "params", "MAdds", "pixels")
    for network in sorted(networks, key=lambda n: times.networks[n.key].milliseconds):
        counts, of_it = network.counts(), times.networks[network.key]
        table.add_row(
            network.key,
            f"{of_it.milliseconds:.2f} ±{of_it.spread:.1%}",
            _percent(network.top1),
            f"{counts.params / 1e6:.1f}M",
            f"{counts.macs / 1e6:.0f}M",
            str(network.resolution),
        )
    where = place.identity()
    table.caption = (
        f"{where['device']}, {where['runtime']} {where['version']}, batch {place.batch}; "
        f"machine speed ±{times.drift.spread:.1%}, {times.drift.remeasured} disturbed turns taken "
        f"again, {times.drift.unsteady} kept; top-1: published"
    )
    return table


def _table(*columns: str) -> Table:
    table = Table(caption_justify="left")
    for index, name in enumerate(columns):
        left = index == 0 or name in ("weights by", "more than 1k")
        table.add_column(
            name,
            justify="left" if left else "right",
            style="bold" if index == 0 else None,
            no_wrap=index > 0,
            overflow="fold",  # a long name continues below, and is not cut
        )
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"
