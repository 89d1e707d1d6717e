"""What a file that is no .tflite looks like instead, from its first bytes."""

from tinycompiler.readers import schema

ZIP = b"PK\x03\x04"
EXPORT = "convert it to .tflite first, with tf.lite.TFLiteConverter"
EXPORT_ONNX = "convert it to .tflite first, with onnx2tf for example"
EXPORT_TORCH = "convert it to .tflite first, with ai-edge-torch for example"

# Only in these are names of the archive's members looked for; they stand uncompressed in every zip.
_ZIP_MEMBERS = (
    (b"model.weights.h5", f"a Keras archive (.keras); {EXPORT}.from_keras_model"),
    (b"data.pkl", f"a PyTorch archive; {EXPORT_TORCH}"),
    (b"saved_model.pb", f"a zipped SavedModel; unpack it, then {EXPORT}.from_saved_model"),
    (b".tflite", "a zip archive that seems to hold a .tflite; unpack it"),
    (b"", "a zip archive; unpack it"),
)
_STARTS = (
    (b"\x89HDF\r\n\x1a\n", f"a Keras HDF5 file (.h5); {EXPORT}.from_keras_model"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "an ELF program"),
    (b"GGUF", "a GGUF file, of which no int8 network can be made"),
    (b"\x08\x01\x12", f"a SavedModel's saved_model.pb; {EXPORT}.from_saved_model"),
    (b"\x08", f"an ONNX file; {EXPORT_ONNX}"),
    (b"\x80", f"a Python pickle (an old PyTorch file?); {EXPORT_TORCH}"),
    (b"<", "a web page or XML; was the download a login or error page?"),
    (b"{", "JSON text"),
)


def looks_like(data: bytes) -> str:
    """What the file seems to be and what to do, as the rest of a sentence."""
    if len(data) < 8:
        return f"it has {len(data)} bytes only; is the download or copy complete?"
    if data[4:7] == schema.IDENTIFIER[:3]:
        return f"it has the format version {data[4:8]!r}; convert the network again with a current converter"
    if data.startswith(ZIP):
        found = next(text for member, text in _ZIP_MEMBERS if member in data)
        return f"it looks like {found}"
    if b"unsigned char" in data[:4096]:
        return "it looks like C source with a model as an array; pass the .tflite that it was made from"
    found = next((text for start, text in _STARTS if data.lstrip(b" \n\r\t").startswith(start)), "")
    return (
        f"it looks like {found}" if found else f"it begins with {data[:8].hex(' ')}, which no known model format does"
    )
