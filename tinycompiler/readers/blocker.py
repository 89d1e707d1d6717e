"""A blocker: one thing in a file that tinycompiler cannot do, where it stands, and the way out.

What operators and kernels say against a node is one sentence, which ends in a way out or does not; `objection` makes
blockers of those. Its verbs are the convention: who writes such a sentence begins the way out with one of them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinycompiler.readers.file import Operator, Subgraph

AGAIN = "convert the network again with a current converter"
LISTED = "replace the layer or convert it otherwise; `tinycompiler ops` lists what is supported"
SHOWN = 3  # of many, in text; JSON has all
LONGEST_SHOWN = 48  # characters of a name, in text

_WAY_OUT = re.compile(
    r"[;:,] (?=(?:calibrate|compile|convert|export|multiply|pad|quantize|reshape|retrain|slice|use) )(?P<hint>.*)$",
    re.S,
)


@dataclass(frozen=True)
class Blocker:
    """`kind` is one word for scripts; operators and tensors are those concerned, as (name, the file's type)."""

    kind: str
    problem: str
    hint: str
    operators: tuple[Operator, ...] = ()
    tensors: tuple[tuple[str, str], ...] = ()

    @property
    def data(self) -> dict[str, Any]:
        """As JSON; see report_schema.json."""
        return {
            "kind": self.kind,
            "operators": [
                {"node": o.node, "index": o.index, "operator": o.kind, "version": o.version} for o in self.operators
            ],
            "tensors": [{"name": name, "type": kind} for name, kind in self.tensors],
            "problem": self.problem,
            "hint": self.hint,
            "text": str(self),
        }

    def __str__(self) -> str:
        place = ", ".join(filter(None, (_operators(self.operators), _tensors(self.tensors))))
        return f"{place + ': ' if place else ''}{self.problem}; {self.hint}"


def typed(main: Subgraph, names: Iterable[str | None]) -> tuple[tuple[str, str], ...]:
    """Each named tensor once, with its type in the file."""
    known = (name for name in dict.fromkeys(names) if name and name in main.details)
    return tuple((name, main.details[name].type.lower()) for name in known)


def objection(kind: str, sentence: str, operator: Operator, main: Subgraph) -> Blocker:
    """What is said against one operator and its tensors."""
    ends = dict.fromkeys(filter(None, (*operator.inputs, *operator.outputs)))
    for name in ends:
        sentence = sentence.replace(f"'{name}'", f"'{_shown(name)}'")
    found = _WAY_OUT.search(sentence)
    problem, hint = (sentence[: found.start()], found["hint"]) if found else (sentence, _usual(sentence))
    return Blocker(kind, problem, hint, (operator,), typed(main, ends))


def _usual(sentence: str) -> str:
    return AGAIN if "the file is inconsistent" in sentence else LISTED


def listing(items: Sequence[object], limit: int = SHOWN) -> str:
    """The first few, and how many more."""
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return ", ".join(map(str, items[:limit])) + more


def _operators(operators: Sequence[Operator]) -> str:
    kinds: dict[tuple[str, int], list[str]] = {}
    for o in operators:
        kinds.setdefault((o.kind, o.version), []).append(_shown(o.node))
    texts = [f"{listing(nodes)} ({_shown(kind)} version {version})" for (kind, version), nodes in kinds.items()]
    return listing(texts)


def _tensors(tensors: Sequence[tuple[str, str]]) -> str:
    texts = [f"'{_shown(name)}' ({kind})" for name, kind in tensors[: SHOWN + 1]]
    more = f" and {len(tensors) - len(texts):,} more" if len(tensors) > len(texts) else ""
    return f"tensor{'s' * (len(tensors) > 1)} {', '.join(texts)}{more}" if tensors else ""


def _shown(name: str) -> str:
    """Of a name that a converter joined with `;` the first; of a long one the end, which tells layers apart."""
    first = name.split(";")[0] or name
    return first if len(first) <= LONGEST_SHOWN else f"...{first[3 - LONGEST_SHOWN :]}"
