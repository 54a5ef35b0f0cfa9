"""The command line. It starts fast: torch, timm and pandas are imported when work begins, never before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from eebench.cli_input import fail_if_broken, numbers, one_of, run_directory, say, set_aside, writable
from eebench.errors import UserError

app = typer.Typer(
    name="eebench",
    help="Fair, honest benchmarks of early-exit methods for transformers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="A Python file with further methods; repeatable.")]
Methods = Annotated[
    str, typer.Option("--methods", "-m", help="Comma-separated, with options: 'pabee[patience=3],lgvit'.")
]
BackboneName = Annotated[str, typer.Option("--backbone", "-b", help="See 'eebench list backbones'.")]
DatasetName = Annotated[str, typer.Option("--dataset", "-d", help="See 'eebench list datasets'.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the input image in pixels.")]
PatchSize = Annotated[int | None, typer.Option(help="Side of a patch in pixels.")]
Json = Annotated[bool, typer.Option("--json", help="JSON and nothing else on standard output.")]


@app.command()
def run(
    methods: Methods = "all",
    backbone: BackboneName = "vit_micro",
    dataset: DatasetName = "digits",
    seeds: Annotated[str, typer.Option(help="Comma-separated training seeds.")] = "0",
    budget: Annotated[str, typer.Option(help="smoke, quick, standard or paper.")] = "quick",
    weights: Annotated[str, typer.Option(help="none, timm, or a .safetensors file or state dict.")] = "none",
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set lies.")] = None,
    target: Annotated[str | None, typer.Option(help="A numeric CSV column to predict instead of 'label'.")] = None,
    image_size: ImageSize = None,
    patch_size: PatchSize = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated knob values to replay instead of each rule's own grid (not for whole-number knobs)."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data, instead of the budget's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, instead of the default for the width.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Training batch size.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; recorded.")] = None,
    latency_batch_sizes: Annotated[str, typer.Option(help="Batch sizes to time.")] = "1",
    latency_samples: Annotated[int | None, typer.Option(help="Test samples to time.")] = None,
    energy: Annotated[
        bool, typer.Option("--energy", help="Joules a sample as well (NVIDIA GPU, eebench[energy]).")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder of run directories.")] = Path("results"),
    reports: Annotated[Path, typer.Option(help="Folder of rendered reports.")] = Path("reports"),
    plugin: Plugins = None,
    force: Annotated[bool, typer.Option("--force", help="Redo finished cells.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate; start nothing.")] = False,
) -> None:
    """Train, stop early for real, measure and report: the main job."""
    from eebench.registry import Registry, split_list
    from eebench.spec import make_spec

    registry = Registry.installed(plugin)
    names = split_list(methods)
    for name in names if methods.strip() != "all" else ():
        registry.get(name.partition("[")[0].strip())
    fail_if_broken(registry)
    spec = make_spec(
        methods=tuple(names),
        backbone=backbone,
        dataset=dataset,
        seeds=numbers("--seeds", seeds, int),
        budget=one_of("--budget", budget, ("smoke", "quick", "standard", "paper")),
        weights=weights,
        data_dir=str(data_dir) if data_dir else None,
        target=target,
        image_size=image_size,
        patch_size=patch_size,
        thresholds=None if thresholds is None else numbers("--thresholds", thresholds, float),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        device=device,
        threads=threads,
        latency_batch_sizes=numbers("--latency-batch-sizes", latency_batch_sizes, int),
        latency_samples=latency_samples,
        energy=energy,
    )
    from eebench import data

    data.check(dataset, data_dir, image_size=image_size, target=target)
    writable("--results", results)
    writable("--reports", reports)

    from eebench.progress import Reporter
    from eebench.runner import execute

    if dry_run:
        from eebench.plan import print_plan

        print_plan(spec, registry, results)
        return
    outcome = execute(spec, registry, results, reporter=Reporter(), force=force)
    set_aside(registry)
    _report(outcome.path, reports)
    if outcome.failed:
        names = sorted({cell["label"] for cell in outcome.failed})
        raise SystemExit(say(f"failed: {', '.join(names)} (see the report)", 1))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    results: Annotated[Path, typer.Option(help="Folder of run directories.")] = Path("results"),
    reports: Annotated[Path, typer.Option(help="Folder of rendered reports.")] = Path("reports"),
) -> None:
    """Render a run's report again, from its record alone."""
    path = run_directory(run, results)
    writable("--reports", reports)
    _report(path, reports)


@app.command()
def cost(
    methods: Methods = "all",
    backbone: BackboneName = "vit_b",
    classes: Annotated[int, typer.Option(min=1, help="Classes of the classifiers.")] = 100,
    image_size: ImageSize = None,
    patch_size: PatchSize = None,
    tokens: Annotated[int, typer.Option(min=1, help="Text backbones: length in tokens.")] = 128,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """What early exit would cost, before anything is trained."""
    from eebench.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    from eebench.cost import cost_tables, print_costs

    chosen = registry.choose(methods)
    set_aside(registry)
    print_costs(cost_tables(chosen, backbone, classes, image_size, patch_size, tokens), backbone, as_json=as_json)


@app.command()
def tune(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    method: Annotated[str, typer.Option(help="The method, as the run names it.")],
    max_drop: Annotated[
        float | None, typer.Option(help="Accuracy that may be lost: 0.01, the default, is one point.")
    ] = None,
    delta: Annotated[float | None, typer.Option(help="Probability with which more may be lost (0.1).")] = None,
    bound: Annotated[
        str | None, typer.Option(help="ltt, the default, ucb, crc (in expectation) or naive (no guarantee).")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Instead: per-exit thresholds for this share of the backbone's MACs.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Training seed; the run's first when not given.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of run directories.")] = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Choose a knob with a guarantee: at most so much accuracy lost, with probability 1 - delta."""
    kind = one_of("--bound", "ltt" if bound is None else bound, ("ltt", "ucb", "crc", "naive"))
    if budget is not None and (max_drop, delta, bound) != (None, None, None):
        raise UserError(
            "--budget solves for a cost and promises no accuracy: leave --max-drop, --delta and --bound out"
        )
    path = run_directory(run, results)
    from eebench.registry import Registry
    from eebench.tune import tune as choose
    from eebench.tune import tune_budget

    if budget is not None:
        quotas = tune_budget(path, method, budget, seed=seed)
        typer.echo(f"{quotas.method} seed {quotas.seed}: stop where the top probability reaches")
        for block, threshold in zip(quotas.blocks, quotas.thresholds, strict=False):
            typer.echo(f"  block {block:>3}: {'never' if threshold > 1 else f'{threshold:.5f}'}")
        typer.echo(
            f"  on test data: accuracy {quotas.accuracy:.4f} at {quotas.share:.3f} of the plain backbone's MACs "
            f"({quotas.val_share:.3f} on validation data)"
        )
        return
    registry = Registry.installed(plugin)
    found = choose(
        path,
        method,
        max_drop=0.01 if max_drop is None else max_drop,
        delta=0.1 if delta is None else delta,
        bound=kind,
        seed=seed,
        registry=registry,
    )
    typer.echo(f"{found.method} seed {found.seed}: {found.knob_name} = {found.knob:g}")
    typer.echo(f"  {found.promise}")
    typer.echo(f"  calibrated on {found.samples} validation samples that proposed no knob value")
    typer.echo(
        f"  on test data: {100 * found.drop:+.2f} points lost against the full model, {found.gmacs:.4g} GMACs, "
        f"{found.speedup_macs:.2f}x fewer MACs than the plain backbone, mean exit {found.mean_exit:.1f}"
    )


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, backbones or datasets")],
    plugin: Plugins = None,
) -> None:
    """What there is to choose from."""
    kind = one_of("list", what, ("methods", "backbones", "datasets"))
    rows: dict[str, str] = {}
    if kind == "methods":
        from eebench.cards import summary
        from eebench.registry import Registry

        registry = Registry.installed(plugin)
        for name, source in registry.sources.items():
            fault = source.fault()
            if fault is None:
                rows[name] = summary(source)
            else:
                registry.broken[name] = fault
        set_aside(registry)
    elif kind == "backbones":
        from eebench import backbones

        rows = backbones.known()
    else:
        from eebench import data

        rows = data.known()
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}  {text}")


@app.command()
def show(method: str, plugin: Plugins = None) -> None:
    """A method's card: equations, positions, hyper-parameters, what paper and code do, numbers, BibTeX."""
    from eebench.cards import card_text
    from eebench.registry import Registry

    text = card_text(Registry.installed(plugin).get(method))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        typer.echo(text)


@app.command()
def check(
    methods: Annotated[
        str, typer.Argument(help="Methods to check, as for run; empty: those of --plugin, else all.")
    ] = "",
    plugin: Plugins = None,
    backbone: Annotated[str, typer.Option(help="Only these kinds: vit, deit, swin, resnet, text.")] = "",
) -> None:
    """Does a method keep the contract? Prints what holds and what does not, in words."""
    from eebench.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    mine = [name for name, source in registry.sources.items() if source.cls is not None]
    chosen = registry.choose(methods or ",".join(mine) or "all")
    from eebench.check import KINDS, check_method

    kinds = tuple(one_of("--backbone", k.strip(), KINDS) for k in backbone.split(",") if k.strip()) or KINDS
    broken = 0
    for method in chosen:
        typer.echo(method.label)
        for finding in check_method(method, kinds):
            mark = {"holds": "ok  ", "broken": "FAIL", "skipped": "skip"}[finding.status]
            typer.echo(f"  {mark} {finding.backbone:<6} {finding.words}")
            broken += finding.status == "broken"
    if broken:
        raise SystemExit(say(f"{broken} promises do not hold", 1))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the method, a Python identifier in lower case.")],
    file: Annotated[bool, typer.Option("--file", help="One plugin file instead of an installable folder.")] = False,
    folder: Annotated[Path, typer.Option("--in", help="Where to write it.")] = Path(),
) -> None:
    """Write the start of a method of your own; it passes 'eebench check' as it stands."""
    from eebench.scaffold import write_method

    for line in write_method(name, folder, one_file=file):
        typer.echo(line)


@app.command()
def info() -> None:
    """Versions, hardware, and what is missing."""
    from eebench.environment import OPTIONAL, describe, versions

    missing = [name for name in OPTIONAL if versions()[name] is None]
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, value in describe(device).items():
        typer.echo(f"{name:<14} {value if value is not None else '-'}")
    if missing:
        typer.echo(f"missing, optional: {', '.join(missing)}")
    if device == "cpu":
        typer.echo("no CUDA device: the GPU columns of a report stay empty")


def main() -> NoReturn:
    """Entry point: user errors become one line and exit status 2."""
    try:
        status = app(standalone_mode=False) or 0
    except UserError as error:
        status = say(f"error: {' '.join(str(error).split())}", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except typer.Exit as error:
        status = error.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        words = " ".join(error.format_message().split())  # click's own usage errors; none where it has printed help
        status = say(f"error: {words}", 2) if words else 2
    if status == INTERRUPTED:  # versions of typer differ in what they make of it
        say("interrupted; finished cells are kept and will be reused")
    sys.exit(status)


def _report(path: Path, reports: Path) -> None:
    from eebench.report import print_comparison, render

    written = render(path, reports / path.name)
    from rich.console import Console

    print_comparison(path, Console())
    for name in ("html", "md"):
        for file in written.values():
            if str(file).endswith(f"report.{name}"):
                typer.echo(f"report: {file}")
    typer.echo(f"record: {path}")
