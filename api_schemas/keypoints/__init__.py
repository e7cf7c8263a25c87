"""What keypoints mean: their names, which change sides in a mirror, and which look alike."""
