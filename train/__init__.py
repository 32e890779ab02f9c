"""Fine-tuning on rendered trajectories. The training contexts equal the contexts of inference."""
