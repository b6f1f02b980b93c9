"""hotbunk: serves more language models than fit in device memory, from one OpenAI-compatible endpoint."""

__version__ = "0.1.0"
