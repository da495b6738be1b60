# Do the 90 % intervals of the risk model's coefficients hold 90 %? Prints the tables of README.md.
#   Rscript benchmarks/survival_coverage/measure.R [REPLICATIONS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
tests <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber", "tests", "testthat")
source(file.path(tests, "helper-forecast.R"), chdir = TRUE)
replications <- as.integer(c(commandArgs(trailingOnly = TRUE), 200L)[[1]])

#' Print the table for students and landmarks of each
#' @param sizes list of both.
#' @param beyond see standardised_coefficients().
coverage <- function(sizes, beyond) {
  cat("| students x landmarks | coefficients | intervals | 90 % hold | mean z | sd of z |\n|---|---|--:|--:|--:|--:|\n")
  for (size in sizes) {
    z <- lapply(seq_len(replications), function(seed) standardised_coefficients(size[1], size[2], seed, beyond))
    z <- data.frame(term = unlist(lapply(z, names)), z = unlist(z))
    kinds <- c(
      intercept = "^intercept$", "idle days" = "^idle_", weekdays = "^weekday_", missing = "_missing$",
      "covariate x idle" = "._idle$", "covariates, holidays" = "^(a_t|e_t|r_t|mean_gap|session_rate|holidays)$"
    )
    for (kind in names(kinds)) {
      of <- z$z[grepl(kinds[[kind]], z$term)]
      cat(sprintf(
        "| %s x %d | %s | %s | %.3f | %.3f | %.3f |\n", format(size[1], big.mark = ","), size[2], kind,
        format(length(of), big.mark = ","), mean(abs(of) < qnorm(0.95)), mean(of), sd(of)
      ))
    }
  }
}

coverage(list(c(100, 6), c(400, 6), c(2000, 10)), beyond = FALSE)
cat("\n")
coverage(list(c(400, 6), c(2000, 10), c(2000, 50)), beyond = TRUE)
