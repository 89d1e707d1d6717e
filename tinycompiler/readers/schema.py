"""The TFLite file format (schema version 3) as data: which table has which fields, what the numbers of its enums mean.

Chosen: tables written by hand, which one small decoder walks and, in tests, one small encoder. Instead of: a generated
module of 20,000 lines, or a dependency on a runtime that ships one. Because: a field is one word here, the order of
words is all there is to know, and the same words write the test models.

A field's place in its table is its slot, so words are never taken out or moved: `-` holds the place of a field that is
no longer written or that nobody here reads. Types: a scalar (`int8` ... `float32`, with `=` a default that is not 0),
`string`, the name of a table, `[...]` for a vector of any of these, `bytes` for a vector of bytes that may be large and
is left where it lies, `union:<name>` for a table whose kind stands in the slot before it (two slots).

Source of the facts: `schema.fbs` of LiteRT (TensorFlow Lite), which only ever grows at the end of a table or enum; a
test compares every word with the schema that the `ai-edge-litert` package carries.
"""

# ruff: noqa: C408, SIM905 - `name="type"` reads as a declaration, and words in a paragraph as a list

from collections.abc import Mapping
from types import MappingProxyType

IDENTIFIER = b"TFL3"

TABLES: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "Model": dict(version="uint32", operator_codes="[OperatorCode]", subgraphs="[SubGraph]", description="string",
                  buffers="[Buffer]", metadata_buffer="[int32]", metadata="[Metadata]",
                  signature_defs="[SignatureDef]"),
    "OperatorCode": dict(deprecated_builtin_code="int8", custom_code="string", version="int32=1", builtin_code="int32"),
    "SubGraph": dict(tensors="[Tensor]", inputs="[int32]", outputs="[int32]", operators="[Operator]", name="string"),
    "Tensor": dict(shape="[int32]", type="int8", buffer="uint32", name="string", quantization="QuantizationParameters",
                   is_variable="bool", sparsity="SparsityParameters", shape_signature="[int32]", has_rank="bool",
                   variant_tensors="-", external_buffer="uint32"),
    "QuantizationParameters": dict(min="[float32]", max="[float32]", scale="[float32]", zero_point="[int64]",
                                   details="union:QuantizationDetails", quantized_dimension="int32"),
    "SparsityParameters": dict(traversal_order="[int32]", block_map="[int32]", dim_metadata="[DimensionMetadata]"),
    "DimensionMetadata": dict(format="int8", dense_size="int32", array_segments="union:SparseIndexVector",
                              array_indices="union:SparseIndexVector"),
    "Int32Vector": dict(values="[int32]"),
    "Uint16Vector": dict(values="[uint16]"),
    "Uint8Vector": dict(values="[uint8]"),
    "Buffer": dict(data="bytes", offset="uint64", size="uint64"),
    "Operator": dict(opcode_index="uint32", inputs="[int32]", outputs="[int32]", builtin_options="union:BuiltinOptions",
                     custom_options="bytes", custom_options_format="int8", mutating_variable_inputs="[bool]",
                     intermediates="[int32]", large_custom_options_offset="uint64", large_custom_options_size="uint64"),
    "SignatureDef": dict(inputs="[TensorMap]", outputs="[TensorMap]", signature_key="string", deprecated_tag="-",
                         subgraph_index="uint32"),
    "TensorMap": dict(name="string", tensor_index="uint32"),
    "Metadata": dict(name="string", buffer="uint32"),
    # Options of operators; a table without fields need not stand here.
    "Conv2DOptions": dict(padding="int8", stride_w="int32", stride_h="int32", fused_activation_function="int8",
                          dilation_w_factor="int32=1", dilation_h_factor="int32=1", quantized_bias_type="int8"),
    "DepthwiseConv2DOptions": dict(padding="int8", stride_w="int32", stride_h="int32", depth_multiplier="int32",
                                   fused_activation_function="int8", dilation_w_factor="int32=1",
                                   dilation_h_factor="int32=1"),
    "FullyConnectedOptions": dict(fused_activation_function="int8", weights_format="int8", keep_num_dims="bool",
                                  asymmetric_quantize_inputs="bool", quantized_bias_type="int8"),
    "Pool2DOptions": dict(padding="int8", stride_w="int32", stride_h="int32", filter_width="int32",
                          filter_height="int32", fused_activation_function="int8"),
    "AddOptions": dict(fused_activation_function="int8", pot_scale_int16="bool=1"),
    "SubOptions": dict(fused_activation_function="int8", pot_scale_int16="bool=1"),
    "MulOptions": dict(fused_activation_function="int8"),
    "DivOptions": dict(fused_activation_function="int8"),
    "ConcatenationOptions": dict(axis="int32", fused_activation_function="int8"),
    "ReducerOptions": dict(keep_dims="bool"),
    "ReshapeOptions": dict(new_shape="[int32]"),
    "SoftmaxOptions": dict(beta="float32"),
    "TransposeConvOptions": dict(padding="int8", stride_w="int32", stride_h="int32", fused_activation_function="int8",
                                 quantized_bias_type="int8"),
    "L2NormOptions": dict(fused_activation_function="int8"),
    "LeakyReluOptions": dict(alpha="float32"),
    "GeluOptions": dict(approximate="bool"),
    "SqueezeOptions": dict(squeeze_dims="[int32]"),
    "PackOptions": dict(values_count="int32", axis="int32"),
    "UnpackOptions": dict(num="int32", axis="int32"),
    "SplitOptions": dict(num_splits="int32"),
    "SplitVOptions": dict(num_splits="int32"),
    "GatherOptions": dict(axis="int32", batch_dims="int32"),
    "StridedSliceOptions": dict(begin_mask="int32", end_mask="int32", ellipsis_mask="int32", new_axis_mask="int32",
                                shrink_axis_mask="int32", offset="bool"),
    "MirrorPadOptions": dict(mode="int8"),
    "SpaceToDepthOptions": dict(block_size="int32"),
    "DepthToSpaceOptions": dict(block_size="int32"),
    "ResizeBilinearOptions": dict(new_height="-", new_width="-", align_corners="bool", half_pixel_centers="bool"),
    "ResizeNearestNeighborOptions": dict(align_corners="bool", half_pixel_centers="bool"),
    "BatchMatMulOptions": dict(adj_x="bool", adj_y="bool", asymmetric_quantize_inputs="bool"),
    "CumsumOptions": dict(exclusive="bool", reverse="bool"),
    "ArgMaxOptions": dict(output_type="int8"),
    "ArgMinOptions": dict(output_type="int8"),
    "CastOptions": dict(in_data_type="int8", out_data_type="int8"),
    "ShapeOptions": dict(out_type="int8"),
    "SVDFOptions": dict(rank="int32", fused_activation_function="int8", asymmetric_quantize_inputs="bool"),
    "UnidirectionalSequenceLSTMOptions": dict(fused_activation_function="int8", cell_clip="float32",
                                              proj_clip="float32", time_major="bool", asymmetric_quantize_inputs="bool",
                                              diagonal_recurrent_tensors="bool"),
    "VarHandleOptions": dict(container="string", shared_name="string"),
    "CallOnceOptions": dict(init_subgraph_index="int32"),
    "IfOptions": dict(then_subgraph_index="int32", else_subgraph_index="int32"),
    "WhileOptions": dict(cond_subgraph_index="int32", body_subgraph_index="int32"),
})  # fmt: skip

# The number that stands for a member is its position; in a union 0 says "none".
UNIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "QuantizationDetails": ("", "CustomQuantization", "BlockwiseQuantization", "MultiAxisQuantization"),
    "SparseIndexVector": ("", "Int32Vector", "Uint16Vector", "Uint8Vector"),
    "BuiltinOptions": ("", *(f"{name}Options" for name in """
        Conv2D DepthwiseConv2D ConcatEmbeddings LSHProjection Pool2D SVDF RNN FullyConnected Softmax Concatenation Add
        L2Norm LocalResponseNormalization LSTM ResizeBilinear Call Reshape SkipGram SpaceToDepth EmbeddingLookupSparse
        Mul Pad Gather BatchToSpaceND SpaceToBatchND Transpose Reducer Sub Div Squeeze SequenceRNN StridedSlice Exp
        TopKV2 Split LogSoftmax Cast Dequantize MaximumMinimum ArgMax Less Neg PadV2 Greater GreaterEqual LessEqual
        Select Slice TransposeConv SparseToDense Tile ExpandDims Equal NotEqual Shape Pow ArgMin FakeQuant Pack
        LogicalOr OneHot LogicalAnd LogicalNot Unpack FloorDiv Square ZerosLike Fill BidirectionalSequenceLSTM
        BidirectionalSequenceRNN UnidirectionalSequenceLSTM FloorMod Range ResizeNearestNeighbor LeakyRelu
        SquaredDifference MirrorPad Abs SplitV Unique ReverseV2 AddN GatherNd Cos Where Rank ReverseSequence MatrixDiag
        Quantize MatrixSetDiag HardSwish If While DepthToSpace NonMaxSuppressionV4 NonMaxSuppressionV5 ScatterNd
        SelectV2 Densify SegmentSum BatchMatMul Cumsum CallOnce BroadcastTo Rfft2d Conv3D Hashtable HashtableFind
        HashtableImport HashtableSize VarHandle ReadVariable AssignVariable Random Bucketize Gelu DynamicUpdateSlice
        UnsortedSegmentProd UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentSum ATan2 Sign Bitcast BitwiseXor
        RightShift""".split())),
})  # fmt: skip

TENSOR_TYPES: tuple[str, ...] = tuple("""
    FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 RESOURCE VARIANT UINT32
    UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2""".split())  # fmt: skip

OPERATORS: tuple[str, ...] = tuple("""
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
    LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
    CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
    ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
    RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
    COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
    PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
    HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
    BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
    UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
    RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE
    STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
    STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
    STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
    STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE
    DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
    STABLEHLO_CASE""".split())  # fmt: skip

# The options table of an operator whose table has fields; operators that are not listed are never checked.
OPTIONS: Mapping[str, str] = MappingProxyType({
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions", "MUL": "MulOptions", "CONCATENATION": "ConcatenationOptions", "MEAN": "ReducerOptions",
    "CAST": "CastOptions", "DIV": "DivOptions", "GELU": "GeluOptions", "LEAKY_RELU": "LeakyReluOptions",
    "SUB": "SubOptions", "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions", "SUM": "ReducerOptions", "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions", "ARG_MAX": "ArgMaxOptions", "ARG_MIN": "ArgMinOptions",
    "L2_NORMALIZATION": "L2NormOptions", "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions", "BATCH_MATMUL": "BatchMatMulOptions",
    "CALL_ONCE": "CallOnceOptions", "DEPTH_TO_SPACE": "DepthToSpaceOptions", "GATHER": "GatherOptions",
    "MIRROR_PAD": "MirrorPadOptions", "PACK": "PackOptions", "SHAPE": "ShapeOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions", "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions", "SPLIT_V": "SplitVOptions", "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions", "UNPACK": "UnpackOptions", "VAR_HANDLE": "VarHandleOptions",
})  # fmt: skip

PADDINGS: tuple[str, ...] = ("SAME", "VALID")
ACTIVATIONS: tuple[str, ...] = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
