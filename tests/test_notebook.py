"""The notebook of the documentation is executed, from its first cell to its last."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat, nbclient and ipykernel: extra test")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbformat, nbclient and ipykernel: extra test")
pytest.importorskip("ipykernel", reason="notebooks need nbformat, nbclient and ipykernel: extra test")


def test_the_tour_runs_and_ends_in_a_figure_and_tables():
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are made by whoever runs it"
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "docs")}})
    client.execute()
    kinds = [set(output.get("data", {})) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in kind for kind in kinds)
    assert sum("text/html" in kind for kind in kinds) >= 3
    latex = [output["text"] for cell in notebook.cells for output in cell.get("outputs", []) if output.get("text")]
    assert any("\\begin{tabular}" in text for text in latex)
