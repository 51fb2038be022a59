"""Export: from trained weights to a bundle that runs on a device.

In: a subnet's weights as arrays, its family's graph, examples. Out: a folder with the model, whole
or not there, and only if it answers as torch does. `onnx` and `tvm` hold the building blocks of
models, `bundle` writes the folder, `parity` compares.
"""
