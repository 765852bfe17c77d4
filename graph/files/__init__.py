"""ONNX files: read, written whole, with weights beside them."""
