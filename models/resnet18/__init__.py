"""ResNet-18 (He, Zhang, Ren, Sun 2016)."""
