"""torch.ao.quantization: refused. There are no quantised tensors."""

from .refusals import refused

globals().update(refused(
    "ao.quantization",
    "DeQuantStub FakeQuantize HistogramObserver MinMaxObserver QConfig QuantStub QuantWrapper "
    "convert default_qconfig fuse_modules fuse_modules_qat get_default_qat_qconfig "
    "get_default_qconfig prepare prepare_qat quantize_dynamic",
    "there are no quantised tensors; `autocast` computes in bfloat16",
))
