"""Vision transformers of timm as backbones: DINO, DINOv2 and DINOv3."""
