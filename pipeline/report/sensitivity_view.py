"""Which layers cost most, as a table for people."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_sensitivity(result: dict[str, Any], worst: int = 15) -> None:
    """The costliest layers, worst first, and the proposal as a piece of recipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer")
    table.add_column("alone", justify="right")
    table.add_column("up to here", justify="right")
    layers = [row for row in result["layers"] if row["isolated_db"] is not None]
    for row in sorted(layers, key=lambda row: float(row["isolated_db"]))[:worst]:
        cumulative = row["cumulative_db"]
        table.add_row(
            row["layer"],
            f"{row['isolated_db']:.1f} dB",
            "-" if cumulative is None else f"{cumulative:.1f} dB",
        )
    console.print(table)
    console.print(
        f"Signal to noise on {result['images']} images: of the logits with this layer alone "
        "quantized, and of the layer's result with everything quantized. Less is worse.",
        soft_wrap=True,
    )
    proposal = result.get("proposal")
    if proposal is None:
        return
    flips = f"{100 * proposal['flips']:.1f} % of the predictions change"
    if not proposal["reached"]:
        console.print(f"Even with every layer as int16 {flips}.")
    elif not proposal["layers"]:
        console.print(f"No layer has to be wider: {flips}.")
    else:
        console.print(f"With these layers as int16 {flips}:")
        listed = ", ".join(f"{name}: int16" for name in proposal["layers"])
        console.print(f"quantize: {{layers: {{{listed}}}}}", soft_wrap=True)
