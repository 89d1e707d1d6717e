"""Several networks in one file: each signature names a subgraph, its inputs and its outputs.

Without a choice the first subgraph is the network, as for every interpreter of the format. With one, the chosen
subgraph takes the first place, here and in the bytes that a reference is given, and its inputs and outputs get the
signature's names.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tinycompiler.errors import ModelError, UsageError
from tinycompiler.readers.blocker import AGAIN, listing
from tinycompiler.readers.file import File, Signature, Subgraph
from tinycompiler.readers.flatbuffer import moved_first


def chosen(file: File, key: str) -> File:
    """The file with the signature's subgraph first. UsageError names the signatures that there are."""
    found = [signature for signature in file.signatures if signature.key == key]
    if not found:
        known = ", ".join(f"'{signature.key}'" for signature in file.signatures)
        wanted = f"wanted one of {known}" if known else "the file has none: leave --signature away"
        raise UsageError(f"signature '{key}' is not in the file; {wanted}")
    index = found[0].subgraph
    subgraphs = [_renamed(file.subgraphs[index], found[0]), *file.subgraphs[1:]]
    if index:
        subgraphs[index] = file.subgraphs[0]
    return replace(file, subgraphs=tuple(subgraphs), first=index)


def as_judged(file: File) -> bytes:
    """The file as interpreters need it, to which the first subgraph is the network."""
    try:
        return moved_first(file.data, file.first) if file.first else file.data
    except OverflowError as error:
        raise ModelError(f"subgraph {file.first} cannot be taken out of this file; {AGAIN}") from error


def _renamed(main: Subgraph, signature: Signature) -> Subgraph:
    """The network with the signature's names at its edges, where no other tensor has such a name."""
    wanted = {tensor: name for name, tensor in (*signature.outputs, *signature.inputs) if name}
    names = {t.name: wanted.get(t.name, t.name) for t in main.tensors}
    if len(set(names.values())) != len(names):
        return main
    operators = tuple(
        replace(o, inputs=tuple(n and names[n] for n in o.inputs), outputs=tuple(names[n] for n in o.outputs))
        for o in main.operators
    )
    return replace(
        main,
        tensors=tuple(replace(t, name=names[t.name]) for t in main.tensors),
        inputs=tuple(names[n] for n in main.inputs),
        outputs=tuple(names[n] for n in main.outputs),
        operators=operators,
        details=MappingProxyType({names[n]: details for n, details in main.details.items()}),
    )


def choice_of(file: File) -> str:
    """A line on which network was taken, when there are several to choose from; else nothing."""
    if len({signature.subgraph for signature in file.signatures}) < 2:
        return ""
    mine = [f"'{s.key}'" for s in file.signatures if s.subgraph == file.first]
    others = [f"'{s.key}'" for s in file.signatures if s.subgraph != file.first]
    signature = f", signature {listing(mine)}" if mine else ""
    return (
        f"subgraph {file.first} of {len(file.subgraphs)}{signature}; "
        f"choose another by --signature, which may be {listing(others)}"
    )


def as_data(file: File) -> Mapping[str, object]:
    """Which network was taken, and what there is to choose from, as JSON."""
    return {
        "subgraph": file.first,
        "subgraphs": len(file.subgraphs),
        "signatures": [
            {
                "key": s.key,
                "subgraph": s.subgraph,
                "inputs": [n for n, _ in s.inputs],
                "outputs": [n for n, _ in s.outputs],
            }
            for s in file.signatures
        ],
    }
