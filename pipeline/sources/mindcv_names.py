"""What MindCV's `inception_v4` calls its tensors, in the words of timm's `inception_v4`.

Both are the network of the paper (arXiv 1602.07261) with batch norms of eps 0.001, branches joined
in the same order and average pools that do not count their padding; only names differ. MindCV
(`mindcv/models/inceptionv4.py`, version 0.3.0) has the stem as one block, where timm has six:

    MindCV's features.    0: stem   1-4: A   5: reduction A    6-12: B   13: reduction B   14-16: C
    timm's features.    0-5         6-9     10                11-17     18                19-21
"""

import re

_STEM = {
    "conv2d_1a_3x3": "features.0",
    "conv2d_2a_3x3": "features.1",
    "conv2d_2b_3x3": "features.2",
    "mixed_3a_branch_1": "features.3.conv",
    "mixed_4a_branch_0": "features.4.branch0",
    "mixed_4a_branch_1": "features.4.branch1",
    "mixed_5a_branch_0": "features.5.conv",
}
_BLOCKS_BEHIND_STEM = 5
_FIRST_C, _LAST = 14, 16
_IN_C = {
    "branch_1": "branch1_0",
    "branch_1_1": "branch1_1a",
    "branch_1_2": "branch1_1b",
    "branch_2.0": "branch2_0",
    "branch_2.1": "branch2_1",
    "branch_2.2": "branch2_2",
    "branch_2_1": "branch2_3a",
    "branch_2_2": "branch2_3b",
}
"""Branches of the last three blocks, where a branch divides once more."""
_LEAVES = {
    "conv.weight": "conv.weight",
    "bn.gamma": "bn.weight",
    "bn.beta": "bn.bias",
    "bn.moving_mean": "bn.running_mean",
    "bn.moving_variance": "bn.running_var",
}
_NAME = re.compile(r"features\.(\d{1,2})\.(.+)\.((?:conv|bn)\.\w+)", re.ASCII)
_BRANCH = re.compile(r"branch_(\d)((?:\.\d)?)", re.ASCII)


def timm_name(name: str) -> str | None:
    """timm's name of the tensor that MindCV calls `name`; None if it has no such tensor."""
    if name in ("classifier.weight", "classifier.bias"):
        return name.replace("classifier", "last_linear")
    found = _NAME.fullmatch(name)
    if found is None or found[3] not in _LEAVES:
        return None
    layer = _layer(int(found[1]), found[2])
    return None if layer is None else f"{layer}.{_LEAVES[found[3]]}"


def _layer(block: int, layer: str) -> str | None:
    if block == 0:
        stem, dot, index = layer.partition(".")
        return _STEM[stem] + dot + index if stem in _STEM else None
    if block > _LAST:
        return None
    if block >= _FIRST_C and layer in _IN_C:
        return f"features.{block + _BLOCKS_BEHIND_STEM}.{_IN_C[layer]}"
    branch = _BRANCH.fullmatch(layer)
    if branch is None:
        return None
    return f"features.{block + _BLOCKS_BEHIND_STEM}.branch{branch[1]}{branch[2]}"
