"""Trains, quantizes and writes the digits classifier of the tests: digits.tflite and digits_heldout.npz, beside this.

    PYTHONPATH=. python tests/models/train_digits.py

The data are scikit-learn's digits: 1,797 images of 8x8 pixels (UCI, "Optical Recognition of Handwritten Digits", CC BY
4.0). The network, (height, width, channels) at each step:

    image 8x8x1 - conv 3x3, relu -> 8x8x16 - depthwise 3x3, relu - conv 1x1 - add (the first 8x8x16), relu
    - max pool 2x2 -> 4x4x16 - conv 3x3, relu -> 4x4x32 - average pool 2x2 -> 2x2x32
    - reshape -> 128 - fully connected -> 10 - softmax

Chosen: numpy and the gradients written out. Instead of: a training framework. Because: so small a network trains in
under a minute, and whoever wants to know how the file came about can read it all here. The same machine gives the same
bytes.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tests.tflite_builder import ModelBuilder
from tinycompiler.readers import schema

Floats = NDArray[np.float32]
Parameters = dict[str, Floats]

FOLDER = Path(__file__).parent
SEED = 0
HELD_OUT, STORED = 360, 100  # images never trained on; those of them that are stored for the tests
CHANNELS, FEATURES, CLASSES = 16, 32, 10
EPOCHS, BATCH, LEARNING_RATE, DECAY = 40, 32, 3e-3, 1e-3


# Layers on (n, h, w, c); weights are (taps, c) or (taps · c, filters), taps row by row.


def patches(x: Floats) -> Floats:
    """The 3x3 neighbourhood of each pixel, zeros outside: (n, h, w, 9, c)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return np.stack([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=3)


def unpatch(gradient: Floats) -> Floats:
    """The gradient of `patches`: each pixel collects from the nine neighbourhoods that it was in."""
    n, height, width, _, channels = gradient.shape
    padded = np.zeros((n, height + 2, width + 2, channels), np.float32)
    for tap in range(9):
        i, j = divmod(tap, 3)
        padded[:, i : i + height, j : j + width] += gradient[:, :, :, tap]
    return padded[:, 1:-1, 1:-1]


def quarters(x: Floats) -> Floats:
    """The 2x2 blocks, each as one axis: (n, h / 2, w / 2, c, 4)."""
    n, height, width, channels = x.shape
    blocks = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, height // 2, width // 2, channels, 4)


def unquarter(blocks: Floats) -> Floats:
    """The inverse of `quarters`."""
    n, height, width, channels, _ = blocks.shape
    split = blocks.reshape(n, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(n, 2 * height, 2 * width, channels)


def softmax(logits: Floats) -> Floats:
    e: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = e / e.sum(axis=-1, keepdims=True)
    return probabilities


def initial_parameters(rng: np.random.Generator) -> Parameters:
    def weights(fan_in: int, *shape: int) -> Floats:
        return rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)

    parameters = {
        "stem": weights(9, 9, CHANNELS),
        "depthwise": weights(9, 9, CHANNELS),
        "pointwise": weights(CHANNELS, CHANNELS, CHANNELS),
        "features": weights(9 * CHANNELS, 9 * CHANNELS, FEATURES),
        "logits": weights(4 * FEATURES, 4 * FEATURES, CLASSES),
    }
    return parameters | {f"{name}_bias": np.zeros(w.shape[1], np.float32) for name, w in parameters.items()}


def forward(parameters: Parameters, image: Floats) -> Parameters:
    """Every activation by name; image (n, 8, 8, 1) in [0, 1]."""
    p, n = parameters, len(image)
    a = {"image": image}
    a["stem"] = np.maximum(patches(image)[..., 0] @ p["stem"] + p["stem_bias"], 0)
    taps = patches(a["stem"])
    a["depthwise"] = np.maximum((taps * p["depthwise"]).sum(axis=3) + p["depthwise_bias"], 0)
    a["pointwise"] = a["depthwise"] @ p["pointwise"] + p["pointwise_bias"]
    a["sum"] = np.maximum(a["stem"] + a["pointwise"], 0)
    a["halved"] = quarters(a["sum"]).max(axis=-1)
    columns = patches(a["halved"]).reshape(n, 4, 4, 9 * CHANNELS)
    a["features"] = np.maximum(columns @ p["features"] + p["features_bias"], 0)
    a["pooled"] = quarters(a["features"]).mean(axis=-1)
    a["logits"] = a["pooled"].reshape(n, -1) @ p["logits"] + p["logits_bias"]
    return a


def backward(parameters: Parameters, a: Parameters, labels: NDArray[np.int64]) -> Parameters:
    """Gradients of the mean cross entropy, `a` being what `forward` gave."""
    p, n, g = parameters, len(labels), {}

    def rows(x: Floats) -> Floats:
        return x.reshape(-1, x.shape[-1])

    def weight(name: str, inputs: Floats, gradient: Floats) -> None:
        g[name], g[f"{name}_bias"] = rows(inputs).T @ rows(gradient), rows(gradient).sum(axis=0)

    d = (softmax(a["logits"]) - np.eye(CLASSES, dtype=np.float32)[labels]) / np.float32(n)
    weight("logits", a["pooled"].reshape(n, -1), d)
    d = (d @ p["logits"].T).reshape(a["pooled"].shape)
    d = unquarter(np.repeat(d[..., None] / 4, 4, axis=-1)) * (a["features"] > 0)
    weight("features", patches(a["halved"]).reshape(n, 4, 4, -1), d)
    d = unpatch((d @ p["features"].T).reshape(n, 4, 4, 9, CHANNELS))
    blocks = quarters(a["sum"])
    first = np.eye(4, dtype=np.float32)[blocks.argmax(axis=-1)]
    through_sum = unquarter(d[..., None] * first) * (a["sum"] > 0)
    weight("pointwise", a["depthwise"], through_sum)
    d = (through_sum @ p["pointwise"].T) * (a["depthwise"] > 0)
    g["depthwise"] = np.einsum("nhwkc,nhwc->kc", patches(a["stem"]), d)
    g["depthwise_bias"] = rows(d).sum(axis=0)
    d = (through_sum + unpatch(d[:, :, :, None] * p["depthwise"])) * (a["stem"] > 0)
    weight("stem", patches(a["image"])[..., 0], d)
    return g


def train(images: Floats, labels: NDArray[np.int64], rng: np.random.Generator) -> Parameters:
    """Adam with decoupled weight decay and a learning rate that falls to zero along a cosine."""
    parameters = initial_parameters(rng)
    first = {name: np.zeros_like(w) for name, w in parameters.items()}
    second = {name: np.zeros_like(w) for name, w in parameters.items()}
    steps = EPOCHS * (len(images) // BATCH)
    for step in range(steps):
        if step % (len(images) // BATCH) == 0:
            order = rng.permutation(len(images))
        chosen = order[np.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        gradients = backward(parameters, forward(parameters, images[chosen]), labels[chosen])
        rate = np.float32(LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for name, gradient in gradients.items():
            first[name] += 0.1 * (gradient - first[name])
            second[name] += 0.001 * (gradient**2 - second[name])
            move = first[name] / (1 - 0.9 ** (step + 1)) / (np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + 1e-8)
            parameters[name] = parameters[name] - rate * (move + DECAY * parameters[name])
    return parameters


# Quantization by TFLite's 8-bit specification.


class Range(NamedTuple):
    scale: float
    zero_point: int


IMAGE, PROBABILITIES = Range(1 / 255, -128), Range(1 / 256, -128)


def calibrate(values: Floats) -> Range:
    """The int8 quantization that covers every value seen, and 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255
    return Range(scale, round(-128 - low / scale))


def quantize_image(pixels: NDArray[np.float64]) -> NDArray[np.int8]:
    """Pixels of 0 to 16, (n, 8, 8), as the network's input (n, 8, 8, 1)."""
    values = np.rint(pixels / 16 / IMAGE.scale) + IMAGE.zero_point
    return values.astype(np.int8)[..., None]


class Writer:
    """Adds layers to a model; activations are named as in `forward`."""

    def __init__(self, parameters: Parameters, activations: Parameters) -> None:
        self.parameters = parameters
        self.model = ModelBuilder("digits")
        self.ranges = {name: calibrate(values) for name, values in activations.items()}
        self.ranges |= {"image": IMAGE, "halved": self.ranges["sum"], "pooled": self.ranges["features"]}
        self.ranges |= {"flat": self.ranges["features"], "digit": PROBABILITIES}

    def activation(self, name: str, *shape: int) -> str:
        scale, zero_point = self.ranges[name]
        return self.model.tensor(name, (1, *shape), scales=scale, zero_points=zero_point)

    def weights(self, name: str, source: str, shape: tuple[int, ...], *, per_channel: bool = True) -> list[str]:
        """int8 weights, symmetric, and int32 biases; the layer's outputs are the columns of its parameter matrix."""
        matrix, bias = self.parameters[name], self.parameters[f"{name}_bias"]
        largest = np.abs(matrix).max(axis=0) if per_channel else np.abs(matrix).max(keepdims=True)[0]
        scales = largest / 127
        values = np.rint(matrix / scales)
        channels_first = values if name == "depthwise" else values.T
        axis = 3 if name == "depthwise" else 0
        bias_scales = scales * self.ranges[source].scale
        data = channels_first.reshape(shape).astype(np.int8)
        self.model.tensor(f"{name}_weights", shape, scales=scales.tolist(), axis=axis, data=data)
        data = np.rint(bias / bias_scales).astype(np.int32)
        self.model.tensor(f"{name}_bias", bias.shape, "int32", scales=bias_scales.tolist(), data=data)
        return [source, f"{name}_weights", f"{name}_bias"]


def write(parameters: Parameters, activations: Parameters) -> bytes:
    """The quantized network as a .tflite file; `activations` are those of the calibration images."""
    w = Writer(parameters, activations)
    same = {"padding": schema.PADDINGS.index("SAME"), "stride_h": 1, "stride_w": 1}
    relu = {"fused_activation_function": schema.ACTIVATIONS.index("RELU")}
    pool = {
        "padding": schema.PADDINGS.index("VALID"),
        "stride_h": 2,
        "stride_w": 2,
        "filter_height": 2,
        "filter_width": 2,
    }
    operator = w.model.operator
    w.activation("image", 8, 8, 1)
    for name in ("stem", "depthwise", "pointwise", "sum"):
        w.activation(name, 8, 8, CHANNELS)
    operator("CONV_2D", w.weights("stem", "image", (CHANNELS, 3, 3, 1)), ["stem"], options=same | relu)
    inputs = w.weights("depthwise", "stem", (1, 3, 3, CHANNELS))
    operator("DEPTHWISE_CONV_2D", inputs, ["depthwise"], options=same | relu | {"depth_multiplier": 1})
    inputs = w.weights("pointwise", "depthwise", (CHANNELS, 1, 1, CHANNELS))
    operator("CONV_2D", inputs, ["pointwise"], options=same)
    operator("ADD", ["stem", "pointwise"], ["sum"], options=relu)
    operator("MAX_POOL_2D", ["sum"], [w.activation("halved", 4, 4, CHANNELS)], options=pool)
    inputs = w.weights("features", "halved", (FEATURES, 3, 3, CHANNELS))
    operator("CONV_2D", inputs, [w.activation("features", 4, 4, FEATURES)], options=same | relu)
    operator("AVERAGE_POOL_2D", ["features"], [w.activation("pooled", 2, 2, FEATURES)], options=pool)
    shape = w.model.tensor("flat_shape", (2,), "int32", data=[1, 4 * FEATURES])
    flat = w.activation("flat", 4 * FEATURES)
    operator("RESHAPE", ["pooled", shape], [flat], options={"new_shape": [1, 4 * FEATURES]})
    inputs = w.weights("logits", "flat", (CLASSES, 4 * FEATURES), per_channel=False)
    operator("FULLY_CONNECTED", inputs, [w.activation("logits", CLASSES)], options={})
    operator("SOFTMAX", ["logits"], [w.activation("digit", CLASSES)], options={"beta": 1.0})
    return w.model.inputs("image").outputs("digit").build()


def main() -> None:
    rng = np.random.default_rng(SEED)
    digits = load_digits()
    order = rng.permutation(len(digits.images))
    held_out, training = order[:HELD_OUT], order[HELD_OUT:]
    pixels = quantize_image(digits.images)
    images = ((pixels.astype(np.float32) - IMAGE.zero_point) * IMAGE.scale).astype(np.float32)
    labels = digits.target.astype(np.int64)
    parameters = train(images[training], labels[training], rng)
    answers = forward(parameters, images[held_out])["logits"].argmax(axis=-1)
    print(f"float network: {np.mean(answers == labels[held_out]):.1%} of {HELD_OUT} held-out digits")
    data = write(parameters, forward(parameters, images[training]))
    (FOLDER / "digits.tflite").write_bytes(data)
    stored = held_out[:STORED]
    np.savez_compressed(FOLDER / "digits_heldout.npz", inputs=pixels[stored], labels=labels[stored].astype(np.uint8))
    print(f"wrote digits.tflite, {len(data)} bytes, and digits_heldout.npz, {STORED} digits")


if __name__ == "__main__":
    main()
