"""Facts come in: files of attempts, and the application's exam_results."""
