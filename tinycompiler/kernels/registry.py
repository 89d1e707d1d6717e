"""KERNELS: every kernel there is, best first; rivals beside those that they are rivals of."""

from tinycompiler.kernels.add import AddDsp
from tinycompiler.kernels.add_products import AddProducts
from tinycompiler.kernels.base import Kernel
from tinycompiler.kernels.binary import Bconv
from tinycompiler.kernels.binary_values import LceDequantizeScalar, LceMaxPoolScalar, LceQuantizeScalar
from tinycompiler.kernels.cast import CastScalar
from tinycompiler.kernels.conv_int4 import ConvInt2, ConvInt4
from tinycompiler.kernels.conv_lanes import ConvLanes
from tinycompiler.kernels.conv_pixels import ConvPixels
from tinycompiler.kernels.conv_scalar import ConvScalar
from tinycompiler.kernels.conv_signs import ConvSigns
from tinycompiler.kernels.conv_vector import ConvDot, ConvVector
from tinycompiler.kernels.convolution import ConvDsp
from tinycompiler.kernels.depthwise import DepthwiseDsp, DepthwiseScalar
from tinycompiler.kernels.depthwise_lanes import DepthwiseLanes
from tinycompiler.kernels.depthwise_planar import DepthwisePlanar
from tinycompiler.kernels.depthwise_spaced import DepthwiseSpaced
from tinycompiler.kernels.elementwise import ElementwiseDsp, ElementwiseScalar
from tinycompiler.kernels.grouped import GroupedDsp, GroupedScalar
from tinycompiler.kernels.int16 import ConvDsp16, ConvScalar16, DepthwiseScalar16
from tinycompiler.kernels.int16_values import (
    CurveScalar16,
    ElementwiseScalar16,
    MeanScalar16,
    PoolScalar16,
    Rescale,
    SoftmaxScalar16,
)
from tinycompiler.kernels.lanes_int4 import LanesInt4
from tinycompiler.kernels.matmul import MatMul
from tinycompiler.kernels.movement import Rearrange
from tinycompiler.kernels.normalization import L2NormalizationScalar, LogSoftmaxScalar
from tinycompiler.kernels.partial_sums import PartialSumsScalar
from tinycompiler.kernels.pooling import PoolDsp, PoolScalar
from tinycompiler.kernels.quantization import DequantizeFloat, QuantizeFloat
from tinycompiler.kernels.reduction import ArgReduce, Reduce
from tinycompiler.kernels.resize import ResizeBilinearScalar
from tinycompiler.kernels.select import SelectScalar
from tinycompiler.kernels.softmax import SoftmaxScalar, SoftmaxTwo
from tinycompiler.kernels.sparse_conv import ConvBlocks, ConvDeltas
from tinycompiler.kernels.sparse_scalar import ScalarBlocks, ScalarDeltas
from tinycompiler.kernels.sparse_stored import ConvBitmap
from tinycompiler.kernels.sparse_vector import VectorBlocks, VectorDeltas
from tinycompiler.kernels.states import Append, MoveDown
from tinycompiler.kernels.table import Table, TableOfConstant
from tinycompiler.kernels.transpose_conv import (
    TransposeConvDsp,
    TransposeConvDsp16,
    TransposeConvScalar,
    TransposeConvScalar16,
)
from tinycompiler.kernels.winograd import ConvWinograd, ConvWinogradPaired

KERNELS: tuple[Kernel, ...] = (
    ConvWinogradPaired(),
    ConvWinograd(),
    ConvInt4(),
    ConvInt2(),
    ConvDot(),
    VectorBlocks(),
    VectorDeltas(),
    ConvVector(),
    ConvBlocks(),
    ConvDeltas(),
    ConvDsp(),
    ConvBitmap(),
    ScalarBlocks(),
    ScalarDeltas(),
    LanesInt4(),
    ConvLanes(),
    ConvSigns(),
    ConvPixels(),
    ConvScalar(),
    GroupedDsp(),
    GroupedScalar(),
    TransposeConvDsp(),
    TransposeConvScalar(),
    MatMul(),
    PartialSumsScalar(),
    DepthwiseSpaced(),
    DepthwisePlanar(),
    DepthwiseDsp(),
    DepthwiseLanes(),
    DepthwiseScalar(),
    PoolDsp(),
    PoolScalar(),
    TableOfConstant(),
    AddDsp(),
    AddProducts(),
    ElementwiseDsp(),
    ElementwiseScalar(),
    Table(),
    SelectScalar(),
    CastScalar(),
    SoftmaxTwo(),
    SoftmaxScalar(),
    LogSoftmaxScalar(),
    L2NormalizationScalar(),
    ResizeBilinearScalar(),
    Reduce(),
    ArgReduce(),
    Append(),
    MoveDown(),
    Rearrange(),
    QuantizeFloat(),
    DequantizeFloat(),
    Bconv(),
    LceQuantizeScalar(),
    LceDequantizeScalar(),
    LceMaxPoolScalar(),
    ConvDsp16(),
    ConvScalar16(),
    TransposeConvDsp16(),
    TransposeConvScalar16(),
    DepthwiseScalar16(),
    PoolScalar16(),
    ElementwiseScalar16(),
    CurveScalar16(),
    SoftmaxScalar16(),
    MeanScalar16(),
    Rescale(),
)
