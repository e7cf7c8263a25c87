"""What is known of the images of a job: keypoints, boxes, views."""
