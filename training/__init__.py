"""What a training run needs beside model, data and loss: its folder, checkpoints, optimizers and augmentation."""
