"""Between PyTorch and ONNX: out, back in, and whose channels are coupled."""
