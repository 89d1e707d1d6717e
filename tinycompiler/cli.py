"""The command line: arguments and exit codes, nothing else."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinycompiler import __version__, actions
from tinycompiler.bench.command import BOARDS, bench
from tinycompiler.choice import LEVELS
from tinycompiler.emulators import EMULATORS
from tinycompiler.errors import TinyCompilerError
from tinycompiler.ops import Numerics
from tinycompiler.planning import SLOWDOWN
from tinycompiler.progress import Progress

EPILOG = (
    "exit codes: 0 fine, 1 the answer is no (does not fit, mismatch), 2 usage, "
    "3 unsupported or broken model, 4 a tool is missing"
)
STOPS = ("graph", "calls", "plan", "program", "elf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        outcome: actions.Outcome = options.action(options)
    except TinyCompilerError as problem:
        Progress().done()  # of a step that was interrupted
        if getattr(options, "json", False):
            print(json.dumps({"error": str(problem), "kind": type(problem).__name__}, indent=2))
        else:
            print(f"tinycompiler: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        Progress().done()
        print("tinycompiler: interrupted", file=sys.stderr)
        return 130
    try:
        print(json.dumps(outcome.data, indent=2) if options.json else outcome.text.rstrip("\n"))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stdout = None
    return outcome.exit_code


def build_parser() -> argparse.ArgumentParser:
    """All commands; also what the README's usage is tested against."""
    parser = argparse.ArgumentParser(prog="tinycompiler", description=actions.__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"tinycompiler {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = _command(commands, "check", actions.check, "name every blocker of a model at once; needs no compiler")
    _model(check)
    _board(check, required=False)
    _planning(check)

    compile_ = _command(commands, "compile", actions.compile_, "write C sources, weights, manifest and fit report")
    _model(compile_)
    _board(compile_)
    _planning(compile_)
    compile_.add_argument("-o", "--output", type=Path, help="folder to write")
    compile_.add_argument("--stop", choices=STOPS, help="print that noun of the line, and leave")
    compile_.add_argument(
        "--pareto", action="store_true", help="print the choices between flash, RAM and time, and leave"
    )
    compile_.add_argument(
        "--stock", action="store_true", help="scripts for Renode on the platform file that it ships, if it has one"
    )
    compile_.add_argument("-v", "--verbose", action="store_true", help="with the table of layers")

    run = _command(commands, "run", actions.run, "run a model, or the output of compile, on an emulated board")
    run.add_argument("model", type=Path, metavar="MODEL|OUT", help=".tflite file, or folder written by compile")
    _numerics(run)
    _board(run)
    _planning(run)
    _execution(run)
    run.add_argument("-v", "--verbose", action="store_true", help="with the table of layers")

    verify = _command(
        commands, "verify", actions.verify, "compare every output byte on an emulated board with the reference"
    )
    _model(verify)
    _board(verify)
    _planning(verify)
    _execution(verify)
    verify.add_argument("-n", type=_positive, default=8, help="random inputs beside the extremes (default 8)")
    verify.add_argument("--expect", type=Path, help=".npy or .npz: the outputs for --input, in place of a reference")
    verify.add_argument("--layers", action="store_true", help="also compare every intermediate tensor")
    verify.add_argument("-v", "--verbose", action="store_true", help="with the table of layers")

    report = _command(commands, "report", actions.report, "show the report in an output folder, or what changed")
    which = report.add_mutually_exclusive_group(required=True)
    place = "folder written by compile, or file that --json of compile, run or verify was written to"
    which.add_argument("output", type=Path, nargs="?", metavar="OUT", help=place)
    which.add_argument("--diff", type=Path, nargs=2, metavar=("OLD", "NEW"), help="what changed between two of them")
    form = report.add_mutually_exclusive_group()
    for name, text in (("markdown", "as Markdown"), ("html", "as one HTML page, with pictures")):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=text)
    report.add_argument("-v", "--verbose", action="store_true", help="with the table of layers")

    _bench(_command(commands, "bench", bench, "measure models on boards, and compare with earlier figures", json=False))

    for name, action, text in (
        ("boards", actions.boards, "list the boards"),
        ("ops", actions.ops, "list operators, types and kernels"),
        ("doctor", actions.doctor, "list the tools found, and what the missing ones would give"),
    ):
        listing = _command(commands, name, action, text)
        if name != "doctor":
            listing.add_argument("--markdown", action="store_true", help="as Markdown")
    return parser


def _command(
    commands: Any, name: str, action: actions.Action, text: str, *, json: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
    parser.set_defaults(action=action, json=False)
    if json:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _bench(parser: argparse.ArgumentParser) -> None:
    models = ".tflite files, or .json files of earlier figures (default: the .tflite files in TINYCOMPILER_MODELS)"
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL", help=models)
    parser.add_argument(
        "-b", "--board", action="append", help=f"may be given several times (default {', '.join(BOARDS)})"
    )
    parser.add_argument(
        "--numerics", choices=[n.value for n in Numerics], default=Numerics.LITERT.value, help="(default litert)"
    )
    parser.add_argument("--no-fusion", action="store_true", help="every layer as a whole, so that each has figures")
    parser.add_argument("--json", dest="write", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="earlier figures; exit code 1 when some grew")
    parser.add_argument("--markdown", action="store_true", help="as Markdown")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=".tflite file")
    _numerics(parser)


def _numerics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--numerics",
        choices=[n.value for n in Numerics],
        default=Numerics.LITERT.value,
        help="whose bytes to reproduce (default litert)",
    )
    parser.add_argument("--signature", metavar="NAME", help="which network of a file that holds several")
    parser.add_argument("--io", choices=("int8", "float"), help="types of inputs and outputs (default: the file's own)")


def _board(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "-b", "--board", required=required, help="name from `tinycompiler boards`, or path to a TOML file"
    )


def _planning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arena-budget", type=_bytes, metavar="BYTES", help="the most that the arena may take")
    parser.add_argument(
        "--max-slowdown",
        type=_percent,
        default=SLOWDOWN,
        metavar="PERCENT",
        help=f"instructions that computing row by row may add, to save memory (default {100 * SLOWDOWN:g})",
    )
    parser.add_argument("--no-fusion", action="store_true", help="every layer as a whole: none row by row with another")
    parser.add_argument(
        "--optimize", choices=tuple(LEVELS), default="speed", help="what kernels are chosen for (default speed)"
    )
    parser.add_argument(
        "--weights",
        choices=("int4-if-exact", "int8"),
        default="int4-if-exact",
        help="int4-if-exact: in fewer bits, or without their zeros, where that is exact and pays; int8: as bytes",
    )
    for what in ("flash", "ram"):
        text = f"the most {what.upper() if what == 'ram' else what} that the program may take"
        parser.add_argument(f"--{what}-budget", type=_bytes, metavar="BYTES", help=text)
    parser.add_argument(
        "--place",
        action="append",
        default=[],
        metavar="WHAT=REGION",
        help="where input, output, arena, state, stack, weights or a tensor of that name goes, such as input=sram2; "
        "may be given several times",
    )


def _execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=Path, help=".npy or .npz with inputs")
    parser.add_argument("--seed", type=_seed, default=0, help="of random inputs (default 0)")
    parser.add_argument("--emulator", choices=tuple(EMULATORS), default="unicorn", help="(default unicorn)")
    parser.add_argument(
        "--host",
        dest="emulator",
        action="store_const",
        const="host",
        help="instead of an emulator: this machine, under AddressSanitizer and UndefinedBehaviorSanitizer",
    )
    parser.add_argument("--cc", help="compiler of --host, such as clang (default: CC, else cc, gcc or clang)")


def _positive(text: str) -> int:
    return _integer(text, least=1)


def _seed(text: str) -> int:
    return _integer(text, least=0)


def _bytes(text: str) -> int:
    return _integer(text, least=0)


def _percent(text: str) -> float:
    """A share, from a number of percent."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a number of percent, 0 or more")
    return value / 100


def _integer(text: str, *, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted an integer of at least {least}")
    return value


if __name__ == "__main__":
    sys.exit(main())
