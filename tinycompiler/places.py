"""`--place WHAT=REGION`: the user's words become Places, or one error that names everything wrong with them.

A tensor is named as in the model's file; reshaped tensors share their memory, and so their place. A name that is also
one of the words below means the word. Constants are packed anew and have no memory each: they go together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from tinycompiler.board import Board
from tinycompiler.errors import UsageError
from tinycompiler.graph import Graph
from tinycompiler.ops import Reshape
from tinycompiler.regions import Places, Room

WORDS = ("input", "output", "arena", "state", "stack", "weights")
"""What can be placed beside single tensors. `arena` is every tensor and all scratch that is not placed otherwise."""
STACK = 1024
"""Bytes of stack to be expected: its worst case is known from a linked file only."""
STATIC = 64
"""Bytes of other variables to be expected."""


@dataclass(frozen=True)
class Wish:
    """One `--place`."""

    what: str
    region: str

    def __str__(self) -> str:
        return f"--place {self.what}={self.region}"


def with_places(board: Board, graph: Graph, words: Sequence[str]) -> tuple[Board, Places]:
    """The board with its stack where it is wanted, and the places of what the planner places.

    Raises UsageError with every word that makes no sense for this board and graph, which is the one after all passes.
    """
    reader = _Reader(board, graph)
    wishes = [wish for word in words if (wish := reader.wish(word)) is not None]
    pins = reader.pins(wishes)
    if reader.problems:
        raise UsageError("\n".join(reader.problems))
    single = {wish.what: wish.region for wish in wishes}
    board = replace(board, stack_region=single.get("stack", board.stack_region))
    expected = {board.stack.name: STACK}
    expected[board.ram.name] = expected.get(board.ram.name, 0) + STATIC
    places = Places(
        rooms_beside(board, expected),
        board.ram.name,
        pins,
        single.get("arena"),
        single.get("state"),
        single.get("weights"),
    )
    return board, places


def rooms_beside(board: Board, others: Mapping[str, int]) -> tuple[Room, ...]:
    """What is left of the board's RAM for arena and state when other things take `others` bytes of regions."""
    return tuple(Room(r.name, max(0, board.capacity(r) - others.get(r.name, 0))) for r in board.rams)


class _Reader:
    def __init__(self, board: Board, graph: Graph) -> None:
        self.board, self.graph = board, graph
        self.problems: list[str] = []
        self.states = {name for s in graph.states for name in (s.tensor, s.next)}
        made = [name for node in graph.nodes for name in node.outputs]
        self.placed = [name for name in dict.fromkeys([*graph.inputs, *made]) if name not in self.states]
        self.aliases = {node.outputs[0]: node.inputs[0] for node in graph.nodes if isinstance(node.op, Reshape)}

    def wish(self, word: str) -> Wish | None:
        what, equals, region = word.rpartition("=")  # tensors may have = in their names
        if not (what and equals and region):
            self.problems.append(f"--place {word}: wanted WHAT=REGION, such as input={self.board.ram.name}")
            return None
        wish = Wish(what, region)
        complaints = [c for c in (self.about_region(wish), self.about_what(wish)) if c is not None]
        self.problems += [f"{wish}: {complaint}" for complaint in complaints]
        return None if complaints else wish

    def about_region(self, wish: Wish) -> str | None:
        kinds = ("ram", "flash") if wish.what == "weights" else ("ram",)
        known = [region.name for region in self.board.regions if region.kind in kinds]
        if wish.what == "stack":
            known = [region.name for region in self.board.stacks]
        if wish.region in known:
            return None
        why = {None: "no such region", "flash": "that is flash", "ram": "that has no clock when the stack is needed"}
        found = why[next((region.kind for region in self.board.regions if region.name == wish.region), None)]
        return f"{found}; {self.board.name} has for it: {', '.join(known)}"

    def about_what(self, wish: Wish) -> str | None:
        name = wish.what
        if name == "state" and not self.graph.states:
            return "the network has no state; leave it away"
        if name in WORDS or name in self.placed:
            return None
        if name in self.states:
            return "it is a state, and these lie together; say state=REGION"
        if name in self.graph.tensors:
            return "it is a constant, and these lie together; say weights=REGION"
        near = get_close_matches(name, [*WORDS, *self.placed], n=3, cutoff=0.5)
        return (
            "no such tensor after the network was simplified"
            + (f"; near are {', '.join(near)}" if near else "")
            + f"; wanted {', '.join(WORDS)} or a name that --stop plan lists"
        )

    def pins(self, wishes: Sequence[Wish]) -> dict[str, str]:
        """Memory -> region. Words and tensors that come to the same must agree; a tensor overrules input and output."""
        found: dict[str, Wish] = {}
        for wish in sorted(wishes, key=lambda wish: wish.what in WORDS):
            for key in self.meant(wish):
                other = found.setdefault(key, wish)
                overruled = wish.what in ("input", "output") and other.what not in WORDS
                if other.region != wish.region and not overruled:
                    self.problems.append(f"{wish}: {other} says otherwise; leave one away")
        return {key: wish.region for key, wish in found.items() if key in self.placed}

    def meant(self, wish: Wish) -> Iterator[str]:
        """The memory that a wish is about, or its word behind an equals sign, unlike any tensor."""
        groups: dict[str, tuple[str, ...]] = {word: (f"={word}",) for word in WORDS}
        groups |= {"input": self.graph.inputs, "output": self.graph.outputs}
        for name in groups.get(wish.what, (wish.what,)):
            while name in self.aliases:
                name = self.aliases[name]
            if name not in self.states:
                yield name
