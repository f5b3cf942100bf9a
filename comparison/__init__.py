"""Which of several priors, or restorers, makes the better pictures: paired-comparison studies."""
