"""What happens in a native step besides the network: loss, metrics, logs, optimizer."""
