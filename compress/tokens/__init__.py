"""Tokens of ONNX files: fewer from block to block, where the answers suffer least."""
