"""``eebench cost``: what it says against the counts and parameters of the very models, and how it prints them."""

import json

import pytest
import torch
from tiny_text import TOKENS, write

from eebench.api import Task
from eebench.backbones import create
from eebench.cli.cost import print_costs
from eebench.engine.macs import exit_costs
from eebench.engine.model import assemble
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.runs.cost import cost_tables

COLUMNS = ["exit", "gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs"]


def choose(text):
    return Registry.installed().choose(text)


@pytest.fixture(scope="module")
def tables():
    return cost_tables(choose("pabee[blocks=3+6],jei_dnn[blocks=4],sdn[blocks=2]"), "vit_micro", classes=7)


def test_a_row_for_every_exit_and_one_for_a_sample_that_never_stops(tables):
    assert {label: [row["exit"] for row in table["exits"]] for label, table in tables.items()} == {
        "pabee[blocks=3+6]": [3, 6, "none"],
        "jei_dnn[blocks=4]": [4, "none"],
        "sdn[blocks=2]": [2, "none"],
    }
    for table in tables.values():
        assert list(table) == ["params_m", "params_backbone_m", "exits"]
        assert all(list(row) == COLUMNS for row in table["exits"])


def test_values_are_those_of_the_model(tables):
    net = create("vit_micro", outputs=7)
    (method,) = choose("jei_dnn[blocks=4]")
    model = assemble(method.method, net, Task(classes=7)).eval()
    costs = exit_costs(model, torch.zeros(1, 3, 28, 28))
    table = tables["jei_dnn[blocks=4]"]
    assert table["params_m"] == round(sum(p.numel() for p in model.parameters()) / 1e6, 4)
    assert table["params_backbone_m"] == round(sum(p.numel() for p in net.parameters()) / 1e6, 4)
    for i, row in enumerate(table["exits"]):
        assert row["gmacs"] == round(costs.total[i] / 1e9, 6)
        assert row["gmacs_backbone"] == round(costs.backbone[i] / 1e9, 6)
        assert row["gmacs"] == pytest.approx(row["gmacs_backbone"] + row["gmacs_heads"] + row["gmacs_gates"], abs=2e-6)
        assert row["speedup_macs"] == round(costs.plain / costs.total[i], 4)
    assert [row["speedup_layers"] for row in table["exits"]] == [3.0, 1.0]
    assert table["exits"][-1]["speedup_macs"] < 1  # exits that nobody takes cost something
    assert costs.gates[-1] > 0


def test_a_method_that_makes_no_sense_says_so(tmp_path):
    folder = write(tmp_path / "bert", "bert")
    tables = cost_tables(choose("lgvit,pabee[blocks=2]"), str(folder), classes=2, tokens=20)
    assert tables["lgvit"] == {"skipped": "it needs a patch grid, which text has not"}
    short, long = tables["pabee[blocks=2]"], cost_tables(choose("pabee[blocks=2]"), str(folder), 2, tokens=40)
    assert long["pabee[blocks=2]"]["exits"][0]["gmacs"] > 1.9 * short["exits"][0]["gmacs"]
    with pytest.raises(UserError, match=f"--tokens: {TOKENS + 1} is more than the {TOKENS} tokens"):
        cost_tables(choose("pabee"), str(folder), classes=2, tokens=TOKENS + 1)


def test_json_is_all_there_is(tables, capsys):
    print_costs(tables, "vit_micro", as_json=True)
    assert json.loads(capsys.readouterr().out) == tables


def test_tables_for_people(tables, capsys):
    print_costs({**tables, "shy": {"skipped": "it is [very] shy"}}, "vit_micro", as_json=False)
    shown = capsys.readouterr().out
    assert "pabee[blocks=3+6] on" in shown
    assert "shy on vit_micro: skipped, it is [very] shy" in shown
    assert "none" in shown
