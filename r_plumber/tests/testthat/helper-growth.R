# The growth engine without its service, in an environment of its own; its compiled models; simulated scores.

growth <- local({
  root <- file.path("..", "..") # testthat runs in the folder of the tests
  engine <- new.env()
  files <- c(
    file.path(root, "common", "R", c("problem.R", "parse.R", "work.R")),
    list.files(file.path(root, "growth", "R"), pattern = "[.]R$", full.names = TRUE)
  )
  for (file in files) sys.source(file, engine)
  engine
})

# The folder of the compiled models: R_BRMS_MODELS_DIR, or a cache that the first test fills (minutes).
compiled_models <- function() {
  folder <- Sys.getenv("R_BRMS_MODELS_DIR", tools::R_user_dir("seedtest-growth", "cache"))
  if (!all(file.exists(growth$compiled_files(folder)))) {
    compile <- file.path("..", "..", "growth", "compile.R")
    processx::run("Rscript", c(compile, folder), env = c("current", R_TESTS = ""))
  }
  Sys.setenv(R_BRMS_MODELS_DIR = folder)
  folder
}

GROWTH_TRUTH <- c(
  intercept = 0.2, week = 0.05, sd_intercept = 0.8, sd_week = 0.06, correlation = 0.3, kappa = 1.1
)

# Scores in the middles of the `weeks` weeks before today, a row per student and week. Their digits are few
# enough to be the same after JSON: draws depend on every one.
simulate_scores <- function(n_students, weeks, seed, truth = GROWTH_TRUTH) {
  set.seed(seed)
  truth <- as.list(truth)
  z <- matrix(rnorm(2 * n_students), n_students)
  level <- truth$intercept + truth$sd_intercept * z[, 1]
  slope <- truth$week + truth$sd_week *
    (truth$correlation * z[, 1] + sqrt(1 - truth$correlation^2) * z[, 2])
  student <- rep(seq_len(n_students), each = weeks)
  week <- rep(seq(-weeks + 0.5, -0.5), n_students)
  se <- round(runif(n_students * weeks, 0.3, 0.7), 6)
  score <- level[student] + slope[student] * week + truth$kappa * se * rnorm(n_students * weeks)
  data.table::data.table(
    student_id = sprintf("s%05d", student), week = week, score = round(score, 6), se = se
  )
}

# Draws like those of a posterior near the truth
simulate_draws <- function(n, seed, truth = GROWTH_TRUTH) {
  set.seed(seed)
  around <- function(name, sd) truth[[name]] + sd * rnorm(n)
  data.table::data.table(
    intercept = around("intercept", 0.1), week = around("week", 0.01),
    sd_intercept = abs(around("sd_intercept", 0.1)), sd_week = abs(around("sd_week", 0.01)),
    correlation = tanh(around("correlation", 0.1)), kappa = exp(log(truth[["kappa"]]) + 0.05 * rnorm(n))
  )
}
