# Run every test of the R services: Rscript r_plumber/tests/run.R [FILTER]
# FILTER is a regular expression on the names of the test files, e.g. "common" or "irt-http".

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
filter <- c(commandArgs(trailingOnly = TRUE), "")[[1L]]
testthat::test_dir(
  file.path(dirname(normalizePath(script)), "testthat"),
  filter = if (nzchar(filter)) filter, reporter = "summary", stop_on_failure = TRUE
)
