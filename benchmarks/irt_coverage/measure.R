# Do the 95 % intervals of item parameters hold 95 %? Prints the table of README.md.
# Rscript benchmarks/irt_coverage/measure.R [REPLICATIONS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
root <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber")
engine <- list.files(file.path(root, "irt", "R"), "[.]R$", full.names = TRUE)
for (file in c(file.path(root, "common", "R", "problem.R"), engine)) source(file)
source(file.path(root, "tests", "testthat", "helper-irt-simulate.R"))
replications <- as.integer(c(commandArgs(trailingOnly = TRUE), 100L)[[1]])

cat("| model | students x items, answered | errors | parameter | intervals | 95 % hold | sd of z |\n")
cat("|---|---|---|---|--:|--:|--:|\n")
for (case in COVERAGE_CASES) {
  z <- standardised_errors(case, seq_len(replications))
  for (name in names(z)) {
    cat(sprintf(
      "| %s | %s x %d, %.0f %% | %s | %s | %s | %.3f | %.3f |\n", case$model,
      format(case$students, big.mark = ","), case$items, 100 * case$met, case$standard_errors, name,
      format(length(z[[name]]), big.mark = ","), mean(abs(z[[name]]) < qnorm(0.975)), sd(z[[name]])
    ))
  }
}
