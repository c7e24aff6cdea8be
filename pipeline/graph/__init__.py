"""The Graph: the float model as canonical ONNX."""
