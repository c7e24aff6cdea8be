"""How few images are shared out among the sets."""

from collections.abc import Mapping

from pipeline import recipe


def images_of_set(draw: recipe.Draw, behind: Mapping[str, recipe.Draw], there: int) -> int:
    """How many of the images that are there a set takes. Where these do not suffice for the sets
    behind it as well (for what selection asks for, for what will do for evaluation), it takes no more
    than will do."""
    if draw.most == "all":
        return there
    drawn = {name: it for name, it in behind.items() if it.dataset == draw.dataset}
    if draw.manifest or not drawn or any(it.manifest for it in drawn.values()):
        return draw.most
    needs = [it.least if name == "evaluation" else _number(it) for name, it in drawn.items()]
    return draw.most if draw.most + sum(needs) <= there else draw.least


def _number(draw: recipe.Draw) -> int:
    return draw.least if draw.most == "all" else draw.most
