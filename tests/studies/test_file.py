"""Study files: what they may say, and one line about everything they may not; nothing is written."""

import json
import shlex
import sys

import pytest
import yaml

from eebench.cli import main
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.runs.spec import RunSpec, make_spec
from eebench.studies.expand import Selection, entries_of, narrowed
from eebench.studies.file import json_schema, read_study
from eebench.studies.scaffold import TEMPLATE, write_new_study

HEAD = "study = 1\n"
SMALL = """study = 1
[defaults]
methods = ["pabee", "lgvit"]
seeds = [0, 1]
budget = "smoke"
[matrix]
backbone = ["vit_micro", "vit_ti"]
dataset = ["digits", "mnist5k"]
"""


def written(folder, text, name="study.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path):
    """The runs of a study given as text."""

    def of(text, name="study.toml"):
        return entries_of(read_study(written(tmp_path, text, name)), Registry.installed())

    return of


# --- what a study file means -----------------------------------------------------------------------------------------


def test_a_matrix_is_multiplied_out_in_the_order_of_the_file(runs):
    found = runs(SMALL)
    common = {"methods": ("pabee", "lgvit"), "seeds": (0, 1), "budget": "smoke"}
    pairs = [("vit_micro", "digits"), ("vit_micro", "mnist5k"), ("vit_ti", "digits"), ("vit_ti", "mnist5k")]
    assert [one.spec for one in found] == [make_spec(backbone=b, dataset=d, **common) for b, d in pairs]
    assert [one.title for one in found] == [f"backbone={b}, dataset={d}" for b, d in pairs]


def test_a_command_line_is_a_study_with_one_run(runs):
    (one,) = runs('study = 1\n[defaults]\nmethods = "pabee"\nseeds = 3\nlr = 0.001\n')
    assert one.spec == make_spec(methods="pabee", seeds=3, lr=0.001)
    assert one.title == one.spec.run_name


def test_yaml_says_the_same(runs):
    text = yaml.safe_dump(
        {
            "study": 1,
            "defaults": {"methods": ["pabee", "lgvit"], "seeds": [0, 1], "budget": "smoke"},
            "matrix": {"backbone": ["vit_micro", "vit_ti"], "dataset": ["digits", "mnist5k"]},
        }
    )
    assert runs(text, "study.yaml") == runs(SMALL)


def test_backbone_and_data_set_have_settings_of_their_own_and_a_run_has_the_last_word(runs):
    text = (
        SMALL
        + '[backbones.vit_ti]\nlimit = 50\nimage_size = 32\n[datasets.digits]\nlimit = 60\ndata_dir = "there"\n'
        + '[[include]]\nbackbone = "vit_ti"\ndataset = "digits"\nlimit = 70\n'
    )
    found = {one.title: one.spec for one in runs(text)}
    assert [(s.limit, s.image_size, s.data_dir) for s in found.values()] == [
        (60, None, "there"),
        (None, None, None),
        (60, 32, "there"),
        (50, 32, None),
        (70, 32, "there"),
    ]


def test_what_is_excluded_is_a_run_a_method_or_a_seed(runs):
    text = (
        SMALL
        + '[[exclude]]\nbackbone = "vit_ti"\ndataset = ["digits"]\n'
        + '[[exclude]]\ndataset = "mnist5k"\nbackbone = "vit_ti"\nmethod = "lgvit"\n'
        + '[[exclude]]\ndataset = "digits"\nseed = 1\n'
    )
    assert [(o.spec.backbone, o.spec.dataset, o.spec.methods, o.spec.seeds) for o in runs(text)] == [
        ("vit_micro", "digits", ("pabee", "lgvit"), (0,)),
        ("vit_micro", "mnist5k", ("pabee", "lgvit"), (0, 1)),
        ("vit_ti", "mnist5k", ("pabee",), (0, 1)),
    ]


def test_a_run_all_of_whose_methods_are_excluded_is_none(runs):
    text = SMALL + '[[exclude]]\nbackbone = "vit_ti"\nmethod = ["pabee", "lgvit"]\n'
    assert {one.spec.backbone for one in runs(text)} == {"vit_micro"}


def test_a_sweep_is_a_method_for_every_combination(runs):
    text = 'study = 1\n[defaults]\nmethods = ["lgvit", "pabee"]\n[sweep.lgvit]\nblocks = [[4, 8], "3+9"]\n'
    text += "kd_weight = [0.3, 0.5]\n[sweep.jei_dnn]\ntradeoff = [1.0]\n"
    (one,) = runs(text)
    grid = [f"lgvit[blocks={b},kd_weight={k}]" for b in ("4+8", "3+9") for k in (0.3, 0.5)]
    assert one.spec.methods == ("lgvit", *grid, "pabee", "jei_dnn[tradeoff=1]")


def test_all_methods_can_be_swept_and_excluded(runs):
    names = [chosen.label for chosen in Registry.installed().choose("all")]
    text = 'study = 1\n[defaults]\nmethods = "all"\n[sweep.pabee]\npatience = [3]\n[[exclude]]\nmethod = "lgvit"\n'
    (one,) = runs(text)
    assert set(one.spec.methods) == {*names, "pabee[patience=3]"} - {"lgvit"}


def test_a_file_adds_to_those_it_extends(tmp_path):
    written(tmp_path, SMALL + '[[exclude]]\nbackbone = "vit_ti"\ndataset = "digits"\n', "base.toml")
    text = 'study = 1\nextends = "base.toml"\n[matrix]\ndataset = ["digits"]\n[datasets.digits]\ndata_dir = "mine"\n'
    found = read_study(written(tmp_path, text, "machine-b.toml"))
    assert found.name == "machine-b"
    entries = entries_of(found, Registry.installed())
    assert [(o.spec.backbone, o.spec.dataset, o.spec.data_dir) for o in entries] == [("vit_micro", "digits", "mine")]


# --- a part of it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["backbone=vit_ti,method=lgvit"], [("vit_ti", "digits", ("lgvit",)), ("vit_ti", "mnist5k", ("lgvit",))]),
        (["dataset=digits,backbone=vit_ti"], [("vit_ti", "digits", ("pabee", "lgvit"))]),
        (
            ["dataset=digits,backbone=vit_ti", "dataset=mnist5k,method=pabee,backbone=vit_ti"],
            [("vit_ti", "digits", ("pabee", "lgvit")), ("vit_ti", "mnist5k", ("pabee",))],
        ),
    ],
)
def test_only_takes_runs_and_methods_of_runs(runs, only, found):
    chosen = narrowed(runs(SMALL), [Selection.parse(text) for text in only])
    assert [(one.spec.backbone, one.spec.dataset, one.spec.methods) for one in chosen] == found


def test_only_takes_a_seed_and_a_method_by_its_whole_label(runs):
    entries = runs('study = 1\n[defaults]\nmethods = ["pabee"]\nseeds = [0, 1]\n[sweep.pabee]\npatience = [3, 5]\n')
    (one,) = narrowed(entries, [Selection.parse("method=pabee[patience=3],seed=1")])
    assert (one.spec.methods, one.spec.seeds) == (("pabee[patience=3]",), (1,))
    (one,) = narrowed(entries, [Selection.parse("method=pabee")])
    assert one.spec.methods == ("pabee", "pabee[patience=3]", "pabee[patience=5]")


# --- what cannot be --------------------------------------------------------------------------------------------------

BAD = {
    "unknown key": (HEAD + "[default]\n", "unknown key 'default'; did you mean 'defaults'?"),
    "unknown setting": (HEAD + "[defaults]\nbudgte = 1\n", "defaults: unknown key 'budgte'; did you mean 'budget'?"),
    "unknown axis": (HEAD + "[matrix]\nbackbones = ['vit_ti']\n", "unknown key 'backbones'; did you mean 'backbone'?"),
    "methods are no axis": (HEAD + "[matrix]\nmethods = ['pabee']\n", "matrix: unknown key 'methods'"),
    "empty axis": (HEAD + "[matrix]\nbackbone = []\n", "matrix.backbone: is empty"),
    "value of an axis": (HEAD + "[matrix]\nbudget = ['smoke', 'huge']\n", "matrix.budget.2: Input should be 'smoke'"),
    "number": (HEAD + "[defaults]\nlr = -1\n", "defaults.lr: Input should be greater than 0"),
    "seeds": (HEAD + "[defaults]\nseeds = [-1]\n", "seeds: must not be negative"),
    "seed twice": (HEAD + "[defaults]\nseeds = [0, 0]\n", "seeds: names something twice"),
    "no seeds": (HEAD + "[defaults]\nseeds = []\n", "seeds: must not be empty"),
    "no methods": (HEAD + "[defaults]\nmethods = []\n", "methods: must not be empty"),
    "method": (HEAD + "[defaults]\nmethods = ['pabe']\n", "unknown method 'pabe'; did you mean 'pabee'?"),
    "method twice": (HEAD + "[defaults]\nmethods = ['pabee', 'pabee']\n", "method asked for twice: pabee"),
    "option": (HEAD + "[sweep.lgvit]\nblcks = [[4]]\n", "has no option 'blcks'"),
    "swept method": (HEAD + "[sweep.lgvti]\nblocks = [[4]]\n", "unknown method 'lgvti'; did you mean 'lgvit'?"),
    "empty sweep": (HEAD + "[sweep.lgvit]\nblocks = []\n", "sweep.lgvit: is empty"),
    "all excluded": (SMALL + "[[exclude]]\nmethod = ['pabee', 'lgvit']\n", "no run is left"),
    "exclude nothing": (SMALL + "[[exclude]]\nbackbone = 'vit_b'\n", "exclude.1: backbone=vit_b chooses nothing"),
    "exclude everything": (SMALL + "[[exclude]]\n", "exclude.1: is empty"),
    "exclude by two": (SMALL + "[[exclude]]\nmethod = 'pabee'\nseed = 0\n", "methods or seeds, not both"),
    "run twice": (SMALL + "[[include]]\nbackbone = 'vit_ti'\ndataset = 'digits'\n", "runs 3 and 5 of the study"),
    "axis twice": (HEAD + "[matrix]\ndataset = ['digits', 'digits']\n", "runs 1 and 2 of the study are the same"),
    "version": ("study = 2\n", "has version 2 of the study format; this eebench reads version 1"),
    "no version": ("[defaults]\n", "lacks 'study'"),
    "no TOML": ("study = \n", "is no TOML"),
    "key twice": (HEAD + "study = 1\n", "is no TOML"),
    "name": (HEAD + "name = '../up'\n", "name: '../up' is no name for a folder"),
    "itself": (HEAD + "extends = 'study.toml'\n", "in a circle: study.toml → study.toml"),
    "circle": (HEAD + "extends = 'other.toml'\n", "in a circle: study.toml → other.toml → study.toml"),
    "nothing to extend": (HEAD + "extends = 'nowhere.toml'\n", "no study file nowhere.toml"),
    "extends": (HEAD + "extends = 3\n", "extends: takes the name of a study file"),
    "data set": (HEAD + "[defaults]\ndataset = 'digitz'\n", "unknown data set 'digitz'; did you mean 'digits'?"),
    "backbone": (HEAD + "[matrix]\nbackbone = ['vit_micro', 'vit_bb']\n", "backbone=vit_bb: unknown backbone 'vit_bb'"),
    "data dir": (HEAD + "[defaults]\ndataset = 'cifar10'\ndata_dir = 'nowhere'\n", "'nowhere' does not exist"),
    "plugin": (HEAD + "plugins = ['nowhere.py']\n", "plugin file nowhere.py does not exist"),
    "too many": (HEAD + f"[matrix]\nlimit = {[*range(2, 200)]}\nepochs = {[*range(1, 100)]}\n", "19602 runs are more"),
}  # fmt: skip
BAD_YAML = {
    "no YAML": ("study: [1\n", "is no YAML"),
    "key twice": ("study: 1\nname: a\nname: b\n", "key 'name' stands twice"),
    "a list": ("- study\n", "holds no table of settings"),
    "a tag": ("study: !!python/object/apply:os.getcwd []\n", "is no YAML"),
}
LINES = {
    "run nowhere.toml": "no study file nowhere.toml",
    "run study.txt": "unexpected extra argument 'study.txt'",
    "run good.toml --backbone vit_ti": "--backbone: the study file says what is run",
    "run good.toml --no-static": "--no-static: the study file says",
    "run good.toml --only backbone": "--only: 'backbone' names no value",
    "run good.toml --only bckbone=vit_ti": "--only: no run has a 'bckbone'; did you mean 'backbone'?",
    "run good.toml --only backbone=vit_b": "--only: backbone=vit_b chooses nothing",
    "run good.toml --only method=sdn": "--only: method=sdn chooses nothing",
    "run good.toml --only ''": "--only: empty",
    "run --only method=pabee --methods pabee": "--only chooses a part of a study",
    "run good.toml --results file": "--results: file is a file",
    "new study --in taken": "is there already",
    "new study --file": "--file is for methods",
}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Type a command; it must end in one line and status 2, and leave everything as it was."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        monkeypatch.setattr(sys, "argv", ["eebench", *shlex.split(line)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert caught.value.code == 2
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return said.err

    return run


@pytest.mark.parametrize("case", BAD)
def test_a_bad_study_is_one_line(case, tmp_path, refused):
    text, words = BAD[case]
    written(tmp_path, HEAD + "extends = 'study.toml'\n", "other.toml")
    written(tmp_path, text)
    assert words in refused("run study.toml")


@pytest.mark.parametrize("case", BAD_YAML)
def test_bad_yaml_is_one_line(case, tmp_path, refused):
    text, words = BAD_YAML[case]
    written(tmp_path, text, "study.yaml")
    assert words in refused("run study.yaml")


@pytest.mark.parametrize("line", LINES)
def test_a_bad_command_is_one_line(line, tmp_path, refused):
    written(tmp_path, SMALL, "good.toml")
    written(tmp_path, "", "file")
    (tmp_path / "taken").mkdir()
    written(tmp_path / "taken", "mine")
    assert LINES[line] in refused(line)


def test_a_folder_that_is_something_else_is_left_alone(tmp_path, refused):
    written(tmp_path, HEAD + 'name = "mine"\n[defaults]\nmethods = "pabee"\ndataset = "digits"\nbudget = "smoke"\n')
    (tmp_path / "results" / "mine").mkdir(parents=True)
    (tmp_path / "results" / "mine" / "letter.txt").write_text("dear")
    assert "is something else; give the study another name" in refused("run study.toml")


# --- the schema, the file to begin with ------------------------------------------------------------------------------


def test_the_schema_knows_every_setting_of_a_run():
    found = json_schema()["$defs"]
    assert set(found["Settings"]["properties"]) == set(RunSpec.model_fields)
    assert found["Settings"]["additionalProperties"] is False
    assert set(found["Axes"]["properties"]) == set(RunSpec.model_fields) - {"methods", "seeds"}


def test_a_new_study_can_be_read_and_names_every_table(tmp_path):
    write_new_study(tmp_path)
    found = read_study(tmp_path / "study.toml")
    (first, *_), last = entries_of(found, Registry.installed()), entries_of(found, Registry.installed())[-1]
    assert first.spec.methods == ("pabee", "berxit", "lgvit", "lgvit[blocks=3+6+9]", "lgvit[blocks=4+8]")
    assert "berxit" not in last.spec.methods
    assert json.loads((tmp_path / "study.schema.json").read_text()) == json_schema()
    for table in ("extends", "plugins", "defaults", "matrix", "backbones", "datasets", "sweep", "exclude", "include"):
        assert table in TEMPLATE


def test_what_is_commented_out_in_a_new_study_is_right_too(tmp_path, monkeypatch):
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines() if not line.startswith(("#:", "# A ", "#   "))]
    text = "\n".join(line for line in lines if not line.startswith(("extends", "plugins", "#")))
    (tmp_path / "whole.toml").write_text(text)
    found = entries_of(read_study(tmp_path / "whole.toml"), Registry.installed())
    assert len(found) == 5
    assert {one.spec.limit for one in found if one.spec.dataset == "mnist5k"} == {2000}


def test_errors_name_the_run(runs):
    with pytest.raises(UserError, match=r"^backbone=vit_ti, dataset=digits: static: must be shares of the depth"):
        runs(SMALL + "[backbones.vit_ti]\nstatic = [1.5]\n")
