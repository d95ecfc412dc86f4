"""The accuracy of many subnets of a trained supernet."""
