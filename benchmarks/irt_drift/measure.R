# How often planted drift of anchors is found and invented, and what it does to the links; prints the tables of
# README.md.
# Rscript benchmarks/irt_drift/measure.R [SEEDS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
services <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber")
engine <- list.files(file.path(services, "irt", "R"), pattern = "[.]R$", full.names = TRUE)
helpers <- file.path(services, "tests", "testthat", c("helper-irt-simulate.R", "helper-irt-drift.R"))
for (file in c(file.path(services, "common", "R", "problem.R"), engine, helpers)) source(file)

SEEDS <- as.integer(c(commandArgs(trailingOnly = TRUE), 200)[[1L]])

table_row <- function(...) cat("|", paste(..., sep = " | "), "|\n")
share <- function(x) if (length(x)) sprintf("%.3f", mean(x)) else ""
number <- function(x) sprintf("%.3f", x)
with_error <- function(x) sprintf("%.3f ± %.3f", mean(x), sd(x) / sqrt(length(x)))

found <- lapply(DRIFT_CASES, function(case) lapply(seq_len(SEEDS), function(seed) find_drift(case, seed)))

cat("Anchors\n\n")
table_row("case", "drifting, flagged", "stable, flagged", "stable, p < .05", "mean d_b of the drifting")
cat("|---|--:|--:|--:|--:|\n")
for (case in names(found)) {
  items <- do.call(rbind, lapply(found[[case]], `[[`, "items"))
  drifting <- items[items$drifting, ]
  stable <- items[!items$drifting, ]
  d_b <- if (nrow(drifting)) number(mean(drifting$d_b)) else ""
  table_row(case, share(drifting$flag), share(stable$flag), share(stable$p < 0.05), d_b)
}

cat("\nB: mean error, and standard deviation of the error\n\n")
table_row(
  "case", "robust", "Stocking-Lord", "robust, no standard errors", "sd robust", "sd Stocking-Lord",
  "sd robust, no standard errors", "se_B robust"
)
cat("|---|--:|--:|--:|--:|--:|--:|--:|\n")
for (case in names(found)) {
  errors <- vapply(found[[case]], `[[`, numeric(3), "errors")
  se <- vapply(found[[case]], `[[`, 0, "se")
  methods <- c("robust", "Stocking-Lord", "uninformed")
  means <- apply(errors[methods, ], 1, with_error)
  sds <- number(apply(errors[methods, ], 1, sd))
  table_row(case, paste(means, collapse = " | "), paste(sds, collapse = " | "), number(mean(se)))
}
