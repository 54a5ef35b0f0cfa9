"""What the first screen warns of: who trained longer, exits that never learnt, what validation data cannot tell."""

from eebench.report import first
from eebench.report.frames import load
from eebench.report.scene import Scene
from tests.report.fake_run import write_run


def test_the_answer_is_the_first_block_and_the_plot_the_second(scene):
    answer, figure, *_ = first.first_screen(scene, {"overview_cpu", "overview_macs"}).blocks
    assert (answer.kind, answer.sentence) == ("answer", scene.answer.sentence)
    assert (figure.kind, figure.name) == ("figure", "overview_cpu")


def test_how_long_everybody_was_trained(scene):
    assert first._training(scene) == ""  # an old record does not say
    for cell in scene.record.run["cells"]:
        cell["phases"] = [{"epochs": 40}] if cell["method"] == "backbone" else [{"epochs": 5}, {"epochs": 15}]
    assert first._training(scene).startswith("It was trained for 40 epochs, each method from there for 20. ")
    scene.record.run["cells"][-1]["phases"] = [{"epochs": 30}]
    assert "for 20 or 30." in first._training(scene)


def test_chance_on_validation_is_told_where_it_exceeds_the_target(scene):
    points = scene.record.points
    points["drop_low"], points["drop_high"] = points["drop"] - 0.01, points["drop"] + 0.01
    scene.record.run["data"] |= {"n_val": 100, "n_test": 400}
    (note,) = first._resolution(scene)
    assert "100 validation samples, where a difference of 2.0 points is chance" in note
    scene.record.run["data"]["n_val"] = 500
    assert first._resolution(scene) == []
    scene.record.run["data"]["n_val"] = 100
    points["choose"] = "upper"  # the choice itself kept a margin
    assert first._resolution(scene) == []


def test_exits_that_never_learnt_are_named(tmp_path):
    scene = Scene(load(write_run(tmp_path / "run", 2, seeds=(0, 1), dead=2, troubles=False)))
    (note,) = first._dead(scene)
    assert note == "Exits that never learnt more than the majority class: LGViT [blocks=4+8] blocks 4, 8."


def test_titles_name_no_folder(scene):
    scene.record.run["backbone"]["name"] = "/home/me/models/minilm-l6/"
    scene.record.run["data"]["name"] = "csv:/home/me/data/trec6"
    assert scene.title == "Early exit on minilm-l6, trec6"
    assert "/home" not in first.setting(scene)
