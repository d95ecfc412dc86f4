"""Tables of accuracy and cost in, architectures out; sees tokens and numbers only."""
