"""File formats in, Graph out: the only floor that knows flatbuffers."""
