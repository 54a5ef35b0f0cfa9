"""For whoever tests a method: tiny networks and data, the contract's promises as tests, and the replay's slow oracle.

``parametrize_with_checks`` puts every promise that ``eebench check`` asks for into a pytest of one's own. ``build``,
``train_step`` and ``gradients`` set a method up for tests of its losses, ``replay`` decides sample by sample for a
trace worked out by hand, and ``assert_replay_is_dynamic`` holds inference that stops to it.
"""

from eebench.testing.bench import KINDS, Bench
from eebench.testing.checks import CHECKS
from eebench.testing.conformance import Finding, check_method, parametrize_with_checks
from eebench.testing.networks import (
    BACKBONES,
    TinyPyramid,
    TinyText,
    tiny_backbone,
    tiny_data,
    tiny_text,
    tiny_vit,
)
from eebench.testing.oracle import (
    CLASSES,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    pick,
    replay,
    trace,
    train_step,
)

__all__ = [
    "BACKBONES",
    "CHECKS",
    "CLASSES",
    "KINDS",
    "Bench",
    "Finding",
    "TinyPyramid",
    "TinyText",
    "assert_replay_is_dynamic",
    "build",
    "check_method",
    "classes_for",
    "gradients",
    "inputs_for",
    "parametrize_with_checks",
    "pick",
    "replay",
    "tiny_backbone",
    "tiny_data",
    "tiny_text",
    "tiny_vit",
    "trace",
    "train_step",
]
