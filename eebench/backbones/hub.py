"""Loading a transformers sequence classifier and its tokenizer, with every mishap told in one line."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from eebench.backbones import pooling
from eebench.backbones.checkpoint import weights_sha256
from eebench.backbones.pooling import Pool
from eebench.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Loaded", "load"]

HUB_SECONDS = 5.0  # for the one question that tells whether the hub can be reached
NO_CODE: dict[str, Any] = {"trust_remote_code": False}  # never asked about on the terminal, never run
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(slots=True)
class Loaded:
    """A classifier, its tokenizer, and what a log should say about them."""

    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    notes: list[str]
    weights: str | None  # fingerprint of the encoder's weights: a SHA-256 or the hub's commit; None: random
    new_pooler: bool = False  # the checkpoint has none, or the weights are random
    pool: tuple[Pool, str] | None = None  # how the checkpoint pools, and the file that says so


@dataclass(slots=True)
class _Source:
    """Where to load from, and with which keywords of ``from_pretrained``."""

    path: str
    options: dict[str, Any]
    folder: bool = False
    commit: str = ""  # of a model from the hub
    notes: list[str] = field(default_factory=list)

    def find(self, relative: str) -> Path | None:
        """A file of the model by its relative path; None where there is none."""
        if self.folder:
            file = Path(self.path, relative)
            return file if file.is_file() else None
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

        try:
            return Path(hf_hub_download(self.path, relative, **self.options))
        except errors.LocalEntryNotFoundError:
            if try_to_load_from_cache(self.path, relative) is None:  # it never asked, so the hub may have the file
                self.notes.append(f"not known without the hub: whether '{self.path}' has {relative}")
            return None
        except errors.EntryNotFoundError:
            return None

    def weight_files(self) -> list[Path]:
        """The folder's weights."""
        return sorted(file for pattern in WEIGHTS for file in Path(self.path).glob(pattern))

    def fingerprint(self) -> str:
        """What the weights are: a hash of the folder's files, or the hub's commit."""
        if not self.folder:
            return self.commit
        each = "".join(weights_sha256(file) for file in self.weight_files())
        return each if len(self.weight_files()) == 1 else hashlib.sha256(each.encode()).hexdigest()


def load(
    name: str, *, outputs: int, attention: Mapping[str, str], stored_pool: bool = True, allow_random: bool = False
) -> Loaded:
    """Load an encoder with a fresh classifier, in float32. No code that lies beside the weights is run.

    Args:
        name: a local folder, or a model's name on the hub. Without network the hub's local cache is used.
        outputs: width of the classifier.
        attention: the ``model_type`` values that are welcome, with transformers' attention implementation for each.
        stored_pool: find out how the checkpoint pools.
        allow_random: initialise at random where a folder has no weights.

    Raises:
        UserError: whatever is wrong, in one line.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(f"text backbone '{name}' needs transformers: pip install 'eebench[text]'") from None
    source = _locate(name)
    with _quiet(transformers), _one_line(name):
        _check(name, transformers.PretrainedConfig.get_config_dict(source.path, **source.options)[0], attention)
        config = transformers.AutoConfig.from_pretrained(source.path, num_labels=outputs, **source.options, **NO_CODE)
        kernel = attention[config.model_type]
        tokenizer = _tokenizer(name, config, source)
        pool = pooling.stored_pool(name, source.find) if stored_pool else None
        auto = transformers.AutoModelForSequenceClassification
        if source.folder and not source.weight_files():
            if not allow_random:
                raise UserError(f"folder '{name}' has no weights ({' or '.join(WEIGHTS)})")
            net = auto.from_config(config, attn_implementation=kernel, **NO_CODE).float().train()
            return Loaded(net, tokenizer, [*source.notes, "weights: random"], None, new_pooler=True, pool=pool)
        # Stored pickles are read with weights_only; a stored classifier of another task may have another width.
        net, found = auto.from_pretrained(
            source.path,
            config=config,
            attn_implementation=kernel,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **source.options,
            **NO_CODE,
        )
        new_pooler = _refresh(name, net, found)
    return Loaded(net.float().train(), tokenizer, source.notes, source.fingerprint(), new_pooler, pool)


def _locate(name: str) -> _Source:
    """The folder of that name, else the hub's model, else what its cache has of it."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():  # transformers would guess a family from the folder's name
            raise UserError(f"folder '{name}' has no config.json; it is no transformers model")
        return _Source(str(folder), {"local_files_only": True}, folder=True)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UserError(f"no folder '{name}'")
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        # Asked first and once: the loaders would retry every file against a dead network for half a minute.
        revision = HfApi().model_info(name, timeout=HUB_SECONDS).sha
    except errors.RepositoryNotFoundError:
        raise UserError(f"no model '{name}' on the hub (or it is private), and no such folder here") from None
    except errors.HFValidationError:
        raise UserError(f"'{name}' is neither a folder nor a possible model name") from None
    except Exception:  # what a dead network raises differs between the hub client's versions
        cached = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached, str):
            raise UserError(
                f"the Hugging Face hub cannot be reached and its cache has no '{name}'; give a local folder instead"
            ) from None
        note = f"hub not reached: '{name}' from the local cache"
        commit = Path(cached).parent.name  # the cache keeps a folder a commit
        return _Source(name, {"local_files_only": True}, commit=commit, notes=[note])
    return _Source(name, {"revision": revision}, commit=revision or "", notes=[f"hub: {name} at {revision}"])


def _check(name: str, config: Mapping[str, Any], families: Collection[str]) -> None:
    """Refuse, from the bare configuration, what would need code of its own or another adapter."""
    _no_code(name, "config.json", config)
    family = config.get("model_type", "model without a model_type")
    if family not in families:
        raise UserError(
            f"backbone '{name}' is a {family}, a family eebench has no adapter for; "
            f"there are adapters for model_type {', '.join(sorted(families))}"
        )
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":  # recent transformers drop these and would run another model without a word
        raise UserError(f"backbone '{name}' has {kind} position embeddings; only absolute ones are supported")


def _no_code(name: str, file: str, content: Mapping[str, Any]) -> None:
    if content.get("auto_map"):
        raise UserError(f"backbone '{name}' brings Python code of its own (auto_map in {file}), which is never run")


def _tokenizer(name: str, config: PretrainedConfig, source: _Source) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    # Without its code transformers would take another tokenizer and not say so.
    _no_code(name, "tokenizer_config.json", get_tokenizer_config(source.path, **source.options))
    tokenizer = AutoTokenizer.from_pretrained(source.path, **source.options, **NO_CODE)
    tokenizer.padding_side = "right"  # the class token stays token 0
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes of a folder without a vocabulary
        raise UserError(f"backbone '{name}' has no tokenizer (tokenizer.json, or the family's vocabulary files)")
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"backbone '{name}': the tokenizer knows {len(tokenizer)} tokens, the model only {config.vocab_size}"
        )
    return tokenizer


def _refresh(name: str, net: PreTrainedModel, found: dict[str, Any]) -> bool:
    """Make the classifier new whatever the checkpoint held, and make sure that the encoder is the checkpoint's.

    Returns:
        Whether the pooler is new as well, the checkpoint having none.
    """
    prefix = net.base_model_prefix + "."
    missing = sorted(key for key in found["missing_keys"] if key.startswith(prefix))
    odd = sorted(key for key, *_ in found["mismatched_keys"] if key.startswith(prefix))
    absent = [key for key in missing if not key.startswith(prefix + "pooler")]
    if absent or odd:
        what = f"lack {absent[0]}" if absent else f"have another shape at {odd[0]}"
        raise UserError(
            f"backbone '{name}': the weights do not fit config.json: they {what} ({len(absent + odd)} in all)"
        )
    for part in net.children():
        if part is not net.base_model:
            for layer in part.modules():
                if isinstance(layer, nn.Linear):  # as every family initialises its linear layers
                    nn.init.normal_(layer.weight, std=net.config.initializer_range)
                    nn.init.zeros_(layer.bias)
    return bool(missing)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence transformers' load report and progress bars: the notes say what matters in one line."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """What the loaders raise about a user's files, as one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (ImportError, OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"backbone '{name}' cannot be loaded: {first}") from error
