"""The command line as it is typed: every bad input is one line and exit status 2, and nothing is left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint, version
from types import SimpleNamespace

import pytest
import torch
import typer

from eebench.cli import main
from eebench.cli.input import numbers
from eebench.engine.requests import requests
from eebench.errors import UserError
from eebench.plugins import registry as registry_module
from eebench.runs import runner

GO_ON = "what is done is kept, the same command goes on from there"
HEAVY = ("torch", "timm", "pandas", "matplotlib", "transformers", "datasets", "sklearn", "scipy", "numpy")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mishaps(tmp_path_factory):
    """A folder with a plugin that cannot be imported; the whole catalogue of bad input is in test_catalogue.py."""
    folder = tmp_path_factory.mktemp("mishaps")
    (folder / "bad.py").write_text("import no_such_library")
    return folder


def test_a_folder_that_may_not_be_written_to(typed, here, monkeypatch):
    (here / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path))  # root may write anywhere
    status, _, err = typed("run --methods pabee --results locked/results")
    assert (status, err) == (2, "error: --results: locked/results cannot be written to\n")
    assert listing(here) == ["locked"]


def test_bad_input_in_a_process_of_its_own(here):
    """In earnest once: no traceback from anything that in-process calls might hide."""
    command = [sys.executable, "-c", "from eebench.cli import main; main()", "run", "--methods", "pabe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown method 'pabe'; did you mean 'pabee'?\n"
    assert listing(here) == []


def test_an_error_inside_eebench_is_not_dressed_as_the_users(typed, monkeypatch, here):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "execute", broken)
    monkeypatch.setattr(sys, "argv", ["eebench", "run", "--methods", "pabee"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("mishap", [KeyboardInterrupt, typer.Abort, typer.Exit(130)])
def test_interrupted(typed, monkeypatch, here, mishap):
    def interrupt(*args, **kwargs):
        raise mishap

    monkeypatch.setattr(runner, "execute", interrupt)
    status, _, err = typed("run --methods pabee")
    assert (status, err) == (130, f"interrupted; {GO_ON}\n")


@pytest.mark.parametrize(("number", "status", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_stopped_by_a_signal_it_tidies_up_and_says_how_to_go_on(number, status, word, typed, monkeypatch, here):
    tidied = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def stopped(*args, **kwargs):
        try:
            os.kill(os.getpid(), getattr(signal, number))
            time.sleep(10)
        finally:
            tidied.append(True)

    monkeypatch.setattr(runner, "execute", stopped)
    assert typed("run --methods pabee") == (status, "", f"{word}; {GO_ON}\n")
    assert tidied
    assert {n: signal.getsignal(n) for n in before} == before


def test_stopped_while_it_trains_it_finishes_the_batch_first(typed, monkeypatch, here):
    done = []

    def trains(*args, **kwargs):
        with requests.listening():
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(requests.checkpoint)
            requests.heed()
        done.append("never")

    monkeypatch.setattr(runner, "execute", trains)
    assert typed("run --methods pabee") == (143, "", f"terminated; {GO_ON}\n")
    assert done == [True]


def test_a_process_that_reads_ahead_dies_of_sigterm_and_leaves_ctrl_c_to_the_first(typed, monkeypatch, here):
    def forks(*args, **kwargs):
        with requests.listening():
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            return SimpleNamespace(path=None, failed=[], status=os.waitpid(child, 0)[1])

    found = []
    monkeypatch.setattr(runner, "execute", lambda *args, **kwargs: found.append(forks().status) or sys.exit(0))
    typed("run --methods pabee")
    assert os.waitstatus_to_exitcode(found[0]) == 143


# --- quick to answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["--help", "run --help", "list methods", "list backbones", "list datasets", "show pabee", "run --methods pabe"],
)
def test_nothing_heavy_is_imported_before_work_starts(line):
    code = (
        "import sys\nsys.argv = ['eebench', *sys.argv[1:]]\nfrom eebench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, *shlex.split(line)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "loaded:"


def test_help_names_every_command(typed):
    status, out, _ = typed("--help")
    assert status == 0
    assert all(command in out for command in ("run", "cost", "report", "list", "show", "info"))


def test_without_a_command_there_is_help_and_no_empty_error(typed):
    status, out, err = typed("")
    assert status == 2
    assert "Usage: " in out + err
    assert "error:" not in out + err


# --- list, show, info ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", ["lgvit", "pabee"]),
        ("backbones", ["vit_micro", "vit_ti", "vit_s", "vit_b"]),
        ("datasets", ["digits", "cifar100", "folder:DIR"]),
    ],
)
def test_list(typed, what, names):
    status, out, err = typed(f"list {what}")
    assert (status, err) == (0, "")
    rows = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert set(names) <= rows.keys()
    assert all(rows.values())


def test_list_goes_on_with_a_broken_plugin_file(typed, mishaps, plugin, monkeypatch):
    monkeypatch.chdir(mishaps)
    status, out, err = typed(f"list methods --plugin bad.py --plugin {plugin}")
    assert status == 0
    assert (
        err == "set aside: plugin bad.py cannot be imported: ModuleNotFoundError: No module named 'no_such_library'\n"
    )
    assert {"lgvit", "pabee", "shy", "failing"} <= {line.split()[0] for line in out.splitlines()}


def test_list_goes_on_with_a_broken_distribution(typed, monkeypatch):
    installed = list(registry_module.entry_points(group=registry_module.GROUP))
    gone = EntryPoint("gone", "no_such_package:Method", registry_module.GROUP)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [*installed, gone])
    status, out, err = typed("list methods")
    assert status == 0
    assert "method 'gone'" in err
    assert "No module named 'no_such_package'" in err
    assert "pabee" in out
    assert "gone" not in out
    status, _, err = typed("run --methods gone --in-process")
    assert status == 2
    assert err.startswith("error: method 'gone' (no_such_package:Method) cannot be imported: ModuleNotFoundError")


def test_show(typed, plugin):
    status, out, _ = typed("show pabee")
    assert status == 0
    assert out.startswith("#")
    assert "```bibtex" in out
    assert typed(f"show shy --plugin {plugin}")[1] == "# shy\n\nMakes no sense on images.\n"


def test_info(typed):
    status, out, _ = typed("info")
    assert status == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["eebench"] == version("eebench")
    assert rows["torch"] == version("torch")
    assert {"python", "cpu", "cores", "threads", "git_sha"} <= rows.keys()
    assert ("no CUDA device" in out) == (not torch.cuda.is_available())


def test_info_names_what_is_missing(typed, monkeypatch):
    from eebench.runs import environment

    monkeypatch.setattr(environment, "OPTIONAL", (*environment.OPTIONAL, "no-such-distribution"))
    missing = next(line for line in typed("info")[1].splitlines() if line.startswith("missing, optional: "))
    assert missing.endswith("no-such-distribution")  # whatever else is not installed here comes before it


# --- cost ------------------------------------------------------------------------------------------------------------


def test_cost_as_json_is_json_and_nothing_else(typed):
    line = "cost --methods pabee[blocks=4],lgvit[blocks=4+8] --backbone vit_micro --classes 10 --json"
    status, out, err = typed(line)
    assert (status, err) == (0, "")
    tables = json.loads(out)
    assert tables.keys() == {"pabee[blocks=4]", "lgvit[blocks=4+8]"}
    for table in tables.values():
        assert table.keys() == {"params_m", "params_backbone_m", "exits"}
        for row in table["exits"]:
            assert row.keys() == {
                *("exit", "gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs")
            }
    assert [row["exit"] for row in tables["lgvit[blocks=4+8]"]["exits"]] == [4, 8, "none"]


def test_cost_for_people(typed):
    status, out, _ = typed("cost --methods pabee[blocks=4] --backbone vit_micro")
    assert status == 0
    assert "pabee[blocks=4] on" in out
    assert "none" in out


# --- run and report --------------------------------------------------------------------------------------------------


def test_noise_on_texts_is_refused_before_any_work(typed, here):
    lines = "\n".join(f"sentence number {i} of some,{i % 2}" for i in range(60))
    (here / "train.csv").write_text(f"text,label\n{lines}\n")
    (here / "test.csv").write_text("text,label\nanother sentence,0\nand one more,1\n")
    before = listing(here)
    status, out, err = typed(f"run --methods pabee --slowdown --dataset csv:{here} --backbone anything")
    assert (status, out) == (2, "")
    assert err == "error: --slowdown adds noise to images; texts have no pixels, and this data set is text\n"
    assert listing(here) == before


def test_a_dry_run_starts_and_writes_nothing(typed, here):
    status, out, _ = typed("run --methods pabee[blocks=6],lgvit --dry-run --budget smoke --seeds 0,1")
    assert status == 0
    assert "pabee[blocks=6]" in out
    assert "self-distillation" in out
    assert "nothing was started" in out
    assert "MiB" in out
    assert listing(here) == []


def line_of(smoke, plugin, results, reports):
    words = ["run", "--methods", ",".join(smoke.spec.methods), "--budget", "smoke", "--device", "cpu"]
    words += [
        "--dataset",
        "digits",
        "--latency-samples",
        "8",
        "--static",
        ",".join(map(str, smoke.spec.static)),
        "--targets",
        ",".join(smoke.spec.targets),
        "--plugin",
        str(plugin),
        "--results",
        str(results),
        "--reports",
        str(reports),
    ]
    return shlex.join(words)


def test_a_run_with_a_failure_reports_the_rest_and_ends_with_status_1(typed, smoke, plugin, copied, tmp_path):
    status, out, err = typed(line_of(smoke, plugin, copied, tmp_path / "reports"))
    assert status == 1
    assert err.splitlines()[-1] == "failed: failing (see the report)"
    assert "backbone seed 0: reused" in err
    assert "pabee[blocks=3+6+9] seed 0: reused" in err
    folder = tmp_path / "reports" / smoke.path.name
    assert {"report.html", "report.md"} <= {path.name for path in folder.iterdir()}
    assert "ArithmeticError: this loss always raises" in (folder / "report.md").read_text()
    assert "it needs text, and this backbone takes images" in (folder / "report.md").read_text()
    assert f"record: {copied / smoke.path.name}" in out.replace("\n", "")
    assert str(folder / "report.html") in out


def test_a_report_is_rendered_again_from_the_record_alone(typed, smoke, tmp_path):
    for run in (str(smoke.path), smoke.path.name):
        reports = tmp_path / f"reports-{len(run)}"
        status, out, err = typed(f"report {run} --results {smoke.results} --reports {reports}")
        assert (status, err) == (0, "")
        assert "blocks=3+6+9" in out  # the comparison in the terminal
        assert (reports / smoke.path.name / "report.html").stat().st_size > 10_000
    near = smoke.path.name[:-1]
    assert f"did you mean '{smoke.path.name}'?" in typed(f"report {near} --results {smoke.results}")[2]


@pytest.mark.parametrize(
    ("text", "found"), [("0-4", (0, 1, 2, 3, 4)), ("3,0-1", (3, 0, 1)), ("7", (7,)), ("2-2", (2,))]
)
def test_ranges_of_whole_numbers(text, found):
    assert numbers("--seeds", text, int) == found


@pytest.mark.parametrize("text", ["4-0", "0-1000000000", "1-2-3", "a-b", "-"])
def test_what_is_no_range_is_one_line(text):
    with pytest.raises(UserError, match="--seeds"):
        numbers("--seeds", text, int)


def test_methods_may_be_named_one_by_one(typed, tmp_path):
    together = typed("cost -m pabee,sdn -b vit_micro --classes 3 --json")
    apart = typed("cost -m pabee -m sdn -b vit_micro --classes 3 --json")
    assert together == apart
    assert set(json.loads(apart[1])) == {"pabee", "sdn"}


def test_the_version_is_the_packages(typed):
    status, out, _ = typed("--version")
    assert (status, out.strip()) == (0, f"eebench {version('eebench')}")
