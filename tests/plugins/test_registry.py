"""Methods by name: what is typed, where it comes from, and what happens to a plugin that is broken."""

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Literal

import pytest

from eebench.api import Method, Task
from eebench.errors import UserError
from eebench.plugins import registry as module
from eebench.plugins.chosen import split_list
from eebench.plugins.registry import GROUP, Registry
from eebench.rules import Confidence
from eebench.runs.fingerprint import method_sha256

METHOD = '''
from dataclasses import dataclass
from eebench.api import Method
from eebench.rules import Confidence

@dataclass(frozen=True)
class Mine(Method):
    """Mine, in one line.

    And more.
    """
    name = "{name}"
    size: int = {size}
    def build(self, backbone, task): return {{}}
    def rule(self, task): return Confidence()
    def phases(self, task): return []
'''


@pytest.fixture
def entries(monkeypatch):
    """Entry points as if they were installed: name → module:attribute, of a distribution of one's own."""

    def install(**values):
        found = []
        for name, value in values.items():
            entry = EntryPoint(name, value, GROUP)
            vars(entry).update(dist=SimpleNamespace(name=f"dist-of-{name}", version="1.0"))
            found.append(entry)
        monkeypatch.setattr(module, "entry_points", lambda group: found)

    return install


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def write(name, text, readme=None):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(text)
        if readme is not None:
            (folder / "README.md").write_text(readme)
        made.append(name)
        return folder

    yield write
    for name in made:
        sys.modules.pop(name, None)


def plugin(folder, name="mine", text=None, file="mine.py", size=1):
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(METHOD.format(name=name, size=size) if text is None else text)
    return path


def refused(text, registry=None):
    with pytest.raises(UserError) as caught:
        (registry or Registry.installed()).choose(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_built_in_methods_are_entry_points_like_any_other():
    sources = Registry.installed().sources
    assert {"lgvit", "pabee"} <= sources.keys()
    assert list(sources) == sorted(sources)
    assert all(source.entry is not None for source in sources.values())
    assert sources["pabee"].origin.startswith("eebench ")


def test_listing_imports_no_method(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("eebench_methods.sdn")]:
        monkeypatch.delitem(sys.modules, name)
    registry = Registry.installed()
    assert registry.sources["sdn"].fault() is None
    assert "eebench_methods.sdn" not in sys.modules
    assert registry.choose("sdn")[0].method.name == "sdn"
    assert "eebench_methods.sdn" in sys.modules


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("pabe", "unknown method 'pabe'; did you mean 'pabee'?"),
        ("LGViT", "unknown method 'LGViT'; did you mean 'lgvit'?"),
        ("JEI-DNN", "unknown method 'JEI-DNN'; did you mean 'jei_dnn'?"),
        ("pabee,lgvi", "unknown method 'lgvi'; did you mean 'lgvit'?"),
        ("pabee[bloks=3+4]", "method 'pabee' has no option 'bloks'; did you mean 'blocks'?"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_name(typed, words):
    assert refused(typed) == words


def test_nothing_near_is_answered_with_all_there_is():
    message = refused("quicksort")
    assert "; known: " in message
    assert all(name in message for name in Registry.installed().sources)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "no method asked for"),
        (" , ", "no method asked for"),
        ("pabee,pabee", "asked for twice: pabee"),
        ("pabee[patience=3],pabee[ patience = 3 ]", "asked for twice"),
        ("pabee[patience=3", "closing bracket is missing"),
        ("pabee[patience]", "option 'patience' has no value; write patience=VALUE"),
        ("pabee[patience=1,patience=2]", "an option is given twice"),
        ("pabee[patience=x]", "has no option 'patience', and as its rule's knob x is no number; known: "),
        ("pabee[patience=1,threshold=2]", "has no option 'patience'"),
        ("pabee[patience=inf]", "patience=inf is not a finite number"),
        ("lgvit[threshold=nan]", "threshold=nan is not a finite number"),
        ("lgvit[kd_weight=nan]", "kd_weight=nan is not a finite number"),
        ("lgvit[kd_weight=heavy]", "option kd_weight=heavy is not valid"),
        ("pabee[blocks=4+x]", "option blocks=4+x is not valid"),
        ("pabee[last=first]", "option last=first is not valid: Input should be 'backbone' or 'own'"),
        ("pabee[regression_threshold=-1]", "regression_threshold must be above 0"),
    ],
)
def test_what_is_wrong_is_said(typed, words):
    assert words in refused(typed)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("pabee[patienc=3]", "method 'pabee' has no option 'patienc'; did you mean 'patience'?"),
        ("pabee[bloks=3]", "method 'pabee' has no option 'bloks'; did you mean 'blocks'?"),
        ("pondernet[q=0.5]", "method 'pondernet' has no option 'q'; known: .*halt_bias"),
        ("pabee[patience=1.5]", "method 'pabee': patience=1.5 is not a whole number"),
    ],
)
def test_a_number_for_a_knob_is_checked_by_the_rule_for_the_task(typed, words):
    (chosen,) = Registry.installed().choose(typed)
    with pytest.raises(UserError, match=words):
        chosen.rule(Task(classes=3))


def test_split_list_leaves_brackets_alone():
    assert split_list(" a[x=1,y=2+3] , b,,c[] ") == ["a[x=1,y=2+3]", "b", "c[]"]
    assert split_list("") == []


# --- options ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Everything(Method):
    """A method with an option of every kind."""

    name = "everything"

    blocks: tuple[int, ...] | None = (1,)
    pair: tuple[float, float] = (0.0, 0.0)
    kind: Literal["left", "right"] = "left"
    rate: float | None = 0.5
    deep: bool = False
    count: int = 3

    def build(self, backbone, task):
        return {}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return []


def choose(text):
    (chosen,) = Registry({"everything": module.Source("everything", "here", cls=Everything)}).choose(text)
    return chosen


@pytest.mark.parametrize(
    ("typed", "option", "value"),
    [
        ("blocks=4+8", "blocks", (4, 8)),
        ("blocks=4", "blocks", (4,)),
        ("blocks=none", "blocks", None),
        ("pair=0.5+2", "pair", (0.5, 2.0)),
        ("kind=right", "kind", "right"),
        ("rate=None", "rate", None),
        ("rate=1e-3", "rate", 1e-3),
        ("deep=true", "deep", True),
        ("count=7", "count", 7),
    ],
)
def test_options_are_read_as_what_they_are(typed, option, value):
    chosen = choose(f"everything[{typed}]")
    assert getattr(chosen.method, option) == value
    assert chosen.method == Everything(**{option: value})
    assert chosen.pinned is None


def test_the_label_is_canonical():
    assert choose("everything").label == "everything"
    assert choose("everything[]").label == "everything"
    assert choose("everything[ kind = right , count=7]").label == "everything[count=7,kind=right]"
    assert choose("everything[count=7,kind=right]").label == "everything[count=7,kind=right]"


def test_a_knob_by_its_name_is_pinned():
    chosen = choose("everything[threshold=0.25,count=7]")
    assert (chosen.knob, chosen.pinned, chosen.method.count) == ("threshold", 0.25, 7)
    assert isinstance(chosen.rule(Task(classes=3)), Confidence)


# --- where they come from --------------------------------------------------------------------------------------------


def test_a_plugin_file_brings_its_methods(tmp_path):
    path = plugin(tmp_path)
    registry = Registry.installed([path])
    source = registry.get("mine")
    assert source.origin == str(path)
    assert source.fault() is None
    assert source.card() is None
    (chosen,) = registry.choose("mine[size=5]")
    assert chosen.method.size == 5
    assert "pabee" in registry.sources


def test_two_methods_of_one_name_name_both_origins(tmp_path, entries):
    with pytest.raises(UserError, match=r"two methods are called 'pabee': one from eebench .*, one from .*mine\.py"):
        Registry.installed([plugin(tmp_path, name="pabee")])
    first, second = (plugin(tmp_path, file=name) for name in ("a.py", "b.py"))
    with pytest.raises(UserError, match=r"two methods are called 'mine': one from .*a\.py, one from .*b\.py"):
        Registry.installed([first, second])


def test_two_distributions_of_one_name_name_both(monkeypatch):
    found = []
    for dist in ("ours", "theirs"):
        entry = EntryPoint("same", f"{dist}:Method", GROUP)
        vars(entry).update(dist=SimpleNamespace(name=dist, version="2.1"))
        found.append(entry)
    monkeypatch.setattr(module, "entry_points", lambda group: found)
    with pytest.raises(UserError, match=r"called 'same': one from ours 2\.1, one from theirs 2\.1"):
        Registry.installed()


def test_two_plugin_files_of_one_file_name_are_two_sources(tmp_path):
    paths = [plugin(tmp_path / folder, name=folder, size=size) for folder, size in (("one", 1), ("two", 2))]
    registry = Registry.installed(paths) if all(p.exists() for p in paths) else None
    assert registry is not None
    first, second = registry.choose("one,two")
    assert (first.method.size, second.method.size) == (1, 2)
    before = method_sha256(type(first.method))
    plugin(tmp_path / "two", name="two", size=3)
    assert method_sha256(type(first.method)) == before
    plugin(tmp_path / "one", name="one", size=3)
    assert method_sha256(type(first.method)) != before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_library", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "cannot be imported: RuntimeError: two lines"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("x = 1", "defines no eebench.api.Method with a name"),
        (None, "does not exist"),
    ],
)
def test_a_broken_plugin_file_is_set_aside_by_name(tmp_path, text, words):
    path = tmp_path / "bad.py" if text is None else plugin(tmp_path, text=text, file="bad.py")
    registry = Registry.installed([path, plugin(tmp_path)])
    assert registry.broken.keys() == {str(path)}
    message = registry.broken[str(path)]
    assert words in message
    assert "bad.py" in message
    assert "\n" not in message
    assert {"mine", "pabee"} <= registry.sources.keys()


def test_a_broken_distribution_fails_only_who_asks_for_it(entries, package):
    package("good_package", METHOD.format(name="good", size=1))
    package("bad_package", "import no_such_library")
    entries(
        good="good_package:Mine", bad="bad_package:Mine", gone="no_such_package:Mine", odd="good_package:Confidence"
    )
    registry = Registry.installed()
    assert registry.broken == {}
    assert [c.label for c in registry.choose("good")] == ["good"]
    assert "'bad' (dist-of-bad 1.0) cannot be imported: ModuleNotFoundError" in refused("good,bad", registry)
    assert "'odd' (dist-of-odd 1.0): good_package:Confidence is not an eebench.api.Method" in refused("odd", registry)
    assert [c.label for c in registry.choose("all")] == ["good"]
    assert registry.broken.keys() == {"bad", "gone", "odd"}


def test_all_without_a_method_that_works_is_an_error(entries):
    entries(gone="no_such_package:Mine")
    assert refused("all", Registry.installed()).startswith("no method asked for")


def test_a_fault_that_shows_without_importing(entries, package):
    package("unread_package", "def broken(:")
    package("parent_package", "raise ValueError('no')")
    package("late_package", "import no_such_library")
    entries(
        gone="no_such_package:Mine",
        unread="unread_package:Mine",
        below="parent_package.child:Mine",
        late="late_package:Mine",
    )
    faults = {name: source.fault() for name, source in Registry.installed().sources.items()}
    assert "No module named 'no_such_package'" in faults["gone"]
    assert "SyntaxError" in faults["unread"]
    assert "ValueError: no" in faults["below"]
    assert faults["late"] is None
    assert "late_package" not in sys.modules


class Bare(Everything):
    """Options, and nothing that makes a dataclass of them."""

    fresh: int = 3


@dataclass(frozen=True)
class Hiding(Everything):
    """An option of a name that the contract has."""

    phases: int = 3


@dataclass(frozen=True)
class Strange(Everything):
    """Needs what there is not."""

    needs = frozenset({"clases"})


@dataclass(frozen=True)
class Unread(Everything):
    """An option of a type nobody knows."""

    size: "Nowhere" = 3  # noqa: F821


@dataclass(frozen=True)
class Picky(Everything):
    """Checks its options as a whole."""

    def __post_init__(self):
        if self.count < 2:
            raise ValueError("count must be\nat least 2")


@dataclass(frozen=True)
class Demanding(Everything):
    """An option without a default."""

    size: int = field(kw_only=True)


@pytest.mark.parametrize(
    ("cls", "typed", "words"),
    [
        (Bare, "odd", "method 'odd' has options, so put @dataclass(frozen=True) above class Bare"),
        (Hiding, "odd", "method 'odd' has an option 'phases', a name that every method uses otherwise"),
        (Strange, "odd", "method 'odd' needs 'clases'; did you mean 'classes'?"),
        (Unread, "odd", "method 'odd': its options cannot be read: name 'Nowhere' is not defined"),
        (Picky, "odd[count=1]", "method 'odd': count must be at least 2"),
        (Demanding, "odd", "method 'odd': option size has no default and must be given"),
    ],
)
def test_a_class_that_is_no_method_is_an_error(cls, typed, words):
    assert refused(typed, Registry({"odd": module.Source("odd", "here", cls=cls)})) == words


def test_a_dataclass_that_can_change_is_python_s_own_error():
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):
        dataclass(Bare)


def test_a_pinned_knob_is_no_part_of_training():
    three, six, other = Registry.installed().choose("pabee[patience=3],pabee[patience=6],pabee[blocks=4+8,patience=3]")
    assert three.trained == six.trained == "pabee"
    assert other.trained == "pabee[blocks=4+8]"
    assert (three.label, three.pinned) == ("pabee[patience=3]", 3)


@pytest.mark.parametrize("name", ["backbone", "all", "My Margin, v2", "7th"])
def test_a_name_that_would_be_taken_for_something_else(tmp_path, name):
    with pytest.raises(UserError, match="is no name for a method"):
        Registry.installed([plugin(tmp_path, name=name)])


def test_a_rule_that_cannot_be_made_is_one_line():
    class Typo(Everything):
        def rule(self, task):
            return Abov()  # noqa: F821

    (chosen,) = Registry({"odd": module.Source("odd", "here", cls=Typo)}).choose("odd")
    with pytest.raises(UserError, match=r"its rule\(\) raised NameError: name 'Abov' is not defined"):
        chosen.rule(Task())


# --- fingerprints ----------------------------------------------------------------------------------------------------


def test_a_changed_file_of_a_methods_folder_changes_its_fingerprint(entries, package):
    folder = package("own_package", "from own_package.method import Mine")
    (folder / "method.py").write_text(METHOD.format(name="own", size=1))
    entries(own="own_package:Mine")
    (chosen,) = Registry.installed().choose("own")
    before = method_sha256(type(chosen.method))
    assert method_sha256(type(chosen.method)) == before
    (folder / "helper.py").write_text("x = 1")
    assert method_sha256(type(chosen.method)) != before
    sys.modules.pop("own_package.method", None)


def test_what_a_method_uses_of_its_own_package_is_in_its_fingerprint(entries, package):
    top = package("top_package", "")
    for name in ("used", "unused", "method"):
        (top / name).mkdir()
        (top / name / "__init__.py").write_text("def help(): pass")
    (top / "method" / "__init__.py").write_text(
        "from top_package.used import help\n" + METHOD.format(name="top", size=1)
    )
    entries(top="top_package.method:Mine")
    (chosen,) = Registry.installed().choose("top")
    before = method_sha256(type(chosen.method))
    (top / "unused" / "__init__.py").write_text("def help(): return 2")
    assert method_sha256(type(chosen.method)) == before
    (top / "used" / "__init__.py").write_text("def help(): return 2")
    assert method_sha256(type(chosen.method)) != before
    for name in ("used", "method"):
        sys.modules.pop(f"top_package.{name}")


def test_exits_are_matched_as_far_as_a_method_can_be_told():
    """An option that was typed stays; a method whose exits are its own keeps them."""
    found = Registry.installed().choose("pabee,lgvit[blocks=4+8],pondernet", blocks=(3, 6, 9))
    assert [c.label for c in found] == ["pabee[blocks=3+6+9]", "lgvit[blocks=4+8]", "pondernet"]
    assert [c.places_exits for c in found] == [True, True, False]
    assert found[0].method.blocks == (3, 6, 9)
