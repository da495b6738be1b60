# Are trends of simulated cohorts recovered? Prints the tables of README.md.
#   Rscript benchmarks/glmm_recovery/measure.R [COHORTS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
tests <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber", "tests", "testthat")
source(file.path(tests, "helper-glmm.R"), chdir = TRUE)
cohorts <- as.integer(c(commandArgs(trailingOnly = TRUE), 200L)[[1]])
STUDENTS <- 300
WEEKS <- 12

#' Log-likelihood where lme4's own optimiser stops by default
lme4_alone <- function(seed, n_topics, missing) {
  set.seed(seed)
  rows <- simulate_topic_scores(STUDENTS, WEEKS, n_topics, missing = missing)
  fit <- suppressWarnings(suppressMessages(
    lme4::lmer(score ~ week + (week | student_id) + (1 | topic_id), rows, weights = 1 / se^2)
  ))
  as.numeric(stats::logLik(fit))
}

#' Print the tables for a number of topics
#' @param n_topics,missing see simulate_topic_scores().
study <- function(n_topics, missing) {
  seeds <- seq_len(cohorts)
  recovered <- t(vapply(seeds, recovered_trend, numeric(16), STUDENTS, WEEKS, n_topics, missing))
  alone <- vapply(seeds, lme4_alone, 0, n_topics, missing)

  cat(sprintf("\n**%d topics**\n\n", n_topics))
  cat("| | truth | mean | sd | bias in Monte Carlo errors |\n|---|--:|--:|--:|--:|\n")
  bias <- bias_in_errors(recovered)
  estimates <- cbind(recovered, var_topic = recovered[, "sd_topic"]^2)
  truth <- c(TREND_TRUTH, var_topic = TREND_TRUTH[["sd_topic"]]^2)
  for (name in names(bias)) {
    of <- estimates[, name]
    cat(sprintf("| %s | %.4f | %.4f | %.4f | %.2f |\n", name, truth[[name]], mean(of), sd(of), bias[[name]]))
  }

  cat("\n| 95 % intervals of | intervals | hold |\n|---|--:|--:|\n")
  line <- function(label, n, share) cat(sprintf("| %s | %s | %.3f |\n", label, format(n, big.mark = ","), share))
  fixed <- c("intercept", "week")
  for (name in fixed) line(name, cohorts, mean(recovered[, paste0("holds_", name)]))
  line("both fixed effects", 2 * cohorts, mean(recovered[, paste0("holds_", fixed)]))
  normal <- vapply(fixed, function(name) {
    mean(abs(recovered[, name] - TREND_TRUTH[[name]]) < qnorm(0.975) * recovered[, paste0("se_", name)])
  }, 0)
  line("both, by the normal distribution instead of t", 2 * cohorts, mean(normal))
  for (of in c("deviations", "totals")) {
    for (name in fixed) {
      line(sprintf("students' %s, %s", of, name), STUDENTS * cohorts, mean(recovered[, paste0(of, "_", name)]))
    }
  }

  behind <- recovered[, "log_lik"] - alone
  cat(sprintf(
    "\nlme4's own optimiser stops more than .01 below this log-likelihood in %d of %d cohorts (most: %.2f), above in %d.\n",
    sum(behind > 0.01), cohorts, max(behind), sum(behind < -0.01)
  ))
}

study(n_topics = 12, missing = 0.75)
study(n_topics = 3, missing = 0.2)
