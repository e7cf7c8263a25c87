"""What every method that yields an atlas tells of it: agreement of the images in it, and its pictures."""
