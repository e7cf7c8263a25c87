"""The paper's way: a U-Net that maps each image to a learned canonical grid."""
