"""The whole plugin contract: what a method brings, and what it is handed.

A method is *exits* (heads behind numbered blocks), a *training recipe* (phases, each with a loss) and an *exit rule*
(who stops here?). The engine owns everything else: data, the loop, the walk, stopping rows, measuring, reporting.

Shapes: ``B`` samples, ``N`` tokens, ``D`` channels, ``K`` classes (1 for regression). Blocks are numbered from 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Backbone",
    "ChainedHead",
    "ExitHead",
    "ExitOutput",
    "ExitRule",
    "Features",
    "Inputs",
    "Knob",
    "Layout",
    "Method",
    "Need",
    "PaperRecipe",
    "Phase",
    "Range",
    "Recipe",
    "Released",
    "Task",
    "TrainStep",
    "Visit",
    "entropy",
    "inner_blocks",
    "only",
    "top_probability",
]

Rows = dict[str, Any]
"""Named arrays with one row a sample: tensors where a model runs, numpy arrays where a rule decides."""

Inputs = Tensor | dict[str, Tensor]
"""A batch as the backbone takes it: images (B, C, H, W), or a tokenizer's dictionary of (B, N) tensors."""


@dataclass(frozen=True)
class Task:
    """What is predicted and how it is scored."""

    kind: str = "classification"  # or "regression"
    classes: int = 2  # outputs of a classifier; 1 for regression
    metric: str = "accuracy"  # accuracy | mcc | f1 | accuracy_f1 | pearson_spearman
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Width of the logits."""
        return 1 if self.kind == "regression" else self.classes

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Per-sample loss (B,): cross-entropy in nats, or the squared error."""
        if self.kind == "regression":
            return F.mse_loss(logits[:, 0], targets.to(logits.dtype), reduction="none")
        return F.cross_entropy(logits, targets, reduction="none")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the tokens behind one block are. Static: known before any input is seen."""

    dim: int
    prefix: int = 0  # leading tokens that are no patches: CLS, distillation token, registers
    grid: tuple[int, int] | None = None  # patch rows and columns; None for text
    cls: bool = True  # token 0 is a class token
    dist: bool = False  # token 1 is DeiT's distillation token
    pool: Literal["cls", "mean"] = "cls"  # what the network's own classifier reads; without cls: "mean"

    def __post_init__(self) -> None:
        if not self.cls:
            object.__setattr__(self, "pool", "mean")

    @property
    def tokens(self) -> int | None:
        """Tokens a sample has, prefix included; None where the length varies (text)."""
        return None if self.grid is None else self.prefix + self.grid[0] * self.grid[1]


@dataclass(slots=True)
class Features:
    """What a block hands to the next block and to an exit: raw tokens, no final norm applied."""

    tokens: Tensor  # (B, N, D)
    layout: Layout
    mask: Tensor | None = None  # (B, N) bool, True for a real token; None when all are
    shared: Tensor | None = None  # (1, …) what every block reads and no sample changes: MPNet's position bias

    @property
    def patches(self) -> Tensor:
        """Tokens without the prefix, (B, N - prefix, D)."""
        return self.tokens[:, self.layout.prefix :]

    @property
    def map(self) -> Tensor:
        """Patch tokens as an image, (B, D, H, W). Raises TypeError on text, which has no grid."""
        if self.layout.grid is None:
            raise TypeError("these features have no patch grid")
        height, width = self.layout.grid
        return self.patches.transpose(1, 2).unflatten(2, (height, width))

    @property
    def pooled(self) -> Tensor:
        """One vector a sample, (B, D), as ``layout.pool`` says: the class token, or the mean.

        The mean is over an image's patches, or over all real tokens of a text, special ones included, as
        sentence-transformers takes it. It is additions alone, which no MAC count charges.
        """
        if self.layout.pool == "cls":
            return self.tokens[:, 0]
        start = 0 if self.layout.grid is None else self.layout.prefix
        tokens = self.tokens[:, start:]
        if self.mask is None:
            return tokens.mean(1)
        weight = self.mask[:, start:, None].to(tokens.dtype)
        return (tokens * weight).sum(1) / weight.sum(1)

    def rows(self, index: Tensor) -> Features:
        """The samples at ``index`` (int64), in that order: how finished rows leave the batch."""
        mask = None if self.mask is None else self.mask.index_select(0, index)
        return Features(self.tokens.index_select(0, index), self.layout, mask, self.shared)


class Backbone(nn.Module, ABC):
    """A network, block by block. Running every block and ``classify`` equals the original model exactly."""

    name: ClassVar[str] = ""
    """What users type, for a backbone that a package (entry-point group ``eebench.backbones``) or a file brings."""

    modality: ClassVar[str]  # "vision" | "text"
    family: str = ""  # vit, swin, resnet, or a text model's own type (bert, albert, roberta, …): what recipes go by
    layouts: tuple[Layout, ...]  # layouts[k - 1]: the tokens behind block k
    heads: tuple[int, ...]  # attention heads of each block (1 where a block has none)
    mlp_ratio: float = 4.0
    own_weights: str | None = (
        None  # fingerprint of pre-trained weights the model comes with (text); None: ``--weights``
    )
    notes: tuple[str, ...] = ()  # what was adapted to fit the run, said in its log
    image_shape: tuple[int, int, int] | None = None  # channels, rows and columns of an image; None for text
    max_tokens: int | None = None  # of a text, special ones included: longer ones are truncated; None for images

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.layouts)

    @classmethod
    def create(
        cls, *, outputs: int, image_size: int | None = None, patch_size: int | None = None, channels: int = 3
    ) -> Backbone:
        """A fresh network, torch's random state already seeded: what a backbone with a ``name`` of its own defines.

        Args:
            outputs: width of the classifier.
            image_size: side of the square input in pixels; None for text.
            patch_size: side of a patch that the data set or the user asks for; None for the network's own.
            channels: of the input.
        """
        raise NotImplementedError(f"{cls.__name__} has no create()")

    @abstractmethod
    def embed(self, inputs: Inputs) -> Features:
        """Everything before block 1."""

    @abstractmethod
    def block(self, number: int, features: Features) -> Features:
        """Run block ``number`` (from 1); what belongs between two blocks (patch merging) comes first."""

    @abstractmethod
    def classify(self, features: Features) -> Tensor:
        """The network's own final norm and classifier on the last block's features: logits (B, K)."""

    @abstractmethod
    def norm(self, features: Features) -> Features:
        """The network's own final norm on the tokens. Only the last block's width fits (``layouts[-1].dim``)."""

    @abstractmethod
    def plain(self, inputs: Inputs) -> Tensor:
        """The original model's own forward: logits (B, K). What the plain-backbone row measures."""

    def prepare(self, raw: Sequence[Any]) -> Inputs:
        """Samples as a data set yields them → one batch. Images are stacked; text is tokenized and padded."""
        raise NotImplementedError

    def example(self, tokens: int | None = None) -> Inputs:
        """A batch of one sample as ``prepare`` makes it, for counting: what is in it does not matter.

        Args:
            tokens: length of a text; an image has the backbone's own size.
        """
        if self.image_shape is None:
            raise NotImplementedError(f"{type(self).__name__} has no image_shape and defines no example()")
        return torch.zeros(1, *self.image_shape)

    def lengths(self, raw: Sequence[Any]) -> np.ndarray | None:
        """Tokens of each sample as ``prepare`` makes it, padding left out, (N,) int64; None where all are equal.

        Costs of a text are counted by these, and texts of similar length are batched together.
        """
        return None

    def truncated(self, raw: Sequence[Any]) -> int:
        """How many of these samples lose tokens to ``max_tokens``."""
        return 0

    def shorten(self, blocks: int) -> Backbone:
        """Keep the first ``blocks`` blocks with their weights and drop the others, in place; returns itself.

        What a static baseline is trained from: the same architecture, ``plain`` running as many blocks. Where the last
        block left is as wide as the last one was, final norm and classifier stay as they are, else they are new.

        Raises:
            ValueError: not between 1 and ``depth``, or a number at which this network cannot be cut.
            NotImplementedError: this adapter does not say how.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be shortened")


@dataclass(slots=True)
class ExitOutput:
    """What an exit says when it is asked, before anybody has decided."""

    logits: Tensor | None = None  # (B, K); None: classified only when a sample stops (``ExitHead.classify``)
    signal: Tensor | None = None  # (B,) or (B, S): a learned signal such as a halting probability or a gate
    carry: Rows = field(default_factory=dict)  # handed to the next exit; rows that leave are dropped from it
    aux: Rows = field(default_factory=dict)  # for the training loss only


class ExitHead(nn.Module):
    """One exit: ``answer`` is all that most define.

    What is computed only to decide belongs in ``forward``, in a submodule named ``gate``: its MACs are listed apart,
    and fixed depth, which decides nothing, does not run it.
    """

    def answer(self, features: Features) -> Tensor:
        """Logits (B, K) from these features alone: what fixed depth runs."""
        raise NotImplementedError(f"{type(self).__name__} defines no answer(features)")

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        """What the exit rule needs, by default the answer. ``carry`` is the previous exit's, or empty at the first."""
        return ExitOutput(self.answer(features))

    def classify(self, features: Features, output: ExitOutput) -> Tensor:
        """Logits (B, K) of samples that stop here, where ``forward`` put them off (``output.logits`` is None).

        ``features`` and ``output`` hold just the rows that stop.
        """
        raise NotImplementedError(f"{type(self).__name__} puts its logits off but defines no classify()")

    def hand_on(self, features: Features, carry: Rows) -> Rows:
        """What the next exit gets when nobody decides here, by default what ``forward`` hands on.

        Asked by a fixed depth further on whose exit is a :class:`ChainedHead`. Override it where ``forward`` also runs
        what only decides.
        """
        return self(features, carry).carry


class ChainedHead(ExitHead):
    """An exit that answers from what the exits before it handed on, and so needs them even at fixed depth.

    Fixed depth there runs ``hand_on`` of every exit before, then ``answer_after`` of this one, and charges just that.
    """

    def answer_after(self, features: Features, carry: Rows) -> Tensor:
        """Logits (B, K) from these features and what the previous exit handed on, {} at the first exit."""
        raise NotImplementedError(f"{type(self).__name__} defines no answer_after(features, carry)")

    def answer(self, features: Features) -> Tensor:
        """The answer with no exit before it."""
        return self.answer_after(features, {})

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        """What the exit rule needs, by default the answer."""
        return ExitOutput(self.answer_after(features, carry))


@dataclass(frozen=True, slots=True)
class Knob:
    """The one number that trades accuracy for compute at inference."""

    name: str  # threshold, patience, q, ...
    never: float  # a value at which nobody stops before the last exit
    always: float | None = None  # a value at which everyone stops at the first exit; None: there is none
    integer: bool = False


class ExitRule(ABC):
    """Who stops here? Written once: replay drives it over a stored trace, dynamic inference over the live rows.

    ``observe`` runs where the model runs; what it returns comes to the host, and ``step`` decides there on numpy
    arrays: all samples of a trace, or the rows still in the batch, be it one. It must treat each row by itself and keep
    nothing between calls but ``state``. It may stop a sample, and never skip a block: every block up to the one where a
    sample stops is run and charged.
    """

    knob: Knob

    @abstractmethod
    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """What the rule looks at, whatever the knob: named (B,) tensors. Computed once an exit, stored in a trace.

        ``exit`` counts exits from 0; ``ids`` (B,) int64 name the samples (for rules that draw random numbers).
        """

    @abstractmethod
    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """``(stop (B,) bool, state)`` for the rows still alive.

        Args:
            state: what the last step returned, cut down to the rows that went on, arrays with one row a sample; {} at
                the first exit.
            seen: what ``observe`` returned, as numpy arrays with one row a sample.
            knob: the knob's value.
        """

    @abstractmethod
    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Knob values worth replaying, from a validation trace: each entry of ``seen`` is a numpy array (N, E-1)."""


@dataclass(slots=True)
class Visit:
    """One stop of the walk: an exit, the features it read and what it said."""

    block: int
    head: ExitHead
    features: Features
    output: ExitOutput

    @property
    def logits(self) -> Tensor:
        """Logits (B, K) of this exit, classifying now if that was put off."""
        if self.output.logits is None:
            self.output.logits = self.head.classify(self.features, self.output)
        return self.output.logits


@dataclass(slots=True)
class TrainStep:
    """What a loss is handed: every exit's visit in order, the last one being the full model's."""

    visits: list[Visit]
    targets: Tensor  # (B,) int64 class indices, or float for regression
    loss: Callable[[Tensor, Tensor], Tensor]  # the task's own: (logits (B, K), targets) -> (B,), unreduced
    backbone: Backbone  # the one the exits hang on
    index: int  # batches done in this phase
    epoch: int  # epochs done in this phase
    epochs: int  # epochs this phase has in all
    batch: int  # batches done in this epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one phase is optimised: the common recipe of a budget, or a paper's own.

    Attributes:
        epochs: passes over the training split.
        lr: the highest learning rate, of the exits; the schedule says what becomes of it.
        batch_size: samples a step.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        betas: Adam's, both kinds.
        eps: Adam's, both kinds.
        momentum: of ``sgd``.
        weight_decay: decoupled with ``adamw``, added to the gradient with the other two.
        decay: what is decayed: ``matrices`` (and convolutions), or ``all``, biases and norms as well.
        schedule: ``constant``; ``linear`` or ``cosine`` down to ``floor``; ``step``, times ``gamma`` at each of
            ``milestones``; ``one-cycle``, up for the share ``warmup`` of all steps and then down to next to nothing.
        floor: where linear and cosine end, as a share of ``lr``.
        milestones: epochs done before each step down, ascending.
        gamma: factor of a step down.
        every: whether linear and cosine move every ``batch``, or every ``epoch`` only.
        warmup: share of all steps over which the rate rises linearly from nothing.
        warmup_steps: the same as a number of steps.
        clip: largest norm of the gradient; None: any.
        label_smoothing: of the task's cross-entropy, in [0, 1).
        backbone_lr_scale: the backbone's learning rate as a share of ``lr``.
        patience: stop after so many epochs in a row without a better score on validation data, and go back to the
            weights of the best epoch; None: never. What is scored, ``Phase.answers`` says.
        keep_best: go back to the best epoch's weights at the end without ever stopping early.
        epochs_on: epochs by name of the data set, where they differ from ``epochs``.

    Raises:
        ValueError: values that contradict each other or are out of range.
    """

    epochs: int
    lr: float
    batch_size: int
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay: Literal["matrices", "all"] = "matrices"
    schedule: Literal["constant", "linear", "cosine", "step", "one-cycle"] = "cosine"
    floor: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    every: Literal["batch", "epoch"] = "batch"
    warmup: float = 0.0
    warmup_steps: int = 0
    clip: float | None = None
    label_smoothing: float = 0.0
    backbone_lr_scale: float = 1.0
    patience: int | None = None
    keep_best: bool = False
    epochs_on: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        right = {
            "epochs must not be negative": self.epochs >= 0 and min(self.epochs_on.values(), default=0) >= 0,
            "lr must be above 0": self.lr > 0,
            "batch_size must be at least 1": self.batch_size >= 1,
            "optimizer is adamw, adam or sgd": self.optimizer in ("adamw", "adam", "sgd"),
            "decay is matrices or all": self.decay in ("matrices", "all"),
            "schedule is constant, linear, cosine, step or one-cycle": self.schedule
            in ("constant", "linear", "cosine", "step", "one-cycle"),
            "every is batch or epoch": self.every in ("batch", "epoch"),
            "floor, warmup and label_smoothing are shares below 1": all(
                0 <= share < 1 for share in (self.floor, self.warmup, self.label_smoothing)
            ),
            "give warmup or warmup_steps": not (self.warmup and self.warmup_steps),
            "one-cycle rises for the share warmup, which must be above 0": self.schedule != "one-cycle"
            or self.warmup > 0,
            "milestones ascend, and only step has them": list(self.milestones) == sorted(set(self.milestones))
            and bool(self.milestones) == (self.schedule == "step"),
            "patience must be at least 1": self.patience is None or self.patience >= 1,
        }
        wrong = [words for words, holds in right.items() if not holds]
        if wrong:
            raise ValueError(f"recipe: {wrong[0]}")

    @property
    def selects(self) -> bool:
        """Whether validation data choose the epoch whose weights are kept."""
        return self.keep_best or self.patience is not None

    def on(self, dataset: str) -> Recipe:
        """The recipe with the epochs it has for a data set."""
        return replace(self, epochs=self.epochs_on.get(dataset, self.epochs), epochs_on={})


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRecipe:
    """How a method was trained in a paper, and the setting in which that makes sense (``--budget paper``).

    A recipe is whole: where the setting does not fit, or an option that belongs to it was asked for otherwise, the
    common recipe trains the method and the record says so.

    Attributes:
        phases: recipes by name of the phase; one for every phase the method has.
        source: where the numbers are from, such as a repository and the script in it.
        second_hand: who trained the method so, when it was not its authors.
        modality: of the data.
        pretrained: whether the backbone starts from pre-trained weights.
        families: backbone families (``Backbone.family``); every family when none are named.
        datasets: names of data sets; every one when none are named.
        options: the method's options that belong to the recipe, as typed on the command line.
        backbone: the backbone's own stage: the run's ``trained`` backbone, which every method shares; ``untrained``,
            where backbone and exits are trained together from the starting weights; or a recipe of its own.
    """

    phases: Mapping[str, Recipe]
    source: str
    modality: Literal["vision", "text"]
    pretrained: bool
    second_hand: str | None = None
    families: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    backbone: Recipe | Literal["trained", "untrained"] = "trained"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a search (``--search``) may try, both ends included.

    Attributes:
        low: the least.
        high: the most.
        log: evenly on a logarithmic scale.
        integer: whole numbers only.

    Raises:
        ValueError: an empty range, or a logarithmic one that is not above 0.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"no range to search: {self.low:g} to {self.high:g}")


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training. Everything ``trains`` does not match is frozen, the backbone then in eval mode.

    Attributes:
        name: what the log calls it.
        loss: of one batch, a scalar.
        trains: over parameter names, "backbone.…" and "exits.<block>.…": which of them move.
        share: of the method's epochs; the shares of all phases sum to 1.
        lr_scale: on the common recipe's learning rate.
        epoch_end: called after every epoch with the validation split's visits (their features are not kept) and
            targets. What it changes belongs in buffers, which are stored with the weights. Of the built-in methods only
            JEI-DNN has one, which balances its gates' targets; such a method has seen validation data.
        answers: from the validation split's visits to the logits (N, K) whose score chooses the epoch to keep, where a
            recipe has one chosen; without it every exit's are scored, and the mean counts.
    """

    name: str
    loss: Callable[[TrainStep], Tensor]
    trains: Callable[[str], bool] = lambda name: True
    share: float = 1.0
    lr_scale: float = 1.0
    epoch_end: Callable[[list[Visit], Tensor], None] | None = None
    answers: Callable[[list[Visit]], Tensor] | None = None


Need = Literal["classes", "grid", "class_token", "one_width", "text"]
"""What a method may declare that it needs: class probabilities (no regression), a patch grid behind every block (no
text), a class token, the same width behind every block (no pyramid such as Swin), text."""


@dataclass(frozen=True, slots=True)
class Released:
    """Published weights, sorted.

    Attributes:
        net: the backbone's, by the names of the library it is from (timm).
        exits: the exits', by ``<block>.<name>``.
        left: names that no place was found for.
    """

    net: Mapping[str, Tensor]
    exits: Mapping[str, Tensor]
    left: Sequence[str] = ()


@dataclass(frozen=True)
class Method(ABC):
    """One early-exit method. A subclass is a frozen dataclass whose fields are the method's options.

    ``name[field=value]`` sets a field; its type is checked, ``__post_init__`` may raise a ValueError for more. The
    fields are described in the docstring under ``Attributes:``.

    The life of a method: it is made once, from its options, before anything is known of backbone, data or seed, and
    serves them all. For every training ``build`` is called once, on the trained backbone, then ``phases`` once, and the
    phases run in order; ``rule`` is called whenever somebody is to decide: for a trace, for timing, to tune. A stored
    model is opened by ``build`` on a fresh backbone, and its weights are loaded. So nothing is kept between ``build``,
    ``rule`` and ``phases``, and a frozen dataclass could not: what a loss needs is in its :class:`TrainStep`, what
    inference needs is in the heads' parameters and buffers.

    Attributes of the class:
        name: what it is called on the command line.
        needs: where the method makes no sense, it is left out with the reason, which eebench words.
        papers: recipes; the first that fits the run is used under ``--budget paper``.
        space: what ``--search`` may try of the options that change the loss and nothing else, by name: a range or a
            tuple of values. ``lr``, a factor on the recipe's learning rate, and ``backbone_lr_scale`` are in every
            method's space, and may be given another range here.
    """

    name: ClassVar[str]
    needs: ClassVar[AbstractSet[Need]] = frozenset()
    papers: ClassVar[Sequence[PaperRecipe]] = ()
    space: ClassVar[Mapping[str, Range | tuple[Any, ...]]] = {}

    @abstractmethod
    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Fresh exits by block number. One at the last block replaces the backbone's own classifier as the last exit.

        Torch is seeded before. The backbone stays as it is: an exit hangs behind a block, and what is put into one (an
        adapter, LoRA) would change the plain backbone, what it costs and every other exit. An adapter an exit needs
        belongs into its head, where it reads what the block hands on.
        """

    @abstractmethod
    def rule(self, task: Task) -> ExitRule:
        """The exit rule."""

    @abstractmethod
    def phases(self, task: Task) -> Sequence[Phase]:
        """The training recipe, in order."""

    def released(self, state: Mapping[str, Tensor], backbone: Backbone) -> Released:
        """Weights as the method's authors published them, under an eebench model's names: ``--weights NAME:PATH``.

        Args:
            state: tensors by the authors' names.
            backbone: the network they are meant for, which says how deep it is.

        Raises:
            NotImplementedError: the method knows no published weights.
        """
        raise NotImplementedError(f"{self.name} knows no published weights")


def inner_blocks(depth: int) -> list[int]:
    """Numbers of every block but the last: the usual places of exits."""
    return list(range(1, depth))


def only(*prefixes: str) -> Callable[[str], bool]:
    """A ``Phase.trains`` that matches parameter names by prefix: ``only("exits.")`` freezes the backbone."""
    return lambda name: name.startswith(prefixes)


def top_probability(logits: Tensor) -> Tensor:
    """Largest softmax probability, (B,)."""
    return torch.softmax(logits, -1).amax(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats, (B,)."""
    return torch.special.entr(torch.softmax(logits, -1)).sum(-1)
