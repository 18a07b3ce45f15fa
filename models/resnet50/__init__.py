"""ResNet-50 (He, Zhang, Ren, Sun 2016)."""
