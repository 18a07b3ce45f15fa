"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998) with batch normalisation and ReLU."""
