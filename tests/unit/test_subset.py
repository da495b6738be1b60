"""The documents keep to what both renderers understand; what does not is found."""

from pathlib import Path

import pytest
import yaml

from seedtest_assets.reports.subset import CLASSES, READER, check

DESIGN = Path(__file__).parents[2] / "quarto_reports"
SOUND = """---
title: "`{python} title`"
lang: en
---

```{python}
#| tags: [parameters]
data = "report.json"
```

## Heading {#id .new-page}

:::: {.tiles}
::: {.tile}
[1]{.value} [What]{.label}
:::
::::

![Caption](chart.svg){fig-alt="A line" width=80%}

```{python}
#| output: asis
print("text")
```

| a | b |
|---|--:|
| 1 | `{python} 1` |

[A link](https://example.org) to [here](#id).
"""


@pytest.fixture
def checked(tmp_path):
    def checked(text: str) -> list[str]:
        source = tmp_path / "report.qmd"
        source.write_text(text)
        return check(source)

    return checked


def test_a_document_of_the_subset_passes(checked):
    assert checked(SOUND) == []


@pytest.mark.parametrize("source", sorted(DESIGN.glob("*.qmd")), ids=lambda path: path.name)
def test_the_reports_are_in_the_subset(source):
    assert check(source) == []


@pytest.mark.parametrize(
    ("addition", "found"),
    [
        ("<b>bold</b>", "raw HTML"),
        ("<div>block</div>", "raw HTML"),
        ("\\newpage", "raw HTML, TeX"),
        ("`#pagebreak()`{=typst}", "Typst"),
        ("$x^2$", "mathematics"),
        ("As @knuth says", "citation or cross-reference"),
        ("See {{< meta title >}}", "shortcode"),
        ("::: {.callout-note}\nx\n:::", "class callout-note"),
        ("![Caption](chart.svg)", "chart.svg has no fig-alt"),
        ('![Caption](../chart.svg){fig-alt="x"}', "../chart.svg is no SVG beside the document"),
        ("[link](javascript:x)", "a link"),
        ("```\ncode\n```", "a block of code"),
        ("# One", "level 1"),
        ("```{python}\nprint(1)\n```", "a cell has one of"),
        ("```{python}\n#| echo: true\n#| output: asis\nprint(1)\n```", "cell option echo"),
        ("```{python}\n#| output: asis\n1 + 1\n```", "print it"),
        ("```{python}\n#| include: false\n1 +\n```", "SyntaxError"),
    ],
)
def test_what_only_one_renderer_understands_is_found(checked, addition, found):
    assert any(found in problem for problem in checked(f"{SOUND}\n{addition}\n"))


def test_front_matter_is_checked(checked):
    assert checked("---\ntitle: T\nbibliography: x.bib\n---\n") == [
        "front matter: bibliography",
        "front matter: lang is missing",
    ]


def test_quarto_reads_the_same_markdown():
    assert yaml.safe_load((DESIGN / "_quarto.yml").read_text())["from"] == READER


def test_the_filter_and_the_template_know_every_class():
    lua = (DESIGN / "report.lua").read_text()
    assert [name for name in CLASSES - {"unnumbered"} if f"{name} = " not in lua and f'"{name}"' not in lua] == []
