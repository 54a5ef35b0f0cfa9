"""The register of published cells, and what of it is checked."""

import json
import sys
from pathlib import Path

import pytest

from eebench.cli import main
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.published.check import check_cell, speedups
from eebench.published.register import ExitCounts, PublishedCell, read_file, register

REGISTRY = Registry.installed()


def test_released_lgvit_weights_as_others_ran_them_go_through_our_cost_model():
    cells = [cell for cell in register(REGISTRY) if "/rerun-" in cell.id]
    assert [cell.printed["accuracy"] for cell in cells] == [87.31, 89.41, 90.36]
    for cell in cells:
        assert sum(cell.check.counts) == 10_000
        found = check_cell(cell, REGISTRY)
        assert found.status == "holds", found.words
        by_hand = 12 * 10_000 / sum(n * block for n, block in zip(cell.check.counts, cell.check.blocks, strict=True))
        layers, macs = speedups("lgvit", cell.check, REGISTRY)
        assert layers == pytest.approx(by_hand)
        assert macs < layers  # heads are no longer free


def counts_of(**changes) -> PublishedCell:
    check = {"kind": "exit counts", "backbone": "vit_micro", "classes": 10, "image_size": 28}
    check |= {"blocks": [4, 5, 6, 7, 8, 9, 10, 11, 12], "counts": [1] * 9, "speedup_layers": 1.5, "speedup_macs": 1.0}
    entry = {"id": "x", "method": "lgvit", "paper": "p", "where": "w", "setting": "s", "check": check | changes}
    return PublishedCell.model_validate(entry)


def test_a_number_that_does_not_come_out_fails_and_other_exits_are_not_here():
    found = check_cell(counts_of(), REGISTRY)
    assert found.status == "fails"
    assert "layers 1.500" in found.words
    assert "expected 1.500 and 1.000" in found.words
    assert check_cell(counts_of(blocks=[1, 2], counts=[1, 1]), REGISTRY).status == "not here"


@pytest.mark.parametrize(("gain", "status"), [(5.4, "holds"), (5.5, "fails")])
def test_a_gain_is_the_ratio_beside_it(gain, status):
    cell = PublishedCell.model_validate(
        {"id": "x", "method": "m", "paper": "p", "where": "w", "setting": "s",
         "check": {"kind": "ratio", "over": 3.37, "under": 0.62, "gain": gain}}
    )  # fmt: skip
    assert check_cell(cell, REGISTRY).status == status


def test_every_claim_of_every_card_is_registered_and_says_what_it_needs():
    from eebench.plugins.cards import read_card

    cells = register(REGISTRY)
    quoted = {name: len(read_card(REGISTRY.get(name)).get("claims") or []) for name in REGISTRY.sources}
    for name, number in quoted.items():
        mine = [cell for cell in cells if cell.id.startswith(f"{name}/card/")]
        assert len(mine) == number
        for cell in mine:
            assert check_cell(cell, REGISTRY).status == "not here"
            assert cell.setting in check_cell(cell, REGISTRY).words


CELL = "[[cell]]\nid='x'\nmethod='m'\npaper='p'\nwhere='w'\nsetting='s'\n"
COUNTS = """check = {kind='exit counts', backbone='b', classes=2, image_size=8, blocks=[1, 2], counts=[1],
speedup_layers=1.0, speedup_macs=1.0}""".replace("\n", " ")
BAD = {
    "no TOML": ("[[cell", "is no readable TOML"),
    "no cell": ("a = 1", "must hold entries"),
    "too little": ("[[cell]]\nid = 'x'", "Field required"),
    "a key too many": (CELL + "year=1", "Extra inputs are not permitted"),
    "counts that do not fit": (CELL + COUNTS, "as many counts as"),
    "twice": (CELL * 2, "is registered twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line(case, tmp_path):
    text, said = BAD[case]
    path = tmp_path / "cells.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        register(REGISTRY, [path])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        read_file(tmp_path / "nowhere.toml")


def typed(monkeypatch, capsys, *words) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["eebench", "reproduce", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, capsys.readouterr().out


def test_the_command_says_it_as_json_and_fails_when_a_check_does(monkeypatch, capsys, tmp_path):
    status, out = typed(monkeypatch, capsys, "branchynet", "--json")
    assert status == 0
    assert {row["status"] for row in json.loads(out)} == {"holds", "not here"}
    path: Path = tmp_path / "cells.toml"
    cell = "id='x'\nmethod='m'\npaper='p'\nwhere='w'\nsetting='s'\ncheck={kind='ratio',over=4.0,under=2.0,gain=3.0}"
    path.write_text(f"[[cell]]\n{cell}")
    status, out = typed(monkeypatch, capsys, "m", "--file", str(path))
    assert status == 1
    assert "1 fails" in out


def test_exit_counts_are_a_check_of_their_own():
    with pytest.raises(ValueError, match="as many counts"):
        ExitCounts(kind="exit counts", backbone="b", classes=2, image_size=8, blocks=[1], counts=[], speedup_layers=1,
                   speedup_macs=1)  # fmt: skip
