"""Images in: from any source, decoded once, to augmented batches."""
