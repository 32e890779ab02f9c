"""Training: fine-tuning on rendered trajectories, in contexts that are those of inference."""
