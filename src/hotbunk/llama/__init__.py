"""The thin binding to libllama: GGUF metadata, vocabulary, shell, weights, context, sequence state, sampler."""
