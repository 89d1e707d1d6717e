"""`make demo`: a real network goes the whole line on two emulated boards, by commands that anybody can type."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMAND = Path(sys.executable).with_name("tinycompiler")
MODEL = Path("tests/models/digits.tflite")
HELD_OUT = MODEL.with_name("digits_heldout.npz")
OUT = Path("out/demo")
LARGE, SMALL = "nucleo_l4r5zi", "bluepill"
SHADES = " .:-=+*#%@"
DRAWN = 7  # digits shown side by side, all different


def main() -> None:
    os.chdir(Path(__file__).resolve().parents[1])
    started = time.monotonic()
    kilobytes = MODEL.stat().st_size / 1000
    heading(
        "A trained network", f"An int8 classifier of 8x8 pixel digits: {kilobytes:.0f} kB of .tflite, 10 operators."
    )
    step("check", MODEL)

    heading("Compiled", f"To C11 for {LARGE}, a Cortex-M4F. Whether it fits is read from the linked firmware.")
    step("compile", MODEL, "-b", LARGE, "-o", OUT / LARGE, show="written to")
    step("report", OUT / LARGE)

    heading("Run and proven", "The same firmware in an emulator with exactly the board's memory. LiteRT is the judge.")
    step("verify", MODEL, "-b", LARGE, "--layers", "-v", show="run on")

    heading("The same in 20 KB of RAM", f"{SMALL}, a Cortex-M3 without DSP instructions or an FPU.")
    step("compile", MODEL, "-b", SMALL, "-o", OUT / SMALL, show="FITS")
    step("verify", MODEL, "-b", SMALL, "--layers", show="run on")

    read_digits()
    print(
        f"\n{bold('That was all')}, in {time.monotonic() - started:.0f} s. The C is in {OUT / LARGE} and {OUT / SMALL}."
    )


def read_digits() -> None:
    """The held-out digits, as the emulated board reads them."""
    with np.load(HELD_OUT) as stored:
        images, labels = stored["inputs"], stored["labels"]
    heading("Digits it has never seen", f"{len(images)} held-out images, each read by the emulated {SMALL}.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "heldout.npy"
        np.save(file, images)
        answer = json.loads(tinycompiler("run", MODEL, "-b", SMALL, "--input", file, "--json"))
    read = [largest(each["outputs"]) for each in answer["outputs"]]
    _, different = np.unique(labels, return_index=True)
    shown = sorted(different)[:DRAWN]
    print("\n".join(drawn(images[shown], [read[i] for i in shown])))
    correct = sum(a == b for a, b in zip(read, labels.tolist(), strict=True))
    print(f"\n  {correct} of {len(images)} are right.")


def largest(outputs: dict[str, Any]) -> int:
    """The class that the only output gives the highest value."""
    (output,) = outputs.values()
    return int(np.argmax(output["values"]))


def drawn(images: NDArray[np.int8], read: Sequence[int]) -> list[str]:
    """Lines of text: the images (n, 8, 8, 1) side by side, and under each what was read."""
    levels = (images[..., 0].astype(int) + 128) * (len(SHADES) - 1) // 255
    lines = ["   " + "   ".join("".join(SHADES[v] for v in image[y]) for image in levels) for y in range(8)]
    lines += ["   " + "   ".join(f"reads {digit}".center(8) for digit in read)]
    return [line.rstrip() for line in lines]


def step(*arguments: object, show: str = "") -> None:
    """Shows a command and what it prints; with `show`, only from the line on that starts with it."""
    print(f"\n  {bold('$ tinycompiler ' + ' '.join(map(str, arguments)))}")
    lines = tinycompiler(*arguments).rstrip().splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith(show)), 0)
    for line in lines[first:]:
        print(f"  {line}".rstrip(), flush=True)


def tinycompiler(*arguments: object) -> str:
    """What the command prints; its progress and its errors go to the terminal, and an error ends the demo."""
    done = subprocess.run([COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}the demo ends here: tinycompiler {arguments[0]} left with exit code {done.returncode}")
    return done.stdout


def heading(title: str, text: str) -> None:
    print(f"\n{bold(title)}\n  {text}", flush=True)


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


if __name__ == "__main__":
    main()
