"""ONNX graphs, node by node: parts of Transformers with the fused operators of ONNX Runtime."""
