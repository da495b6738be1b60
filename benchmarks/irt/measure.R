# How long does a calibration take, and how much memory? Prints the table of README.md.
#   Rscript benchmarks/irt/measure.R            every case, each in a process of its own
#   Rscript benchmarks/irt/measure.R CASE       one of them

script <- normalizePath(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
root <- file.path(dirname(script), "..", "..", "r_plumber")

GUESSING <- list(a = list(meanlog = 0.1, sdlog = 0.4), c = list(mean = qlogis(0.2), sd = 0.5))
CASES <- list(
  dense_2pl = list(students = 1e4, items = 100, met = 100, model = "2PL"),
  dense_3pl = list(students = 1e4, items = 100, met = 100, model = "3PL", priors = GUESSING),
  sparse_2pl = list(students = 1e4, items = 500, met = 25, model = "2PL"),
  sparse_3pl = list(students = 1e4, items = 500, met = 25, model = "3PL", priors = GUESSING),
  sparse_3pl_block = list(students = 1e4, items = 500, met = 25, model = "3PL", priors = GUESSING, errors = "block"),
  sparse_3pl_full = list(students = 1e4, items = 500, met = 25, model = "3PL", priors = GUESSING, errors = "full"),
  tenth_2pl = list(students = 1e4, items = 2000, met = 40, model = "2PL"),
  big_2pl = list(students = 1e5, items = 2000, met = 40, model = "2PL"),
  big_2pl_block = list(students = 1e5, items = 2000, met = 40, model = "2PL", errors = "block"),
  files_2pl = list(students = 1e6, items = 2000, met = 40, model = "2PL", parts = 50L)
)

# Each student meets `met` items, drawn at random; 2PL truth a ~ lognormal(0, .3), b and theta ~ N(0, 1), 3PL c = .2.
answers_of <- function(case, students) {
  set.seed(students[1])
  student <- rep(students, each = case$met)
  item <- if (case$met == case$items) {
    rep(seq_len(case$items), length(students))
  } else {
    as.vector(replicate(length(students), sample.int(case$items, case$met)))
  }
  theta <- rep(rnorm(length(students)), each = case$met)
  set.seed(0)
  a <- exp(rnorm(case$items, 0, 0.3))
  b <- rnorm(case$items)
  c <- if (case$model == "3PL") 0.2 else 0
  set.seed(students[1] + 0.5)
  data.table::data.table(
    student_id = sprintf("s%07d", student), item_id = sprintf("i%05d", item),
    correct = as.integer(runif(length(item)) < c + (1 - c) * plogis(a[item] * (theta - b[item])))
  )
}

responses_of <- function(case, folder) {
  if (is.null(case$parts)) return(answers_of(case, seq_len(case$students)))
  each <- case$students / case$parts
  lapply(seq_len(case$parts), function(part) {
    path <- file.path(folder, sprintf("part-%03d.csv", part))
    data.table::fwrite(answers_of(case, (part - 1L) * each + seq_len(each)), path)
    limits <- list(max_rows = 1e7)
    function() read_table(csv_file(path), "responses", RESPONSE_COLUMNS, limits$max_rows)
  })
}

peak_mb <- function() {
  line <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

measure <- function(name) {
  engine <- list.files(file.path(root, "irt", "R"), "[.]R$", full.names = TRUE)
  common <- file.path(root, "common", "R", c("problem.R", "parse.R"))
  for (file in c(common, engine)) source(file, local = globalenv())
  case <- CASES[[name]]
  folder <- tempfile("answers-")
  dir.create(folder)
  responses <- responses_of(case, folder)
  gc()
  before <- peak_mb()
  errors <- if (is.null(case$errors)) "none" else case$errors
  seconds <- system.time(
    fit <- calibrate(responses, case$model, case$priors, standard_errors = errors)
  )[["elapsed"]]
  metrics <- fit$fit_meta$metrics
  unlink(folder, recursive = TRUE)
  cat(sprintf(
    "| %s x %s | %s | %s | %s | %.1f | %d | %s | %.0f (%.0f) |\n",
    format(case$students, big.mark = ",", scientific = FALSE), format(case$items, big.mark = ","),
    format(metrics$n_responses, big.mark = ",", scientific = FALSE), case$model, errors, seconds,
    metrics$iterations, if (metrics$converged) "yes" else metrics$stopped_by, peak_mb(), before
  ))
}

chosen <- commandArgs(trailingOnly = TRUE)
if (length(chosen)) {
  measure(chosen[[1]])
} else {
  cat("| students x items | answers | model | standard errors | seconds | cycles | converged |",
      "peak MB (before) |\n|---|--:|---|---|--:|--:|---|--:|\n")
  for (name in names(CASES)) system2("Rscript", c(shQuote(script), name))
}
