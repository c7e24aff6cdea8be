"""The recipe reference as Markdown, from the JSON Schema: `docs/recipe.md` is this text.

Every section of the schema becomes a table of its fields; what they mean is the docstring under the
field. Nothing is said here of any single field, so that a new one needs no second place.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.recipe.quantize import LEGAL_SCHEMES
from pipeline.recipe.recipe import Recipe

Schema = Mapping[str, Any]

COMMAND = "python -m pipeline schema --markdown"
_REFERENCE = "#/$defs/"
_INTRODUCTION = """\
# The recipe

A recipe is one YAML file that says all of a conversion; `configs/` has some to start from, and their
comments say why they are as they are. This page is made from the schema
(`{command} > docs/recipe.md`), and a test holds it to it.

- **Required** are `schema`, `model` and `data`; `data.selection` where `quantize.ranges` is `auto`, as it is by
  default; `data.preprocess` where the model is a file of its own format (`onnx`, `quantized-onnx`, `tflite`,
  `quantized-tflite`). An unknown key is an error that names its line and the key that was probably meant.
- **What does not go together** is refused with the reason: `equalize`, `quantize` or `handoff: onnx` for a
  model that comes quantized; a CPU bundle or `max_top1_drop` for a quantized TFLite; `quantize.layers` with
  `delegate: cpu`; int16, powers of two or `layers` with `handoff: tflite`; `max_logit_error` for the first
  stage; checks of stages that the chain has not.
- **Fractions**: accuracies and drops are fractions everywhere. 0.005 is half a point.
- **Paths** are relative to the recipe, unless they come from the command line.
- **`--set quantize.scheme=…`** overrides any value for one run; `pipeline run --help` has the rest.
- **Editors** complete and check recipes by the JSON Schema that `pipeline schema` prints.

```yaml
schema: 1
model: {{source: timm, name: inception_v4.tf_in1k}}
data:
  calibration: {{dataset: imagenet, images: 128}}
  selection: {{dataset: imagenet, images: 64}}
  evaluation: {{dataset: imagenet, images: auto}}
checks:
  quantize: {{max_top1_drop: 0.005}}
```

## Its sections
"""
_PAIRS = """\
### Legal pairs

SyNAP knows these types and schemes together, and its toolkit does not check them; other pairs are
refused here.

| `data_type` | `scheme` |
| --- | --- |
"""


def recipe_reference() -> str:
    """The whole page. Pure: the same schema gives the same text."""
    schema = Recipe.model_json_schema()
    sections = _sections(schema)
    headings = {name: _heading(paths) for name, paths in sections.items()}
    parts = [_INTRODUCTION.format(command=COMMAND), _section("Recipe", schema, headings)]
    for name, heading in headings.items():
        parts.append(f"## {heading}\n\n{_section(name, schema, headings)}")
        if name == "Quantize":
            parts.append(_PAIRS + _pairs())
    return "\n".join(parts)


def anchor(heading: str) -> str:
    """The name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _sections(schema: Schema) -> dict[str, list[str]]:
    """By name of a definition, the places in a recipe where it stands; in the order of the recipe."""
    found: dict[str, list[str]] = {}

    def visit(part: Schema, path: str) -> None:
        for field, value in part["properties"].items():
            here = f"{path}.{field}".removeprefix(".")
            for name in _referred(value):
                found.setdefault(name, []).append(here)
                visit(schema["$defs"][name], here)

    visit(schema, "")
    return {name: list(dict.fromkeys(paths)) for name, paths in found.items()}


def _referred(value: Schema) -> list[str]:
    """Definitions that a field's value may be."""
    options = value.get("anyOf", [value])
    return [item["$ref"].removeprefix(_REFERENCE) for item in options if "$ref" in item]


def _heading(paths: list[str]) -> str:
    if len(paths) > 3:
        return f"`{paths[0]}` to `{paths[-1]}`"
    return ", ".join(f"`{path}`" for path in paths)


def _section(name: str, schema: Schema, headings: Mapping[str, str]) -> str:
    part = schema["$defs"].get(name, schema)
    required = part.get("required", ())
    rows = [
        [
            f"`{field}`",
            _type(value, headings, null=value.get("default") is not None),
            "required" if field in required else _default(value),
            value.get("description") or _section_meaning(value, schema, headings),
        ]
        for field, value in part["properties"].items()
    ]
    described = "" if name == "Recipe" else f"{_one_line(part['description'])}\n\n"
    return (
        f"{described}| field | type | default | what it means |\n| --- | --- | --- | --- |\n"
        + "".join(f"| {' | '.join(_cell(text) for text in row)} |\n" for row in rows)
    )


def _section_meaning(value: Schema, schema: Schema, headings: Mapping[str, str]) -> str:
    """The docstring of the section that stands in a field, where it stands nowhere else."""
    return " ".join(
        schema["$defs"][name]["description"]
        for name in _referred(value)
        if headings[name].count("`") == 2
    )


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _default(value: Schema) -> str:
    """What stands for a field that is left out."""
    if "default" not in value:
        return "empty"
    default = value["default"]
    if default is None:
        return "-"
    return "its defaults" if isinstance(default, dict) else f"`{_yaml(default)}`"


def _yaml(value: Any) -> str:
    """A scalar or a list as a recipe has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _type(value: Schema, headings: Mapping[str, str], *, null: bool) -> str:
    """What a value may be, in words. `null` is named where it is not what stands there anyway."""
    if "$ref" in value:
        heading = headings[value["$ref"].removeprefix(_REFERENCE)]
        return f"[section](#{anchor(heading)})"
    if "anyOf" in value:
        options = [item for item in value["anyOf"] if null or item.get("type") != "null"]
        return _either([_type(item, headings, null=null) for item in options])
    if "enum" in value or "const" in value:
        words = value["enum"] if "enum" in value else [value["const"]]
        return _either([f"`{_yaml(word)}`" for word in words])
    kind = value["type"]
    if kind in ("integer", "number"):
        return f"{kind}{_bounds(value)}"
    if kind == "array":
        items = [_type(item, headings, null=null) for item in value["prefixItems"]]
        return f"list of {len(items)}: {items[0]}"
    if kind == "object":
        return f"names, each with {_type(value['additionalProperties'], headings, null=null)}"
    if kind == "null":
        return "`null`"
    if kind == "boolean":
        return "`true` or `false`"
    return f"text like `{value['pattern']}`" if "pattern" in value else "text"


def _either(words: list[str]) -> str:
    """`a, b or c`, also where the last is a list of this form itself."""
    front = ", ".join(words[:-1])
    joint = ", " if " or " in words[-1] else " or "
    return f"{front}{joint}{words[-1]}" if front else words[-1]


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _bounds(value: Schema) -> str:
    limits = [f"{sign} {value[key]:g}" for key, sign in _BOUNDS.items() if key in value]
    return f" {' and '.join(limits)}" if limits else ""


def _pairs() -> str:
    return "".join(
        f"| `{data_type}` | {', '.join(f'`{scheme}`' for scheme in schemes)} |\n"
        for data_type, schemes in LEGAL_SCHEMES.items()
    )
