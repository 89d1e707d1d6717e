"""Several regions of RAM: who lies where, what the user may say, what is linked then, and the same bytes."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import DIGITS, needs_compiler, needs_real, real, say
from tests.models_state import ring
from tests.test_report import validate
from tinycompiler.board import load
from tinycompiler.build import Elf
from tinycompiler.compile import Compiled, compile_model, link
from tinycompiler.memory import Buffer, Part, Plan, alive_at, bytes_needed, check, draw, place
from tinycompiler.ops import Numerics
from tinycompiler.planning import Goals
from tinycompiler.regions import Places, Room, arrange
from tinycompiler.resources import folder
from tinycompiler.vectors import random_vectors

Regions = Sequence[tuple[str, int, int]]
TWO = (("sram1", 0x2000_0000, 1536), ("sram2", 0x2001_0000, 1280))
"""Too small, each, for the digits network without fusion (2,064 bytes)."""


def board_file(folder_: Path, regions: Regions, base: str = "bluepill") -> Path:
    """A board with these regions of RAM (name, address, bytes), the first one being the default."""
    text = (folder("boards") / f"{base}.toml").read_text()
    start, end = text.index('[[region]]\nname = "sram"'), text.index("[console]")
    tables = [
        f'[[region]]\nname = "{name}"\nkind = "ram"\naddress = {address}\nsize = {size}\n'
        f'default = {str(index == 0).lower()}\nsource = "a test"\n\n'
        for index, (name, address, size) in enumerate(regions)
    ]
    path = folder_ / "two.toml"
    path.write_text(text[:start] + "".join(tables) + text[end:])
    return path


# Who lies where.


@st.composite
def lifetimes(draw_: st.DrawFn) -> list[Buffer]:
    count = draw_(st.integers(1, 8))
    buffers = []
    for number in range(count):
        first = draw_(st.integers(0, 5))
        last = draw_(st.integers(first, 6))
        size = draw_(st.integers(0, 60))
        region = draw_(st.sampled_from(["", "", "", "a", "b"]))
        buffers.append(Buffer(f"b{number}", size, first, last, draw_(st.sampled_from([1, 4])), region))
    return buffers


@given(lifetimes(), st.integers(0, 150), st.integers(0, 150))
@settings(max_examples=50, deadline=None)
def test_every_buffer_lies_in_one_region_and_where_it_must(buffers: list[Buffer], a: int, b: int) -> None:
    plan = arrange(buffers, {}, Places((Room("a", a), Room("b", b)), "a"), effort=300)
    check(plan)
    rooms = {"a": a, "b": b}
    assert plan.excess == sum(max(0, part.size - rooms[part.region]) for part in plan.parts)
    for buffer in (b for b in buffers if b.size):
        part = plan.parts[plan.part_of(plan.offsets[buffer.name])]
        assert part.start <= plan.offsets[buffer.name] <= part.end - buffer.size
        assert buffer.region in ("", part.region)
    assert all(low.end == high.start for low, high in pairwise(plan.parts))
    assert plan.arena == plan.parts[-1].end


@given(lifetimes())
@settings(max_examples=25, deadline=None)
def test_one_region_is_enough_when_it_is(buffers: list[Buffer]) -> None:
    free = [replace(buffer, region="") for buffer in buffers]
    whole = place(free, effort=300)
    for small in (0, max(0, whole.arena - 1)):
        plan = arrange(free, {}, Places((Room("a", small), Room("b", whole.arena)), "a"), effort=300)
        assert plan.excess == 0
        if whole.arena > small:
            assert [part.region for part in plan.parts] == ["b"]
            assert (plan.offsets, plan.arena, plan.proven) == (whole.offsets, whole.arena, whole.proven)


def test_the_faster_region_comes_first() -> None:
    buffers = [Buffer("x", 100, 0, 1), Buffer("y", 100, 1, 2)]
    for rooms, chosen in (((200, 300), "a"), ((199, 300), "b"), ((300, 100), "a")):
        plan = arrange(buffers, {}, Places((Room("a", rooms[0]), Room("b", rooms[1])), "b"), effort=300)
        assert [part.region for part in plan.parts] == [chosen]


def test_what_no_region_holds_is_shared_out() -> None:
    """Three that live together, in two regions: only one way of sharing out fits."""
    buffers = [Buffer("x", 100, 0, 2), Buffer("y", 60, 0, 2), Buffer("z", 40, 0, 2), Buffer("late", 100, 3, 3)]
    plan = arrange(buffers, {}, Places((Room("a", 100), Room("b", 100)), "a"), effort=300)
    check(plan)
    assert plan.excess == 0
    assert [part.size for part in plan.parts] == [100, 100]


def test_an_overlap_needs_one_region() -> None:
    """The output begins 10 bytes under the input that it uses up, so both fit into 110 bytes of one region only."""
    buffers = [Buffer("x", 100, 0, 1), Buffer("y", 100, 1, 2), Buffer("z", 90, 1, 2)]
    plan = arrange(buffers, {("y", "x"): 10}, Places((Room("a", 112), Room("b", 96)), "a"), effort=300)
    check(plan)
    assert plan.excess == 0
    assert plan.offsets["x"] - plan.offsets["y"] >= 10 or plan.part_of(plan.offsets["x"]) != plan.part_of(0)


def test_too_much_is_not_hidden() -> None:
    buffers = [Buffer("x", 100, 0, 0), Buffer("y", 100, 0, 0)]
    plan = arrange(buffers, {}, Places((Room("a", 90), Room("b", 120)), "a"), effort=300)
    check(plan)
    assert plan.excess == 80  # all in the larger region


TWO_PARTS = (Part("a", 0, 64, 64), Part("b", 64, 40, 50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offsets": {"x": 32, "y": 64}}, "no part"),
        ({"offsets": {"x": 64, "y": 0}}, "not in"),
        ({"parts": (TWO_PARTS[0], replace(TWO_PARTS[1], start=60))}, "one behind another"),
        ({"parts": (replace(TWO_PARTS[0], size=60), TWO_PARTS[1])}, "one behind another"),
        ({"parts": TWO_PARTS[:1]}, "one behind another"),
        ({"offsets": {"x": 0, "y": 68}}, "leaves the arena"),
    ],
)
def test_check_knows_parts(change: dict[str, Any], words: str) -> None:
    buffers = (Buffer("x", 40, 0, 1), Buffer("y", 40, 0, 1, 1, "b"))
    plan = Plan(buffers, {"x": 0, "y": 64}, 104, 80, 0, False, {}, TWO_PARTS)
    check(plan)
    with pytest.raises(AssertionError, match=words):
        check(replace(plan, **change))


def test_the_drawing_names_regions(tmp_path: Path) -> None:
    wide = [("sram1", 0x2000_0000, 2304), TWO[1]]
    compiled = digits(str(board_file(tmp_path, wide)), fusion=False)
    assert re.search(r"bytes.* in sram1 from 0, .* in sram2 from", draw(compiled.layout.plan, 120))


# What the user may say.


@cache
def digits(board: str, *place: str, fusion: bool = True) -> Compiled:
    return compile_model(DIGITS, load(board), Numerics.LITERT, goals=Goals(fusion=fusion), place=place)


def region_of(compiled: Compiled, tensor: str) -> str:
    plan = compiled.layout.plan
    return plan.parts[plan.part_of(compiled.layout.offset(tensor))].region


@pytest.mark.parametrize("base", ["stm32f4_discovery", "nucleo_h743zi"])
def test_tensors_go_where_they_are_wanted(base: str) -> None:
    regions = [region.name for region in load(base).rams]
    first, other = regions[0], regions[1]
    assert [part.region for part in digits(base).layout.plan.parts] == [first]
    graph = digits(base).graph
    wanted = digits(base, f"input={other}", f"logits={other}")
    assert region_of(wanted, graph.inputs[0]) == region_of(wanted, "logits") == other
    assert region_of(wanted, "stem") == region_of(wanted, graph.outputs[0]) == first
    assert [p.region for p in digits(base, f"arena={other}").layout.plan.parts] == [other]
    whole = digits(base, f"arena={other}", f"output={first}")
    assert region_of(whole, graph.outputs[0]) == first
    assert region_of(whole, "stem") == other


def test_a_view_goes_with_what_it_shows() -> None:
    """`flat` is a reshaped tensor: either name places both."""
    graph = digits("stm32f4_discovery").graph
    view = next(node for node in graph.nodes if node.op.name == "RESHAPE")
    wanted = digits("stm32f4_discovery", f"{view.outputs[0]}=ccm")
    assert region_of(wanted, view.inputs[0]) == region_of(wanted, view.outputs[0]) == "ccm"


def test_all_that_is_wrong_is_said_at_once() -> None:
    words = [
        *("input=sram9", "output=flash", "nonsense", "=ccm", "stm=ccm", "state=ccm", "arena=ccm", "arena=sram"),
        *("stack=flash", "stack="),
    ]
    said = say("check", DIGITS, "-b", "stm32f4_discovery", *(w for word in words for w in ("--place", word)))
    assert said.code == 2
    lines = said.err.splitlines()
    for line, word in (
        ("--place input=sram9: no such region", "sram, ccm"),
        ("--place output=flash: that is flash", "sram, ccm"),
        ("--place nonsense: wanted WHAT=REGION", "such as input=sram"),
        ("--place =ccm: wanted WHAT=REGION", ""),
        ("--place stm=ccm: no such tensor", "near are"),
        ("--place state=ccm: the network has no state", ""),
        ("--place arena=sram: --place arena=ccm says otherwise", "leave one away"),
        ("--place stack=flash: that is flash", "sram, ccm"),
        ("--place stack=: wanted", ""),
    ):
        [found] = [each for each in lines if line in each]
        assert word in found
    assert len(lines) == 9


def test_constants_and_states_are_no_tensors_to_place(tmp_path: Path) -> None:
    constant = next(name for name, t in digits("stm32f4_discovery").graph.tensors.items() if t.is_constant)
    said = say("check", DIGITS, "-b", "stm32f4_discovery", "--place", f"{constant}=ccm")
    assert (said.code, "weights=REGION" in said.err) == (2, True)
    (tmp_path / "ring.tflite").write_bytes(ring())
    graph = compile_model(tmp_path / "ring.tflite", load("bluepill"), Numerics.LITERT).graph
    said = say("check", tmp_path / "ring.tflite", "-b", "bluepill", "--place", f"{graph.states[0].tensor}=sram")
    assert (said.code, "state=REGION" in said.err) == (2, True)


def test_the_stack_needs_a_clock() -> None:
    said = say("check", DIGITS, "-b", "nucleo_h743zi", "--place", "stack=sram2")
    assert said.code == 2
    assert "no clock when the stack is needed; nucleo_h743zi has for it: dtcm, axi_sram, sram4, itcm" in said.err


def test_regions_that_make_no_sense(tmp_path: Path) -> None:
    wrong = board_file(
        tmp_path,
        [("sram", 0x2000_0000, 4096), ("big", 0x2000_0800, 8192), ("none", 0x3000_0000, 0), ("SRAM", 0x3100_0000, 16)],
    )
    said = say("check", DIGITS, "-b", wrong)
    assert said.code == 2
    for words in ("size is 0", "regions sram and big overlap", "two regions are called"):
        assert words in said.err


# The linked file, and the bytes that it computes.


def homes(elf: Elf, board: str, names: dict[str, str]) -> dict[str, str]:
    """Symbol -> region, by address."""
    part = load(board)
    return {
        name: next(r.name for r in part.regions if r.address <= elf.symbol(symbol).address < r.end)
        for name, symbol in names.items()
    }


@pytest.mark.emulator
@needs_compiler
def test_everything_is_linked_where_it_is_wanted() -> None:
    board = "nucleo_h743zi"
    compiled = digits(board, "input=sram2", "stack=sram4", "weights=dtcm", "output=axi_sram", "arena=sram1")
    compiled, elf = link(compiled, random_vectors(compiled.graph, 1, 0))
    names = {symbol.name.removeprefix("tc_digits_"): symbol.name for symbol in elf.symbols if "_arena" in symbol.name}
    weights = next(symbol.name for symbol in elf.symbols if symbol.name.startswith("tc_digits_w_"))
    found = homes(elf, board, {**names, "weights": weights})
    assert sorted(found.values()) == ["axi_sram", "dtcm", "sram1", "sram2"]
    assert found["weights"] == "dtcm"
    stack = next(section for section in elf.sections if section.name == ".stack")
    assert stack.address == load(board).region("sram4").address
    memory, constants = elf.memory, elf.memory.flash.weights + elf.memory.flash.tables
    used = {region.name: region.used for region in memory.regions}
    assert used["dtcm"] == constants
    assert used["sram4"] == memory.ram.stack == stack.size
    assert sum(used[name] for name in ("sram1", "sram2", "axi_sram")) == memory.ram.used - constants - stack.size
    assert memory.ram.arena == compiled.layout.plan.arena
    assert memory.ram.used == memory.ram.arena + memory.ram.state + memory.ram.static + memory.ram.stack
    assert memory.flash.used == used["flash"] > constants


@pytest.mark.emulator
@needs_compiler
@pytest.mark.parametrize(
    ("board", "place"),
    [
        ("two", ()),
        ("nucleo_h743zi", ("weights=dtcm", "stack=sram4", "input=sram2", "arena=itcm")),
        ("stm32f4_discovery", ("stack=ccm", "output=ccm")),
    ],
)
def test_the_same_bytes(tmp_path: Path, board: str, place: Sequence[str]) -> None:
    path = str(board_file(tmp_path, TWO)) if board == "two" else board
    words = [word for each in place for word in ("--place", each)]
    said = say("verify", DIGITS, "-b", path, "-n", 2, "--layers", "--no-fusion", "--json", *words)
    assert said.code == 0, said
    validate(said.json)
    verified, plan, run = said.json["verify"], said.json["plan"], said.json["run"]
    assert (verified["mismatches"], verified["layers_checked"]) == (0, 9)
    assert run["arena_touched"] <= plan["arena"] == said.json["memory"]["ram"]["arena"]
    assert sum(part["bytes"] for part in plan["parts"]) == plan["arena"]
    if board == "two":
        assert {part["region"] for part in plan["parts"]} == {"sram1", "sram2"}
        assert all(r["used"] <= r["capacity"] for r in said.json["memory"]["regions"])


@pytest.mark.emulator
@needs_compiler
def test_states_go_where_they_are_wanted(tmp_path: Path) -> None:
    model = tmp_path / "ring.tflite"
    model.write_bytes(ring())
    said = say("verify", model, "-b", "stm32f4_discovery", "-n", 3, "--json", "--place", "state=ccm")
    assert said.code == 0, said
    used = {region["name"]: region["used"] for region in said.json["memory"]["regions"]}
    assert used["ccm"] == said.json["memory"]["ram"]["state"] > 0


@pytest.mark.emulator
@pytest.mark.models
@pytest.mark.slow
@needs_real
@needs_compiler
@pytest.mark.parametrize(
    ("name", "first", "second", "base"),
    [
        ("vww", 38_400, 12_288, "nucleo_l4r5zi"),
        ("ic", 18_432, 18_432, "nucleo_l552ze_q"),
        ("ad", 1_024, 512, "rpi_pico"),
    ],
)
def test_mlperf_networks_in_two_regions(tmp_path: Path, name: str, first: int, second: int, base: str) -> None:
    """Neither region holds the arena; both together do."""
    path = board_file(tmp_path, [("sram1", 0x2000_0000, first), ("sram2", 0x2010_0000, second)], base)
    said = say("verify", real(name), "-b", path, "-n", 1, "--layers", "--no-fusion", "--json")
    assert said.code == 0, said.err
    validate(said.json)
    parts = said.json["plan"]["parts"]
    assert {part["region"] for part in parts} == {"sram1", "sram2"}
    assert all(part["bytes"] <= part["room"] for part in parts)
    assert said.json["verify"]["mismatches"] == 0
    assert said.json["run"]["arena_touched"] <= said.json["plan"]["arena"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for this machine")
def test_the_build_overrides_sections_and_arenas(tmp_path: Path) -> None:
    """Sections are macros, and a caller who owns the arena hands over one pointer for each piece."""
    compiled = digits("stm32f4_discovery", "input=ccm", "weights=ccm")
    for name, text in compiled.program.files.items():
        (tmp_path / name).write_text(text)
    usual = objects(tmp_path)
    assert ".bss.tc_ccm" in usual
    assert ".rodata.tc_ccm" in usual
    other = objects(tmp_path, '-DTC_DIGITS_SECTION_CCM=__attribute__((section(".bss.fast")))')
    assert ".bss.fast" in other
    assert ".bss.tc_ccm" not in other
    assert ".tc_ccm" not in objects(tmp_path, "-DTC_DIGITS_SECTION_CCM=", "-DTC_DIGITS_SECTION_WEIGHTS=")
    owned = objects(tmp_path, "-DTC_DIGITS_CALLER_OWNS_ARENA")
    assert ".bss.tc_ccm" not in owned
    header = compiled.program.files["digits.h"]
    assert "int tc_digits_init(void *arena, void *arena_ccm);" in header
    sizes = [int(n) for n in re.findall(r"#define TC_DIGITS_ARENA\w*_BYTES (\d+)", header)]
    assert sum(sizes) == compiled.layout.plan.arena


def objects(work: Path, *options: str) -> str:
    """The sections of the network's objects."""
    for source in ("digits", "digits_weights"):
        command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", f"{source}.c", *options]
        subprocess.run([*command, "-o", f"{source}.o"], cwd=work, check=True, capture_output=True)
    listing = ["objdump", "-h", "digits.o", "digits_weights.o"]
    return subprocess.run(listing, cwd=work, check=True, capture_output=True, text=True).stdout


# When it does not fit.


def assert_minimal(compiled: Compiled, conflict: Any, room: int) -> None:
    """Too much together at one step, and no more when any one of them is left away: by sizes and overlaps alone."""
    plan = compiled.layout.plan
    names = [piece["name"] for piece in conflict["tensors"]]
    buffers = [buffer for buffer in plan.buffers if buffer.name in names]
    assert {b.name: b.size for b in buffers} == {piece["name"]: piece["bytes"] for piece in conflict["tensors"]}
    assert any(set(buffers) <= set(alive_at(plan, buffer.first)) for buffer in buffers)
    assert bytes_needed(buffers, plan.overlaps) == room + conflict["excess"] > room
    for buffer in buffers:
        assert bytes_needed([b for b in buffers if b is not buffer], plan.overlaps) <= room


@pytest.mark.parametrize("room", [1024, 1536, 1792])
def test_what_cannot_live_together_is_minimal(tmp_path: Path, room: int) -> None:
    path = board_file(tmp_path, [("sram", 0x2000_0000, room)])
    said = say("check", DIGITS, "-b", path, "--no-fusion", "--json")
    assert said.code == 1
    assert_minimal(digits(str(path), fusion=False), said.json["shortfall"]["conflict"], room)


def option_words(option: str, given: Sequence[str]) -> list[str]:
    """The command line with a remedy followed."""
    if option.startswith("without "):
        return [word for word in given if word != option.removeprefix("without ")]
    return [*given, *option.split()]


@pytest.mark.parametrize("given", [["--no-fusion"], ["--max-slowdown", "0"]])
@pytest.mark.parametrize("room", [1164, 1168])
def test_remedies_do_what_they_say(tmp_path: Path, given: list[str], room: int) -> None:
    assert_remedies(DIGITS, board_file(tmp_path, [("sram", 0x2000_0000, room)]), given)


@pytest.mark.slow
def test_less_scratch_is_a_remedy(tmp_path: Path) -> None:
    given = ["--max-slowdown", "100"]
    words = ["check", DIGITS, "-b", "nucleo_l4r5zi", "--json", *given]
    least = min(say(*words, "--optimize", aim).json["plan"]["arena"] for aim in ("speed", "size"))  # tried unasked
    board = board_file(tmp_path, [("sram", 0x2000_0000, least - 4)], "nucleo_l4r5zi")
    [remedy] = assert_remedies(DIGITS, board, given)
    assert remedy["option"].startswith("--arena-budget ")
    assert remedy["fits"]


def assert_remedies(model: Path, board: Path, given: list[str]) -> list[Any]:
    """Each, when it is followed, saves as much as it says."""
    words = ["check", model, "-b", board, "--json"]
    before = say(*words, *given)
    assert before.code == 1
    remedies = before.json["shortfall"]["remedies"]
    assert remedies
    for remedy in remedies:
        after = say(*words, *option_words(remedy["option"], given))
        saved = before.json["plan"]["arena"] - after.json["plan"]["arena"]
        assert saved >= remedy["saves"] > 0
        assert remedy["fits"] == (remedy["missing"] == 0)
        if remedy["fits"]:
            assert after.code == 0
        sentence = next(h for h in before.json["shortfall"]["help"] if h.startswith(f"{remedy['what']}: "))
        assert f"-{remedy['saves']:,} bytes in sram" in sentence
    return list(remedies)


def test_a_place_can_be_the_problem(tmp_path: Path) -> None:
    path = board_file(tmp_path, [("sram1", 0x2000_0000, 1024), ("sram2", 0x2001_0000, 4096)])
    said = say("check", DIGITS, "-b", path, "--place", "arena=sram1")
    assert said.code == 1
    assert re.search(r"tensors wherever there is room: -[\d,]+ bytes in sram1.*then it fits", said.out)


@pytest.mark.slow
@pytest.mark.models
@needs_real
def test_a_tensor_that_is_too_large_by_itself() -> None:
    said = say("check", real("vww"), "-b", "bluepill")
    assert said.code == 1
    assert "too large by itself, at conv_2d_0: input_1_int8 27,648" in said.out


@pytest.mark.slow
@pytest.mark.models
@needs_real
def test_float_edges_cost_memory(tmp_path: Path) -> None:
    path = board_file(tmp_path, [("sram", 0x2000_0000, 2048)], "nucleo_l4r5zi")
    said = say("check", real("ad"), "-b", path, "--io", "float", "--json")
    assert said.code == 1
    assert any(remedy["option"] == "--io int8" for remedy in said.json["shortfall"]["remedies"])
