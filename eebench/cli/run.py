"""``eebench run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eebench.cli.input import fail_if_broken, numbers, one_of, say, set_aside, writable
from eebench.cli.options import (
    Augment,
    BackboneName,
    DatasetName,
    ImageSize,
    Limit,
    Methods,
    PatchSize,
    Plugins,
    Pool,
    Reports,
    Results,
    field,
)
from eebench.cli.report import render_and_print
from eebench.errors import UserError
from eebench.runs.how import Execution
from eebench.runs.runtimes import asked_runtimes


def run(
    context: typer.Context,
    study: Annotated[
        Path | None, typer.Argument(help="A study file (.toml, .yaml) in place of the options that describe a run.")
    ] = None,
    methods: Methods = None,
    backbone: BackboneName = "vit_micro",
    dataset: DatasetName = "mnist5k",
    seeds: Annotated[str, field("seeds", form="0,1,2 or 0-2.")] = "0",
    budget: Annotated[str, field("budget", form="smoke, quick, standard, paper or none.")] = "quick",
    weights: Annotated[str, field("weights")] = "none",
    data_dir: Annotated[Path | None, field("data_dir")] = None,
    target: Annotated[str | None, field("target")] = None,
    augment: Augment = None,
    limit: Limit = None,
    image_size: ImageSize = None,
    patch_size: PatchSize = None,
    pool: Pool = "auto",
    max_length: Annotated[int | None, field("max_length")] = None,
    thresholds: Annotated[str | None, field("thresholds", form="0.5,0.8,0.95.")] = None,
    match_exits: Annotated[str | None, field("match_exits", form="3+6+9.")] = None,
    targets: Annotated[str | None, field("targets")] = None,
    choose: Annotated[str, field("choose")] = "upper",
    level: Annotated[float, field("level")] = 0.9,
    static: Annotated[str | None, field("static", form="0.25,0.5,0.75,1.")] = None,
    no_static: Annotated[bool, typer.Option("--no-static", help="Train no smaller static models.")] = False,
    epochs: Annotated[int | None, field("epochs")] = None,
    lr: Annotated[float | None, field("lr")] = None,
    batch_size: Annotated[int | None, field("batch_size")] = None,
    search: Annotated[int | None, field("search")] = None,
    device: Annotated[str, field("device")] = "auto",
    threads: Annotated[int | None, field("threads")] = None,
    latency_batch_sizes: Annotated[str, field("latency_batch_sizes", form="1,8,64.")] = "1",
    latency_samples: Annotated[int | None, field("latency_samples")] = None,
    latency_seconds: Annotated[float | None, field("latency_seconds")] = None,
    energy: Annotated[bool, field("energy", "--energy")] = False,
    shift: Annotated[bool, field("shift", "--shift")] = False,
    slowdown: Annotated[bool, field("slowdown", "--slowdown")] = False,
    runtimes: Annotated[
        str, typer.Option(help="Time in these on the CPU: eager (always), compile, onnxruntime; separated by commas.")
    ] = "eager",
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    plugin: Plugins = None,
    force: Annotated[bool, typer.Option("--force", help="Redo finished cells.")] = False,
    no_repair: Annotated[
        bool,
        typer.Option("--no-repair", help="Refuse damaged cells instead of setting them aside and making them again."),
    ] = False,
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Keep test samples (private data) out of record and report.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Make cells in this process, not in a worker's: for debugging.")
    ] = False,
    cell_timeout: Annotated[
        float | None, typer.Option(help="Seconds that a cell may take; one that takes longer has failed.")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Who makes cells: local[workers=N], slurm[tasks=N,partition=P], ray[address=A,tasks=N].")
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(help="Make one shard of the cells, '2/4' the second of four; the same command without it joins."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate; start nothing.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A part of a study: 'backbone=deit_ti,method=lgvit'; repeatable, each adds to the others."),
    ] = None,
) -> None:
    """Train, stop early for real, measure and report: the main job."""
    source = context.get_parameter_source("executor")
    if in_process and source is not None and source.name == "COMMANDLINE":
        raise UserError("--executor and --in-process contradict each other: give one of them")
    how: dict[str, Any] = {"force": force, "repair": not no_repair, "samples": not no_samples}
    how["how"] = Execution(in_process, cell_timeout, executor, shard)
    how["runtimes"] = asked_runtimes([name.strip() for name in runtimes.split(",")])
    if shard and force:
        raise UserError("--shard and --force contradict each other: shards would make each other's cells again")
    if study is not None:
        from eebench.cli.study import check_options, run_file

        check_options(context, study)
        return run_file(study, only or [], plugin or [], results, reports, how, dry_run=dry_run)
    if only:
        raise UserError("--only chooses a part of a study; give a study file")
    from eebench.plugins.chosen import split_list
    from eebench.plugins.trial import tried_registry
    from eebench.runs.spec import make_spec

    names = split_list(",".join(methods or ["all"]))
    asked = [name.partition("[")[0].strip() for name in names]
    registry = tried_registry(plugin or [], asked, (dataset, backbone))
    for name in asked if "all" not in asked else ():
        registry.get(name)
    fail_if_broken(registry)
    spec = make_spec(
        methods=tuple(names),
        backbone=backbone,
        dataset=dataset,
        seeds=numbers("--seeds", seeds, int),
        budget=one_of("--budget", budget, ("smoke", "quick", "standard", "paper", "none")),
        weights=weights,
        data_dir=str(data_dir) if data_dir else None,
        target=target,
        augment=augment,
        limit=limit,
        image_size=image_size,
        patch_size=patch_size,
        pool=one_of("--pool", pool, ("auto", "cls", "mean")),
        max_length=max_length,
        thresholds=None if thresholds is None else numbers("--thresholds", thresholds, float),
        match_exits=None if match_exits is None else numbers("--match-exits", match_exits.replace("+", ","), int),
        targets=None if targets is None else tuple(split_list(targets)),
        choose=one_of("--choose", choose, ("upper", "naive")),
        level=level,
        static=_static(static, no_static),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        search=search,
        device=device,
        threads=threads,
        latency_batch_sizes=numbers("--latency-batch-sizes", latency_batch_sizes, int),
        latency_samples=latency_samples,
        latency_seconds=latency_seconds,
        energy=energy,
        shift=shift,
        slowdown=slowdown,
    )
    from eebench import data
    from eebench.runs.mistaken import refuse_texts

    refuse_texts(dataset)
    data.check(
        dataset, data_dir, image_size=image_size, target=target, augment=augment, limit=limit, plugins=plugin or ()
    )
    writable("--results", results)
    writable("--reports", reports)

    if dry_run:
        from eebench.runs.estimate import print_estimate

        print_estimate(spec, registry, results)
        return None
    from eebench.progress import Reporter
    from eebench.report.folder import check_folder
    from eebench.runs.anywhere import execute

    def ready(name: str) -> None:
        check_folder(reports / name)

    outcome = execute(spec, registry, results, reporter=Reporter(), ready=ready, **how)
    set_aside(registry)
    if outcome.shard is None:
        render_and_print(outcome.path, reports)
    else:
        typer.echo(outcome.shard)
    if outcome.failed:
        names = sorted({cell["label"] for cell in outcome.failed})
        raise SystemExit(say(f"failed: {', '.join(names)} (see the report)", 1) if outcome.shard is None else 1)
    return None


def _static(shares: str | None, none: bool) -> tuple[float, ...] | None:
    """Depths of the static models; None for the spec's own."""
    if none and shares is not None:
        raise UserError("--static and --no-static contradict each other: give one of them")
    return () if none else None if shares is None else numbers("--static", shares, float)
