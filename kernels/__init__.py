"""The network's layers as functions of arrays: in plain PyTorch for every device, and faster for one kind of device."""
