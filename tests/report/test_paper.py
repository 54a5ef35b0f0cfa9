"""What drops into a paper compiles, says what the record says, and names no file that is not there."""

import re
import shutil
import subprocess

import pytest

from eebench.report.paper import bibtex, latex
from eebench.report.text import number

PDFLATEX = shutil.which("pdflatex")


def rows(text):
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r"\\")]


def test_the_table_has_the_pages_rows(large):
    head, *body = rows(latex(large))
    race = large.race("drop_1")
    expected = race.shown()[:11]
    assert len(head) == 6
    assert len(body) == 12
    for cells, row in zip(body[1:], expected, strict=True):
        assert number(row["speedup_macs"]) in cells[4]
        assert ("n.s." in cells[3]) == bool(row["unsure_drop"])


def test_the_best_that_kept_the_target_are_bold(large):
    race = large.race("drop_1")
    shown = race.shown()[:11]
    running = [row for row in shown if race.ranks(row)]
    body = rows(latex(large))[2:]
    for column, name in ((2, "score"), (4, "speedup_macs"), (5, "speedup_gpu")):
        best = max(row[name] for row in running)
        bold = [i for i, cells in enumerate(body) if r"\textbf" in cells[column]]
        assert bold == [i for i, row in enumerate(shown) if race.ranks(row) and row[name] == best], name


def test_the_caption_has_protocol_and_sizes(large):
    caption = re.search(r"\\caption\{(.*)\}", latex(large))[1]
    for words in (
        "319 validation samples",
        "400 test samples",
        "3 seeds",
        "at most 1 point lost",
        "GPU time at batch 1",
    ):
        assert words in caption


def test_papers_are_cited_once(large):
    text = bibtex(large)
    assert text.count("@inproceedings{pabee,") == 1
    assert text.count("@inproceedings{") == 12


@pytest.mark.skipif(PDFLATEX is None, reason="there is no pdflatex here")
@pytest.mark.parametrize("which", ["scene", "large"])
def test_it_compiles(which, request, tmp_path):
    table = latex(request.getfixturevalue(which))
    document = (
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\usepackage[T1]{fontenc}\n\\usepackage{lmodern}\n"
        f"\\begin{{document}}\n{table}\n\\end{{document}}\n"
    )
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:].decode()
    assert (tmp_path / "paper.pdf").stat().st_size > 5000
