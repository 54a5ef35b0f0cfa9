import re

import pytest

from eebench.report import markdown
from eebench.report.first import first_screen


@pytest.mark.parametrize("which", ["report", "large_report"])
def test_it_stands_on_its_own(which, request):
    files = request.getfixturevalue(which)
    text, folder = files["report.md"].read_text(), files["report.md"].parent
    links = [*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r'(?:src|srcset)="([^"]+)"', text)]
    local = [link for link in links if not link.startswith("https://")]
    assert len(local) > 10
    assert all((folder / link).exists() for link in local)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(widths) == 1, block
    assert not re.search(r"(?<!\\)~", re.sub(r"```.*?```", "", text, flags=re.DOTALL))  # a forge would strike out
    assert text.count("<details>") == text.count("</details>")


def test_it_begins_with_the_answer_and_stays_short(large_report, large):
    lines = large_report["report.md"].read_text().splitlines()
    assert lines[0] == f"# {markdown.escape(large.title)}"
    assert lines[2] == f"**{markdown.escape(large.answer.sentence)}**"
    assert lines[4] == markdown.escape(large.answer.trust)
    assert "<picture>" in lines[6]
    assert len(lines) < 400
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = next(i for i, line in enumerate(lines[first:]) if not line.startswith("|"))
    assert rows == 14  # heading, rule, twelve rows
    folded = text_outside_folds(lines)
    assert folded < 40


def test_it_says_what_a_reader_must_not_miss(report, scene):
    notes = [block.text for block in first_screen(scene, set()).blocks if getattr(block, "tone", "") == "note"]
    assert notes
    assert all(f"> **Note:** {markdown.escape(note)}" in report["report.md"].read_text() for note in notes)


def text_outside_folds(lines):
    depth, count = 0, 0
    for line in lines:
        depth += line.count("<details>")
        count += depth == 0 and bool(line)
        depth -= line.count("</details>")
    return count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("~ −0.6 [1, 2]", r"\~ −0.6 \[1, 2\]"),
        ("<b> & $x$", r"&lt;b&gt; &amp; \$x\$"),
        ("vit_micro", r"vit\_micro"),
    ],
)
def test_escapes(text, expected):
    assert markdown.escape(text) == expected


def test_a_fence_outlasts_what_is_in_it():
    assert markdown.fence("a ```` b", "sh") == "`````sh\na ```` b\n`````"
