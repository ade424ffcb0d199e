"""Training: the fit loop, the averaged weights, the checkpoints and the engine that runs them."""
