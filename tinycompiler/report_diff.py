"""Two reports compared: what changed in bytes, instructions and cycles, in all and layer by layer.

A change is new - old, in the unit of its figure. Layers are matched by name; a figure that either report lacks (nothing
was linked, nothing ran) has no change.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinycompiler.report import SCHEMA, Report
from tinycompiler.report_facts import Json
from tinycompiler.report_text import markdown_table, table

LINKED, PLANNED = "linked ELF", "planned"

FIGURES: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    ("flash", ("memory", "flash", "used"), "bytes", LINKED),
    ("weights", ("memory", "flash", "weights"), "bytes", LINKED),
    ("tables", ("memory", "flash", "tables"), "bytes", LINKED),
    ("code", ("memory", "flash", "code"), "bytes", LINKED),
    ("RAM", ("memory", "ram", "used"), "bytes", LINKED),
    ("state", ("memory", "ram", "state"), "bytes", LINKED),
    ("static", ("memory", "ram", "static"), "bytes", LINKED),
    ("stack", ("memory", "ram", "stack"), "bytes", f"{LINKED}, worst case"),
    ("arena", ("plan", "arena"), "bytes", PLANNED),
    ("arena's lower bound", ("plan", "lower_bound"), "bytes", PLANNED),
    ("constants", ("plan", "constants"), "bytes", PLANNED),
    ("live MACs", ("model", "macs_live"), "MACs", "per inference"),
    ("instructions", ("run", "instructions"), "instructions", "counted, per inference"),
    ("cycles", ("run", "cycles"), "cycles", "estimated, per inference"),
)
"""(name, where in a report, unit, source)"""

LAYER_FIGURES = ("macs", "weights", "tables", "scratch")
COUNTED = ("instructions", "cycles")
"""Figures that stand at the first of the layers that go row by row together."""
IDENTITY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model", ("model", "name")),
    ("model file", ("model", "sha256")),
    ("numerics", ("model", "numerics")),
    ("board", ("board",)),
    ("core", ("core",)),
    ("fits", ("fits",)),
    ("program", ("program_digest",)),
    ("compiler", ("memory", "toolchain")),
    ("tinycompiler", ("generator",)),
)
"""What says whether two reports are of the same thing."""


def compare(old: Report, new: Report) -> Json:
    """What `report --diff --json` prints; see report_schema.json."""
    before, after = old.data, new.data
    return {
        "schema": SCHEMA,
        "equal": before == after,
        "identity": [
            {"name": name, "old": _at(before, path), "new": _at(after, path)}
            for name, path in IDENTITY
            if _at(before, path) != _at(after, path)
        ],
        "figures": [
            {"name": name, "unit": unit, "source": source, **_change(_at(before, path), _at(after, path))}
            for name, path, unit, source in FIGURES
            if (_at(before, path), _at(after, path)) != (None, None)
        ],
        "layers": _layers(before["layers"], after["layers"]),
    }


def _at(data: Json, path: Sequence[str]) -> Any:
    """What stands there; None where a part of the report is missing."""
    found: Any = data
    for key in path:
        found = None if found is None else found[key]
    return found


def _change(old: int | None, new: int | None) -> Json:
    change = None if old is None or new is None else new - old
    percent = round(100 * change / old, 2) if change is not None and old else None
    return {"old": old, "new": new, "change": change, "percent": percent}


def _layers(old: Sequence[Json], new: Sequence[Json]) -> list[Json]:
    """Layers that differ, in the order of the new report, then those that are gone."""
    before, after = ({layer["name"]: layer for layer in layers} for layers in (old, new))
    names = list({**after, **before})
    heads = _heads(names, [*old, *new])
    sums = [_sums(layers, heads) for layers in (old, new)]
    found = [_layer(name, before.get(name), after.get(name), sums) for name in names]
    return [layer for layer in found if layer["what"] != "same"]


def _heads(names: Sequence[str], layers: Sequence[Json]) -> dict[str, str]:
    """Layer -> the first of those that it goes row by row with, directly or through others, in either report."""
    groups = {name: [name] for name in names}
    for layer in layers:
        for other in layer["row_by_row_with"]:
            one, two = groups[layer["name"]], groups[other]
            if one is not two:
                one += two
                groups |= dict.fromkeys(two, one)
    order = {name: i for i, name in enumerate(names)}
    return {name: min(group, key=lambda n: order[n]) for name, group in groups.items()}


def _sums(layers: Sequence[Json], heads: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """(layer, figure) -> what was counted for all that go row by row with it, at the first of them."""
    found: dict[tuple[str, str], int] = {}
    for layer in layers:
        for key in COUNTED:
            if layer[key] is not None:
                place = heads[layer["name"]], key
                found[place] = found.get(place, 0) + layer[key]
    return found


def _layer(name: str, old: Json | None, new: Json | None, sums: Sequence[Mapping[tuple[str, str], int]]) -> Json:
    kernels = {"old": None if old is None else old["kernel"], "new": None if new is None else new["kernel"]}
    together = {"old": _together(old), "new": _together(new)}
    figures = {
        key: _change(None if old is None else old[key], None if new is None else new[key]) for key in LAYER_FIGURES
    } | {key: _change(*(counted.get((name, key)) for counted in sums)) for key in COUNTED}
    differs = any(figure["old"] != figure["new"] for figure in figures.values())
    what = "added" if old is None else "removed" if new is None else "same"
    if what == "same" and kernels["old"] != kernels["new"]:
        what = "kernel"
    elif what == "same" and (differs or together["old"] != together["new"]):
        what = "figures"
    return {"name": name, "what": what, "kernel": kernels, "row_by_row_with": together, **figures}


def _together(layer: Json | None) -> list[str]:
    return [] if layer is None else layer["row_by_row_with"]


# Views.

FIGURE_HEAD = ("", "old", "new", "change", "", "unit (source)")
LAYER_HEAD = ("layer", "kernel", *LAYER_FIGURES, *COUNTED)


def terminal(data: Json) -> str:
    """For people at a terminal."""
    return "\n\n".join(_parts(data, lambda rows, right: table(rows, right=right))) + "\n"


def markdown(data: Json) -> str:
    """For a pull request."""
    return "\n\n".join(["# What changed", *_parts(data, markdown_table)]) + "\n"


def _parts(data: Json, drawn: Callable[[Sequence[Sequence[object]], str], str]) -> list[str]:
    if data["equal"]:
        return ["equal: the two reports say the same"]
    parts = []
    if data["identity"]:
        rows = [("", "old", "new"), *((i["name"], *(told(i[key]) for key in ("old", "new"))) for i in data["identity"])]
        parts.append(drawn(rows, "lll"))
    moved = [f for f in data["figures"] if f["old"] != f["new"]]
    if moved:
        parts.append(drawn([FIGURE_HEAD, *(_figure_row(f) for f in moved)], "lrrrrl"))
    same = [f["name"] for f in data["figures"] if f["old"] == f["new"]]
    parts.append(f"the same: {', '.join(same)}" if moved and same else "" if moved else "no figure differs")
    if data["layers"]:
        parts.append(drawn([LAYER_HEAD, *(_layer_row(layer) for layer in data["layers"])], "llrrrrrr"))
    return [part for part in parts if part]


def told(value: Any) -> str:
    """An identity for people: digests short, what is not there as a dash."""
    text = {None: "-", True: "yes", False: "no"}.get(value, value) if not isinstance(value, str) else value
    return f"{text[:16]}..." if len(str(text)) == 64 else str(text)


def signed(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:+,}"


def _figure_row(f: Mapping[str, Any]) -> tuple[object, ...]:
    return f["name"], f["old"], f["new"], signed(f["change"]), _percent(f), f"{f['unit']} ({f['source']})"


def _percent(f: Mapping[str, Any]) -> str:
    return f"{f['percent']:+.1f} %" if f["change"] and f["percent"] is not None else ""


def _layer_row(layer: Mapping[str, Any]) -> tuple[object, ...]:
    what = {"added": "added: {new}", "removed": "removed: {old}", "kernel": "{old} -> {new}", "figures": "{new}"}
    rows = ""
    if layer["what"] in ("kernel", "figures") and layer["row_by_row_with"]["old"] != layer["row_by_row_with"]["new"]:
        rows = ", now row by row" if layer["row_by_row_with"]["new"] else ", now as a whole"
    cells = []
    for key in (*LAYER_FIGURES, *COUNTED):
        f = layer[key]
        only = f["new"] if layer["what"] == "added" else f["old"] if layer["what"] == "removed" else None
        cells.append(f"{only:,}" if only is not None else f"{signed(f['change'])} {_percent(f)}".rstrip())
    return (layer["name"], what[layer["what"]].format(**layer["kernel"]) + rows, *cells)
