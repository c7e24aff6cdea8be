"""The recipe: one YAML file as frozen, typed values. Every option is documented under its field.

Words are the field's own, and SyNAP's own where SyNAP has them. Accuracies and drops are
fractions everywhere (0.005 is half a point). Reading the file, with lines and suggestions in its
errors, is `recipe_file.py`; `pipeline schema` publishes it as JSON Schema.
"""

from pipeline.recipe.checks import FRACTION_LIMIT, Checks, Drop, Thresholds
from pipeline.recipe.compile import Compile, Device, NpuPreprocess, PreprocessType
from pipeline.recipe.data import Data, DatasetName, Draw
from pipeline.recipe.model import Model, SourceName, TrainOptions
from pipeline.recipe.quantize import (
    LEGAL_SCHEMES,
    DataType,
    Equalize,
    LayerType,
    Quantize,
    RangeRule,
    Ranges,
    Scheme,
)
from pipeline.recipe.recipe import SCHEMA_VERSION, Recipe, recipe_name

__all__ = [
    "FRACTION_LIMIT",
    "LEGAL_SCHEMES",
    "SCHEMA_VERSION",
    "Checks",
    "Compile",
    "Data",
    "DataType",
    "DatasetName",
    "Device",
    "Draw",
    "Drop",
    "Equalize",
    "LayerType",
    "Model",
    "NpuPreprocess",
    "PreprocessType",
    "Quantize",
    "RangeRule",
    "Ranges",
    "Recipe",
    "Scheme",
    "SourceName",
    "Thresholds",
    "TrainOptions",
    "recipe_name",
]
