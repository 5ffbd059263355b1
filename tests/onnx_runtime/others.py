"""Models that PyTorch's exporter and onnx.helper make, with what PyTorch and ONNX Runtime compute."""


def write(folder):
    pass
