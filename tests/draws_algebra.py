"""Hypothesis strategies for the operators of `tests.models_algebra`; `tests.draws` merges them into its own."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import models
from tests import models_algebra as algebra
from tests.draws import ACTIVATIONS, Case, Told, case, images, scales, single, unary_numbers, weighted, zero_points
from tests.draws import channels as some_channels
from tinycompiler.ops import Numerics

LITERT, TFLM = (Numerics.LITERT,), (Numerics.TFLM,)
sizes = st.integers(1, 9)


@st.composite
def _axes(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(st.integers(1, 9 if rank < 4 else 4)) for _ in range(rank))
    axes = draw(st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank, unique_by=lambda a: a % rank))
    return {"shape": shape, "axes": axes, "keep_dims": draw(st.booleans())}


@st.composite
def _sum(draw: DrawFn) -> Told:
    return {**draw(_axes()), **draw(unary_numbers())}


@st.composite
def _extreme(draw: DrawFn) -> Told:
    return {**draw(_axes()), "input_zero_point": draw(zero_points)}


@st.composite
def _arg_extreme(draw: DrawFn) -> Told:
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(st.sampled_from((1, 2, 3, 5, 17))) if rank < 4 else draw(st.integers(1, 4)) for _ in range(rank))
    return {
        "shape": shape,
        "axis": draw(st.integers(-rank, rank - 1)),
        "index": draw(st.sampled_from(("int32", "int64"))),
    }


def _of_index(found: Case) -> Case:
    """TensorFlow Lite Micro has no int64 indices."""
    return replace(found, profiles=LITERT) if found.told["index"] == "int64" else found


@st.composite
def _rows(draw: DrawFn, least: float, greatest_rank: int) -> Told:
    outer = tuple(draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, greatest_rank - 1))))
    depth = draw(st.one_of(st.integers(1, 20), st.sampled_from((64, 100, 257, 1000))))
    return {"shape": (*outer, depth), "input_scale": draw(scales(least, 2.0)), "input_zero_point": draw(zero_points)}


def _of_rank(found: Case) -> Case:
    """TensorFlow Lite Micro normalizes up to rank 4."""
    return replace(found, profiles=LITERT) if len(found.told["shape"]) > 4 else found


@st.composite
def _resize(draw: DrawFn) -> Told:
    shape = draw(images())
    size = (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
    corners = draw(st.sampled_from(((False, False), (True, False), (False, True))))
    return {
        "shape": shape,
        "size": size,
        "align_corners": corners[0],
        "half_pixel_centers": corners[1],
        "input_zero_point": draw(zero_points),
    }


@st.composite
def _transpose_conv(draw: DrawFn) -> Told:
    shape = draw(images(greatest=5))
    kernel, filters = (draw(st.integers(1, 5)), draw(st.integers(1, 5))), draw(some_channels)
    told = {
        "shape": shape,
        "filters": filters,
        "kernel": kernel,
        "stride": (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        "padding": draw(st.sampled_from(("SAME", "VALID"))),
        "less": (draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        "activation": draw(ACTIVATIONS),
    }
    return told | draw(weighted((filters, *kernel, shape[3]), filters))


@st.composite
def _matrices(draw: DrawFn) -> Told:
    """Scales and zero points, by the multiplier that comes of them."""
    told: Told = {"zero_points": (draw(zero_points), draw(zero_points)), "output_zero_point": draw(zero_points)}
    if draw(st.booleans()):
        a, b = told["scales"] = (draw(scales()), draw(scales()))
        ratio = draw(st.one_of(st.sampled_from((0.5, 1.0, 2.0, 64.0, 1024.0)), st.floats(0.02, 10000.0)))
        told["output_scale"] = single(a * b * ratio)
    return told


@st.composite
def _batch_matmul(draw: DrawFn) -> Told:
    m, n = draw(sizes), draw(sizes)
    k = draw(st.one_of(sizes, st.sampled_from((16, 17, 33))))
    batches = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))]
    first, second = ([1 if draw(st.integers(0, 3)) == 0 else b for b in batches] for _ in range(2))
    if draw(st.booleans()):
        second = second[draw(st.integers(0, len(second))) :]
    else:
        first = first[draw(st.integers(0, len(first))) :]
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    told: Told = {
        "shape": (*first, *((k, m) if adj_x else (m, k))),
        "other": (*second, *((n, k) if adj_y else (k, n))),
        "adj_x": adj_x,
        "adj_y": adj_y,
    }
    constant = draw(st.sampled_from((None, None, "first", "second")))
    return told | draw(_matrices()) | ({"constant": constant} if constant else {})


@st.composite
def _dynamic(draw: DrawFn) -> Told:
    depth = draw(st.integers(1, 67))
    told = {
        "shape": draw(st.sampled_from(((1, depth), (3, depth), (2, 2, depth)))),
        "units": draw(some_channels),
        "activation": draw(ACTIVATIONS),
        "keep_num_dims": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if draw(st.integers(0, 3)) == 0:
        told["constant"] = "first"
    return told | draw(_matrices())


@st.composite
def grouped(draw: DrawFn) -> Told:
    """A convolution of several groups."""
    groups, depth, each = draw(st.integers(2, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    batch, height, width, _ = draw(images(greatest=7))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    filters = groups * each
    told: Told = {
        "shape": (batch, height, width, groups * depth),
        "filters": filters,
        "groups": groups,
        "kernel": kernel,
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "activation": draw(ACTIVATIONS),
    }
    return told | draw(weighted((filters, *kernel, depth), filters))


ALGEBRA: dict[str, SearchStrategy[Case]] = {
    "ARG_MAX": case(algebra.arg_max, _arg_extreme()).map(_of_index),
    "ARG_MIN": case(algebra.arg_min, _arg_extreme()).map(_of_index),
    "BATCH_MATMUL": case(algebra.batch_matmul, _batch_matmul()),
    "CONV_2D grouped": case(models.conv_2d, grouped()),
    "FULLY_CONNECTED dynamic": case(algebra.fully_connected_dynamic, _dynamic()),
    "L2_NORMALIZATION": case(algebra.l2_normalization, _rows(1e-3, 5)).map(_of_rank),
    "LOG_SOFTMAX": case(algebra.log_softmax, _rows(1e-4, 4)),
    "REDUCE_MAX": case(algebra.reduce_max, _extreme()),
    "REDUCE_MIN": case(algebra.reduce_min, _extreme()),
    "RESIZE_BILINEAR": case(algebra.resize_bilinear, _resize()),
    # LiteRT's reference kernel of SUM reads int8 as uint8
    "SUM": case(algebra.sum_, _sum()).map(lambda found: replace(found, profiles=TFLM)),
    "TRANSPOSE_CONV": case(algebra.transpose_conv, _transpose_conv()),
}
