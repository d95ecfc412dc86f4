"""Supernet training and evaluation: images in, accuracies of architectures out.

Images are decoded once into memory-mapped uint8 arrays (`images`), from which batches are cut,
augmented and normalised as whole tensors (`batches`).
"""
