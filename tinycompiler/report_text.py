"""The report as text: on a terminal, and as Markdown. Tables and bars for other texts too."""

from collections.abc import Mapping, Sequence
from typing import Any

from tinycompiler.report import Report
from tinycompiler.report_facts import Json, short


def table(rows: Sequence[Sequence[object]], *, right: str = "", indent: str = "") -> str:
    """Rows as aligned text; `right` has an `r` for each column that is flush right."""
    cells = [[f"{c:,}" if isinstance(c, int) else "" if c is None else str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        aligned = [
            c.rjust(w) if i < len(right) and right[i] == "r" else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(aligned)).rstrip())
    return "\n".join(lines)


def bar(used: int, capacity: int, width: int = 30) -> str:
    """How full a region is."""
    filled = min(width, -(-width * used // max(capacity, 1)))
    return f"[{'#' * filled}{'.' * (width - filled)}] {100 * used / max(capacity, 1):5.1f} %"


def terminal(report: Report, *, verbose: bool = False) -> str:
    """For people at a terminal."""
    d = report.data
    parts = [_header(d), *(f"WARNING: {warning}" for warning in d["warnings"]), _verdict(d)]
    if d["memory"]:
        parts.append(_regions(d["memory"]))
    parts.append(_plan_lines(d["plan"]))
    if d["more_flash"]:
        parts.append(more_flash(d["more_flash"]))
    if any(map(lost, d["pruning"]["layers"])):
        parts.append(_pruning_lines(d["pruning"]))
    if d["floating_point"]:
        parts.append(_float_lines(d["floating_point"]))
    if d["shortfall"]:
        parts.append(_shortfall_lines(d["shortfall"]))
    if d["run"]:
        parts.append(_run_lines(d["run"], d["model"]["macs_live"]))
    if d["verify"]:
        parts.append(_verify_lines(d["verify"]))
    if verbose:
        parts += [_layer_table(d["layers"]), *_stored_table(d["layers"]), *_pruning_table(d["pruning"]["layers"])]
    return "\n\n".join(parts) + "\n"


def _header(d: Json) -> str:
    m = d["model"]
    edges = [f"{e['dtype']} {'x'.join(map(str, e['shape']))}" for e in (*m["inputs"], *m["outputs"])]
    rows = [
        ("model", f"{m['name']}  ({', '.join(edges[: len(m['inputs'])])} -> {', '.join(edges[len(m['inputs']) :])})"),
        ("", f"{_macs(m)}, numerics {m['numerics']}, SHA-256 {m['sha256'][:16]}..."),
        ("board", f"{d['board']} ({d['core']})"),
        ("program", d["program_digest"][:16] + "..."),
    ]
    return table(rows)


def _macs(model: Json) -> str:
    live, total = model["macs_live"], model["macs"]
    return f"{total:,} MACs" if live == total else f"{live:,} MACs (of {total:,}: the others were pruned away)"


def _verdict(d: Json) -> str:
    if d["fits"] is None:
        planned = "would fit as far as planned" if d["shortfall"] is None else "DOES NOT FIT, by the plan alone"
        return f"{planned}: this is a plan, not a verdict ({d['fits_source'].removeprefix('plan only: ')})"
    return ("FITS" if d["fits"] else "DOES NOT FIT") + f"  ({d['fits_source']})"


def _regions(memory: Json) -> str:
    rows: list[tuple[object, ...]] = [("region", "used", "of", "")]
    rows += [(r["name"], r["used"], r["capacity"], bar(r["used"], r["capacity"])) for r in memory["regions"]]
    f, r = memory["flash"], memory["ram"]
    return "\n".join(
        [
            table(rows, right="lrr"),
            f"flash = weights {f['weights']:,} + tables {f['tables']:,} + code {f['code']:,}   {memory['unit']}",
            f"ram   = arena {r['arena']:,} + state {r['state']:,} + static {r['static']:,} + "
            f"stack {r['stack']:,} (worst case)",
        ]
    )


def _plan_lines(plan: Json) -> str:
    proof = "optimal: the lower bound is met" if plan["arena"] == plan["lower_bound"] else "best found"
    proof = "optimal: proven by search" if plan["optimal"] and plan["arena"] != plan["lower_bound"] else proof
    alive = sum(b["bytes"] for b in plan["peak_alive"])
    shared = alive - plan["lower_bound"]
    return (
        f"plan.arena {plan['arena']:,}  plan.lower_bound {plan['lower_bound']:,}  ({proof})   {plan['unit']}\n"
        f"peak at {plan['peak_node'] or 'the input'}, alive together: "
        + " + ".join(f"{short(b['name'])} {b['bytes']:,}" for b in plan["peak_alive"])
        + (f" - {shared:,} where an output overlaps what it is made of" if shared > 0 else "")
    )


def more_flash(gain: Json) -> str:
    """What the board's flash, a budget or the aim stood in the way of."""
    return f"{gain['bytes']:,} bytes more flash would buy {100 * gain['cycles_saved']:.0f} % fewer cycles (estimated)"


def _float_lines(nodes: Sequence[Mapping[str, str]]) -> str:
    """One line for each kind; who is not named computes with integers only."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for x in nodes:
        kinds.setdefault((x["precision"], x["in"]), []).append(x["name"])
    return "\n".join(f"floating point, {p} precision in {place}: {', '.join(n)}" for (p, place), n in kinds.items())


def _shortfall_lines(s: Json) -> str:
    lines = [
        f"{r['region']}: {r['missing']:,} bytes missing ({r['used']:,} of {r['capacity']:,})" for r in s["regions"]
    ]
    if s["conflict"]:
        lines.append(_conflict(s["conflict"]))
    return "\n".join([*lines, "what would help:", *(f"  {h}" for h in s["help"])])


def _conflict(conflict: Json) -> str:
    tensors = " + ".join(f"{short(t['name'])} {t['bytes']:,}" for t in conflict["tensors"])
    where = f", at {conflict['layer']}" if conflict["layer"] else ""
    if len(conflict["tensors"]) == 1:
        return f"too large by itself{where}: {tensors}"
    found = "have no room together" if where else "found no places together"
    return f"{found}{where}; without any one of them the rest has: {tensors}"


def lost(layer: Mapping[str, Any]) -> bool:
    """Whether pruning took anything from a layer."""
    return bool(layer["gone"]) or any(changed(layer[key]) for key in ("channels", "inputs", "macs"))


def changed(pair: Mapping[str, int]) -> bool:
    return pair["before"] != pair["after"]


def _pruning_lines(pruning: Json) -> str:
    went = [
        f"{pruning[key]['before'] - pruning[key]['after']:,} of {pruning[key]['before']:,} {what}"
        for key, what in (("channels", "channels"), ("macs", "MACs"), ("weight_bytes", "bytes of weights in the file"))
    ]
    gone = sum(layer["gone"] for layer in pruning["layers"])
    lines = [f"pruned away: {', '.join(went)}" + (f", and {gone} layers as a whole" if gone else "")]
    saved = {"instructions": pruning["instructions_saved"], "cycles": pruning["cycles_saved"]}
    known = [f"{count:,} {what}" for what, count in saved.items() if count]
    if known:
        lines.append(f"  saves about {', '.join(known)}   {pruning['saved_source']}")
    return "\n".join(lines)


def _pruning_table(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each layer lost, and why the others lost nothing; no table when there is nothing to say."""

    def pair(values: Mapping[str, int]) -> str:
        return f"{values['before']:,} -> {values['after']:,}" if changed(values) else f"{values['after']:,}"

    rows: list[tuple[object, ...]] = [
        (x["name"], *(pair(x[key]) for key in ("channels", "macs", "weight_bytes")), x["cycles_saved"], x["why"])
        for x in layers
        if lost(x)
    ]
    head = ("layer", "channels", "MACs", "weight bytes", "cycles saved", "why")
    left = [f"  {x['name']}: {x['why']}" for x in layers if not lost(x)]
    found = ["what pruning removed:\n" + table([head, *rows], right="lrrrrl", indent="  ")] if rows else []
    return [*found, *(["\n".join(["layers that pruning left alone:", *left])] if left else [])]


def _run_lines(run: Json, macs: int) -> str:
    lines = [f"run on {run['emulator']}, {run['inferences']} inference{'' if run['inferences'] == 1 else 's'}"]
    if run["instructions"]:
        per = f" ({run['instructions'] / macs:.2f} per MAC)" if macs else ""
        lines.append(f"  instructions {run['instructions']:,}{per}, counted")
    if run["cycles"]:
        lines += [f"  cycles       {run['cycles']:,}", f"               {run['cycles_source']}"]
    if run["stack_high_water"] is not None:
        lines.append(f"  stack        {run['stack_high_water']:,} bytes used at most (painted)")
    if run["arena_touched"] is not None:
        lines.append(f"  arena        {run['arena_touched']:,} bytes touched")
    return "\n".join(lines)


def _verify_lines(v: Json) -> str:
    layers = f", {v['layers_checked']} layers ({v['layer_bytes']:,} bytes)" if v["layers_checked"] else ""
    verdict = "EXACT" if v["mismatches"] == 0 else "MISMATCH"
    compared = f"{v['outputs']:,} output bytes"
    if v["mismatches"] and v["layers_checked"]:
        compared = f"{v['outputs'] + v['layer_bytes']:,} output and layer bytes"
    line = f"{verdict}: {v['mismatches']:,} of {compared} differ over {v['vectors']} vectors{layers}"
    lines = [line, f"  reference {v['reference']}"]
    if v["first_difference"]:
        lines += [f"  largest difference {v['max_abs_diff']:g}", f"  {v['first_difference']}"]
    return "\n".join(lines)


def _layer_rows(layers: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    head = ("node", "output", "kernel", "MACs", "flash", "scratch", "instructions", "per MAC", "cycles")
    rows: list[tuple[object, ...]] = [head]
    for x in layers:
        per = f"{x['instructions'] / x['macs']:.2f}" if x["instructions"] and x["macs"] else None
        shape = "x".join(map(str, x["output"]))
        flash = x["weights"] + x["tables"]
        rows.append(
            (x["name"], shape, x["kernel"], x["macs"], flash, x["scratch"], x["instructions"], per, x["cycles"])
        )
    filled = [i for i in range(len(head)) if any(row[i] is not None for row in rows[1:])]
    return [tuple(row[i] for i in filled) for row in rows]


def _layer_table(layers: Sequence[Mapping[str, Any]]) -> str:
    text = table(_layer_rows(layers), right="lllrrrrrr")
    refused: dict[tuple[str, str], list[str]] = {}
    for x in layers:
        for r in x["rejected"]:
            refused.setdefault((r["kernel"], r["why"]), []).append(x["name"])
    notes = [f"  {kernel}: {why}: {_listed(nodes)}" for (kernel, why), nodes in refused.items()]
    return "\n".join([text, *(["why not a better kernel:", *notes] if notes else [])])


def _stored_table(layers: Sequence[Json]) -> list[str]:
    """How weights are stored, where it is not as bytes everywhere or there was a choice."""
    if not any(told_apart(x) for x in layers):
        return []
    rows: list[tuple[object, ...]] = [("weights of", "bits", "encoding", "zeros", "flash", "as int8", "instructions")]
    rows += [
        (
            x["name"],
            s["bits"],
            s["encoding"],
            f"{100 * s['zeros'] / s['bytes_dense']:.0f} %",
            s["bytes"],
            s["bytes_dense"],
            x["instructions"],
        )
        for x in layers
        if (s := x["stored"])
    ]
    reasons = [f"  {x['name']}: {x['stored']['reason']}" for x in layers if x["stored"] and x["stored"]["reason"]]
    return ["\n".join([table(rows, right="lrlrrrr"), *(["why so:", *reasons] if reasons else [])])]


def told_apart(layer: Json) -> bool:
    """Whether there is something to say of how a layer's weights are stored."""
    s = layer["stored"]
    return bool(s and (s["encoding"] != "dense" or s["reason"]))


def _listed(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{nodes[0]} and {len(nodes) - 1} more"


def markdown(report: Report) -> str:
    """For a README or a pull request."""
    d = report.data
    rows = markdown_table(_layer_rows(d["layers"]), "lllrrrrrr")
    return f"# {d['model']['name']} on {d['board']}\n\n```\n{terminal(report)}```\n\n{rows}\n"


def markdown_table(rows: Sequence[Sequence[object]], right: str) -> str:
    """Rows as a table of Markdown; `right` as in `table`."""
    cells = [[_cell(c) for c in row] for row in rows]
    lines = ["|" + "|".join(row) + "|" for row in cells]
    lines.insert(1, "".join("|--:" if side == "r" else "|---" for side in right[: len(cells[0])]) + "|")
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
