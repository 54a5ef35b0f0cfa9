"""What mkdocstrings shows of the sources, where that is written in a way of ours.

Other objects are named as ``:func:`score` ``: the site shows the name as code. A field is described by the comment at
the end of its line: the site lists it among the class's attributes.
"""

import io
import re
import tokenize

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`")


class OurDocstrings(griffe.Extension):
    """Prepares each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for every object that has been collected."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: object) -> None:
        """Called for every class whose members have been collected."""
        if cls.docstring is None or "Attributes:" in cls.docstring.value:
            return
        fields = {name: comment(each.source) for name, each in cls.attributes.items() if each.docstring is None}
        lines = [f"    {name}: {words}" for name, words in fields.items() if words and not name.startswith("_")]
        if lines:
            cls.docstring.value += "\n".join(["", "", "Attributes:", *lines])


def comment(source: str) -> str:
    """What stands behind ``#`` on the line, "" where nothing does."""
    tokens = tokenize.generate_tokens(io.StringIO(source.strip()).readline)
    words = " ".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)
    if not words or words.startswith(("type: ignore", "noqa")):
        return ""
    return words
