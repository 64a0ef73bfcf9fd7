"""Fused Triton kernels for CUDA; :mod:`.selection` chooses between them and plain torch.

Triton is optional: only :mod:`.selection` is imported with the network, it imports a kernel's file at its first use.
"""
